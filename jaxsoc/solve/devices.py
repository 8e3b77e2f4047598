"""The machine: all cores one device each, and what programs are written for."""

import os
from contextlib import AbstractContextManager

import jax

# Loops that touch fewer bytes than this become one compiled function, in which a block
# of cells stays in the cache and a step costs no dispatch.
_SMALL_LOOP = "xla_cpu_small_while_loop_byte_threshold=4000000"
_FLAGS = {
    "xla_backend_extra_options": _SMALL_LOOP,
    "xla_cpu_prefer_vector_width": "512",
}
UNROLL = 8
"""Steps in one pass of a loop on an accelerator: one kernel, whose state stays in its
registers. 32 fall apart into several, and take long to compile."""

# Programs made while it is set are kept apart from the others that JAX has compiled.
_assumed = jax.make_user_context(None)


def accelerated() -> bool:
    """Whether programs are written for an accelerator: by JAX's default device.

    There loops are unrolled, and members and sites go all at once, since a program
    costs by the number of its kernels; on a processor small arrays stay in the cache.
    """
    default = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    named = default if default is None or isinstance(default, str) else default.platform
    return (_assumed.value or named or jax.default_backend()) != "cpu"


def assume(platform: str) -> AbstractContextManager:
    """Context in which programs are written for a platform that need not be there.

    To compile for another machine, and to count what the program would do on it.

    **Arguments:** `platform`: as JAX calls it, "cuda" or "cpu".
    """
    return _assumed(platform)


def use_all_cores(count: int | None = None) -> int:
    """Makes every core of a CPU a device of JAX, and has small loops compiled whole.

    Call it before JAX computes anything; a second call with the same number does
    nothing. Options of XLA that the environment already sets are left alone. Where JAX
    has an accelerator, that stays its default device.

    **Arguments:** `count`: of devices, by default the cores that this process may use.
    **Returns:** the number of devices.
    **Raises:** `ValueError` for a count below one; `RuntimeError` if JAX has started.
    """
    if count is None:
        count = usable_cores()
    if count < 1:
        raise ValueError(f"the number of cores must be at least 1, got {count}")
    if getattr(jax.config, "jax_num_cpu_devices", None) == count:
        return count
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            "use_all_cores() must be called before JAX computes anything: call it at "
            "the start of the program, before the first array is made"
        ) from None
    set_flags = os.environ.get("XLA_FLAGS", "")
    added = [f"--{k}={v}" for k, v in _FLAGS.items() if f"--{k}=" not in set_flags]
    os.environ["XLA_FLAGS"] = " ".join([set_flags, *added]).strip()
    return count


def usable_cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every operating system
        return os.cpu_count() or 1


def free_devices() -> int:
    """Devices to share cells out to: one where members are already shared out."""
    return 1 if jax.sharding.get_abstract_mesh().manual_axes else jax.device_count()
