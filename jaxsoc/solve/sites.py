"""Many sites at once, laid out so that neighbours in memory are taken in one stride."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .devices import accelerated
from .ensembles import AXIS, device_mesh, map_members

# Sites of a block: its arrays stay in a core's cache, or fill an accelerator.
_BLOCK, _LARGEST_BLOCK = 256, 65_536


class Sites(eqx.Module):
    """A pytree of many sites in blocks: leaves lead by block and end by site.

    Neighbouring numbers in memory belong to neighbouring sites, so that one instruction
    works on several of them, whatever a site's own arrays look like. Use `Sites.of`.

    **Arguments:** `blocks`: the leaves; `count`: of sites, without those that fill the
    last block.
    """

    blocks: Any
    count: int = eqx.field(static=True)

    @classmethod
    def of(cls, sites: Any, *, block: int | None = None) -> "Sites":
        """Sites from a pytree whose leaves lead by site.

        **Arguments:** `block`: sites of a block, by default 256 on a processor, and as
        many as there are, up to 65,536, on an accelerator.
        **Raises:** `ValueError` for leaves that disagree on their number.
        """
        counts = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(sites)}
        if len(counts) != 1:
            raise ValueError(
                "all arrays of sites must lead by the same number of sites, got "
                f"{', '.join(map(str, sorted(counts)))}"
            )
        (count,) = counts
        if block is None:
            # As few as an accelerator can take, and of one size.
            few = -(-count // -(-count // _LARGEST_BLOCK))
            block = few if accelerated() else _BLOCK
        block = min(block, count)
        missing = -count % block

        def laid_out(leaf):
            leaf = jnp.asarray(leaf)
            # The last site again fills the last block.
            fill = jnp.repeat(leaf[-1:], missing, axis=0)
            blocks = jnp.concatenate([leaf, fill]).reshape(-1, block, *leaf.shape[1:])
            return jnp.moveaxis(blocks, 1, -1)

        return cls(jax.tree.map(laid_out, sites), count)

    def shared(self, devices: int | None = None) -> "Sites":
        """The same with its blocks lying on the devices that `map_sites` uses.

        Worth it for what is used again and again, as the forcing of a calibration:
        otherwise every call begins by handing the blocks out.
        """
        devices = devices or jax.device_count()
        if jax.tree.leaves(self.blocks)[0].shape[0] % devices:
            return self
        place = NamedSharding(device_mesh(devices), PartitionSpec(AXIS))
        return Sites(jax.device_put(self.blocks, place), self.count)

    def leading(self) -> Any:
        """The pytree with leaves that lead by site."""

        def by_site(leaf):
            flat = jnp.moveaxis(leaf, -1, 1)
            return flat.reshape(-1, *flat.shape[2:])[: self.count]

        return jax.tree.map(by_site, self.blocks)


def map_sites(function: Callable, *sites: Sites, devices: int | None = None) -> Sites:
    """`function` of every site, the blocks shared out to all devices.

    Wrap it in `jit`. Call `use_all_cores` first to give it every core of a processor.

    **Arguments:** `function`: of what one site holds, one argument for each of `sites`.
    **Returns:** what it returns, of all sites.
    **Raises:** `ValueError` for arguments with different numbers of sites.
    """
    counts = {one.count for one in sites}
    if len(counts) != 1:
        raise ValueError(
            "every argument must hold the same number of sites, got "
            f"{', '.join(str(one.count) for one in sites)}"
        )
    lifted = jax.vmap(function, in_axes=-1, out_axes=-1)
    every = tuple(one.blocks for one in sites)
    blocks = map_members(
        lambda block: lifted(*block), every, devices=devices, together=1
    )
    return Sites(blocks, counts.pop())
