"""Units: carbon in mgC per g soil, time in hours; everything else converts here."""

from collections.abc import Mapping
from types import MappingProxyType

HOURS_PER_DAY = 24.0
DAYS_PER_YEAR = 365.0
HOURS_PER_YEAR = HOURS_PER_DAY * DAYS_PER_YEAR

FGC_PER_MGC = 1e12
CM_PER_UM = 1e-4

# fgC per cell that make one mgC per g soil, in the published cell: a cube of 50 µm with
# 1.65 g soil per cm³. Other cells: `CellGrid.fgc_per_mgc_per_g`.
FGC_PER_CELL = 206_250.0

# The three kinds of numbers a micro-scale field can hold. Each known unit has a factor
# to the unit used inside, and the power of the cell's fgC per (mgC/g) that goes with it
# (`CellGrid.fgc_per_mgc_per_g`).
CARBON: Mapping[str, tuple[float, int]] = MappingProxyType(
    {
        "mgC/g": (1.0, 0),
        "mg/g": (1.0, 0),
        "gC/kg": (1.0, 0),
        "g/kg": (1.0, 0),
        "mgC g-1": (1.0, 0),
        "mg g-1": (1.0, 0),
        "g kg-1": (1.0, 0),
        "fgC/cell": (1.0, -1),
        "fgC cell-1": (1.0, -1),
    }
)
RATE: Mapping[str, tuple[float, int]] = MappingProxyType(
    {
        "1/h": (1.0, 0),
        "h-1": (1.0, 0),
        "1/d": (1.0 / HOURS_PER_DAY, 0),
        "d-1": (1.0 / HOURS_PER_DAY, 0),
    }
)
RATE_PER_CARBON: Mapping[str, tuple[float, int]] = MappingProxyType(
    {
        "1/h/(mgC/g)": (1.0, 0),
        "1/d/(mgC/g)": (1.0 / HOURS_PER_DAY, 0),
        "1/h/(fgC/cell)": (1.0, +1),
        "1/d/(fgC/cell)": (1.0 / HOURS_PER_DAY, +1),
    }
)


def conversion_factor(
    unit: str, kind: Mapping[str, tuple[float, int]], *, fgc_per_mgc_per_g: float
) -> float:
    """Factor that takes a number in `unit` to the unit used inside.

    **Arguments:** `unit`: as written by the user, spaces are ignored; `kind`: one of
    `CARBON`, `RATE`, `RATE_PER_CARBON`; `fgc_per_mgc_per_g`: fgC per cell for one
    mgC per g soil, a property of the cell.

    **Raises:** `ValueError` for an unknown unit, with the known ones.
    """
    spaceless = {known.replace(" ", ""): known for known in kind}
    name = spaceless.get(unit.replace(" ", ""))
    if name is None:
        raise ValueError(
            f"unknown units {unit!r}: expected one of {', '.join(map(repr, kind))}"
        )
    factor, cell_power = kind[name]
    return factor * fgc_per_mgc_per_g**cell_power
