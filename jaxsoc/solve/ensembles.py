"""Many members or sites, shared out to the devices.

On each some or all members at once; sites laid out so that neighbours in memory are
taken in one stride.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .devices import accelerated, free_devices

_AXIS = "device"
# Sites of a block: its arrays stay in a core's cache, or fill an accelerator.
_BLOCK, _LARGEST_BLOCK = 256, 65_536


def map_members(
    function: Callable,
    members: Any,
    *,
    devices: int | None = None,
    together: int | None = None,
) -> Any:
    """`function` of every member, the members shared out to all devices.

    A member's result does not depend on how many there are, nor on the devices, nor,
    but for rounding, on `together`. Wrap it in `jit`, once for all chunks of one size.

    **Arguments:** `members`: any pytree whose leaves lead by member; `devices`: how
    many, by default all; `together`: members that a device takes at once, by default
    one on a processor, which keeps it in the cache, and all on an accelerator.
    **Returns:** what `function` returns, leaves leading by member.
    **Raises:** `ValueError` for fewer than one member together.
    """
    if together is not None and together < 1:
        raise ValueError(
            f"together, of members taken at once, must be at least 1, got {together}"
        )
    count = jax.tree.leaves(members)[0].shape[0]
    devices = min(devices or free_devices(), count)
    each = -(-count // devices)
    missing = each * devices - count
    # The last member again, to give every device the same number.
    fill = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)])
    filled = jax.tree.map(fill, members) if missing else members
    together = together or (each if accelerated() else 1)
    if together >= each > 1:
        over = jax.vmap(function)
    else:
        size = None if together == 1 else together
        over = lambda members: lax.map(function, members, batch_size=size)
    if devices > 1:
        over = over_devices(over, devices)
    return jax.tree.map(lambda x: x[:count], over(filled))


def over_devices(function: Callable, devices: int) -> Callable:
    """The function on each device, of what it holds of leaves that lead by device."""
    mesh, spec = device_mesh(devices), PartitionSpec(_AXIS)
    return jax.shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )


def device_mesh(devices: int) -> jax.sharding.Mesh:
    """The first devices in a row, over which members are shared out."""
    return jax.make_mesh((devices,), (_AXIS,), axis_types=(AxisType.Auto,))


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
        counts = (jnp.shape(leaf)[0] for leaf in jax.tree.leaves(sites))
        count = _one_count("all arrays of sites must lead by", counts)
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
        devices = devices or free_devices()
        if jax.tree.leaves(self.blocks)[0].shape[0] % devices:
            return self
        place = NamedSharding(device_mesh(devices), PartitionSpec(_AXIS))
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
    count = _one_count("every argument must hold", (one.count for one in sites))
    lifted = jax.vmap(function, in_axes=-1, out_axes=-1)
    every = tuple(one.blocks for one in sites)
    blocks = map_members(
        lambda block: lifted(*block), every, devices=devices, together=1
    )
    return Sites(blocks, count)


def _one_count(what, counts):
    found = sorted(set(counts))
    if len(found) != 1:
        raise ValueError(
            f"{what} the same number of sites, got {', '.join(map(str, found))}"
        )
    return found[0]
