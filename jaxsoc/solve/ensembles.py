"""Many members at once: shared out to the devices, one after the other on each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec

AXIS = "device"


def map_members(function: Callable, members: Any, *, devices: int | None = None) -> Any:
    """`function` of every member, the members shared out to all devices.

    A member's result does not depend on how many there are, nor on the devices. Wrap
    it in `jit`, once for all chunks of one size.

    **Arguments:** `members`: any pytree whose leaves lead by member.
    **Returns:** what `function` returns, leaves leading by member.
    """
    count = jax.tree.leaves(members)[0].shape[0]
    devices = min(devices or jax.device_count(), count)
    each = -(-count // devices)
    missing = each * devices - count
    # The last member again, to give every device the same number.
    fill = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)])
    filled = jax.tree.map(fill, members) if missing else members
    over = lambda members: lax.map(function, members)
    if devices > 1:
        mesh = device_mesh(devices)
        spec = PartitionSpec(AXIS)
        over = jax.shard_map(
            over, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    return jax.tree.map(lambda x: x[:count], over(filled))


def device_mesh(devices: int) -> jax.sharding.Mesh:
    """The first devices in a row, over which members are shared out."""
    return jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,))
