"""Many members: shared out to the devices, and on each some or all of them at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from .devices import accelerated

AXIS = "device"


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
    devices = min(devices or jax.device_count(), count)
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
    mesh, spec = device_mesh(devices), PartitionSpec(AXIS)
    return jax.shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )


def device_mesh(devices: int) -> jax.sharding.Mesh:
    """The first devices in a row, over which members are shared out."""
    return jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,))
