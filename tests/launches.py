"""How often a program for an H100 starts a kernel, counted without one.

XLA compiles for a card that is described to it, and says what it would do there. Needs
the wheels `jax-cuda13-plugin` and `jax-cuda13-pjrt` of the version of JAX, and none of
the CUDA libraries.

    JAX_PLATFORMS=cpu python tests/launches.py [case ...]
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from jaxsoc import steady_state
from jaxsoc.models import CLM5, Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.parameters import declarations, from_vector
from jaxsoc.solve import Sites, Steps, assume, integrate, map_members, map_sites
from jaxsoc.upscale import moments

# The numbers that NVIDIA gives, as XLA wants to read them. Without the version of a
# driver no loop becomes a graph.
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
}
"""
# Operations that start no kernel.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"after-all", "add-dependency", "opt-barrier"}
_FREE |= {"fusion-done", "copy-done", "async-done", "call-done"}
_TITLE = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:to_apply|calls|branch_computations)=\{?((?:%[\w.\-]+(?:, )?)+)"
)
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
CELLS, DAYS, MEMBERS, SITES = 10_000, 200, 1_000, 65_536


class Case(NamedTuple):
    """A program, the shapes of its arguments, and the number that it is counted by."""

    function: Callable
    arguments: tuple[Any, ...]
    per: int = 1


def launches(text: str, passes: int = 1) -> int:
    """Kernels that an optimised program starts, those of loops as often as they turn.

    **Arguments:** `passes`: of loops whose length is only known to the device.
    """
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if title := _TITLE.match(line):
            name = title[2]
            bodies[name] = []
            entry = name if title[1] else entry
        elif name and " = " in line:
            bodies[name].append(line)

    def of(name: str) -> int:
        return sum(map(started, bodies[name]))

    def started(line: str) -> int:
        operation = _operation(line)
        if operation == "while":
            trips = _TRIPS.search(line)
            body, condition = (
                re.search(rf"{part}=%([\w.-]+)", line)[1]
                for part in ("body", "condition")
            )
            # The condition of a loop of known length is worked out by the host.
            return (
                int(trips[1]) * of(body)
                if trips
                else passes * (of(body) + of(condition))
            )
        if operation in ("call", "conditional", "async-start", "call-start"):
            # Of two branches the longer.
            called = _CALLED.search(line)[1].replace("%", "").split(", ")
            return max(map(of, called))
        return operation not in _FREE

    return of(entry)


def _operation(line: str) -> str:
    """What a line does: the word after its type, which may be a tuple of types."""
    right = re.sub(r"/\*.*?\*/", "", line.split(" = ", 1)[1])
    depth = 0
    for place, letter in enumerate(right):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == " " and depth == 0:
            return right[place + 1 :].split("(", 1)[0]
    raise ValueError(f"not a line of a program: {line!r}")


def soil(members: tuple[int, ...]) -> tuple[TwoPool, Pools, TwoPoolParameters]:
    """Shapes of a Michaelis-Menten soil, both constants by cell, in float32."""
    law = KINETICS["michaelis_menten"]
    field = jax.ShapeDtypeStruct((*members, CELLS), jnp.float32)
    number = jax.ShapeDtypeStruct(members, jnp.float32)
    params = jax.tree.map(lambda _: number, TwoPoolParameters(law.constants()))
    constants = jax.tree.map(lambda _: field, params.decomposition)
    params = eqx.tree_at(lambda p: p.decomposition, params, constants)
    return TwoPool(law.law), Pools(field, field, field), params


def run(*members: int, gradient: bool = False) -> Case:
    """Daily moments of a soil, or of many, at six steps a day."""
    model, state, params = soil(members)
    times = 24.0 * np.arange(DAYS + 1)
    method = Steps(4.0, devices=1)

    def one(state, params):
        solved = integrate(
            model,
            state,
            params,
            times,
            save=moments.of(model.fluxes),
            method=method,
            throw=False,
        )
        return jnp.max(solved.values.flux.respiration), solved.values

    single = jax.grad(one, has_aux=True) if gradient else one
    every = lambda *soils: map_members(lambda soil: single(*soil), soils, devices=1)
    return Case(every if members else single, (state, params), DAYS + 1)


def columns(sites: int) -> Case:
    """Soil carbon by layer of CLM5 at rest, from its numbers and the forcing."""
    numbers = CLM5.parameters
    by_site = lambda *shape: jax.ShapeDtypeStruct((sites, *shape), jnp.float64)
    forcing = jax.tree.map(lambda x: by_site(*jnp.shape(x)), idealised())

    def one(vector, forcing):
        model = CLM5(forcing)
        pools = steady_state(model, from_vector(numbers, vector))
        return model.organic_carbon(pools)

    every = lambda *given: map_sites(one, *map(Sites.of, given), devices=1)
    return Case(every, (by_site(len(declarations(numbers))), forcing))


CASES: dict[str, Callable[[], Case]] = {
    "run": run,
    "ensemble": lambda: run(MEMBERS),
    "gradient": lambda: run(gradient=True),
    "ensemble_gradient": lambda: run(MEMBERS, gradient=True),
    "clm5": lambda: columns(SITES),
}


def compiled(case: Case) -> Any:
    """The case's program for an H100."""
    card = topologies.get_topology_desc(
        platform="cuda", topology="1x1x1", target_config=H100
    )
    place = NamedSharding(topologies.make_mesh(card, (1,), ("x",)), PartitionSpec())
    put = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
    with assume("cuda"):
        lowered = jax.jit(case.function).lower(*jax.tree.map(put, case.arguments))
        return lowered.compile()


def main(names: list[str]) -> None:
    """Prints the launches of every case, by save time or for all sites."""
    jax.config.update("jax_enable_x64", True)
    for name in names or CASES:
        case = CASES[name]()
        program = compiled(case)
        found = {
            "case": name,
            "launches": launches(program.as_text()) / case.per,
            "temporaries_GB": program.memory_analysis().temp_size_in_bytes / 1e9,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
