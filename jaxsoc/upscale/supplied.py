"""Initial fields of one's own."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from jaxsoc.physics.kinetics import KINETICS


def _field(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _fields(by_name: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: _field(values) for name, values in by_name.items()}


class Supplied(eqx.Module):
    """Fields that take the place of generated ones, in mgC/g and h.

    **Arguments:** `biomass`: one value per cell; `substrate`: by correlation, any
    names; `constants`: kinetics -> constant -> field, where known.

    **Raises:** `ValueError` for fields of unequal shape, negative, NaN or infinite
    cells.
    """

    biomass: np.ndarray = eqx.field(converter=_field)
    substrate: dict[str, np.ndarray] = eqx.field(converter=_fields)
    constants: dict[str, dict[str, np.ndarray]] = eqx.field(
        default_factory=dict, converter=lambda c: {k: _fields(v) for k, v in c.items()}
    )

    def __check_init__(self):
        if not self.substrate:
            raise ValueError("no substrate field was given")
        if not self.biomass.size:
            raise ValueError("biomass has no cells")
        named = {"biomass": self.biomass}
        named |= {f"substrate ({name})": f for name, f in self.substrate.items()}
        for kinetics, constants in self.constants.items():
            named |= {f"{kinetics} {name}": f for name, f in constants.items()}
        for name, field in named.items():
            _check_field(name, field, self.biomass.shape)
        for kinetics in self.constants.keys() & KINETICS.keys():
            KINETICS[kinetics].constants(**self.constants[kinetics])


def _check_field(name, field, shape):
    if field.shape != shape:
        raise ValueError(
            f"fields must have one shape: {name} has {field.shape}, biomass has {shape}"
        )
    for problem, bad in (
        ("NaN", np.isnan(field)),
        ("negative", field < 0),
        ("infinite", np.isinf(field)),
    ):
        if bad.any():
            raise ValueError(
                f"{name} has {int(bad.sum())} {problem} cells of {field.size}; the "
                f"first is at index {tuple(map(int, np.argwhere(bad)[0]))}"
            )
