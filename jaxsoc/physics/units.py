"""Units: carbon in mgC per g soil, time in hours; everything else converts here."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

HOURS_PER_DAY = 24.0
DAYS_PER_YEAR = 365.0
SECONDS_PER_DAY = 86_400.0
ZERO_CELSIUS = 273.15  # K
HOURS_PER_YEAR = HOURS_PER_DAY * DAYS_PER_YEAR

FGC_PER_MGC = 1e12
CM_PER_UM = 1e-4

# fgC per cell that make one mgC per g soil, in the published cell: a cube of 50 µm with
# 1.65 g soil per cm³. Other cells: `CellGrid.fgc_per_mgc_per_g`.
FGC_PER_CELL = 206_250.0

_PER_DAY = 1.0 / HOURS_PER_DAY
# The three kinds of numbers a micro-scale field can hold, by the unit used inside. Each
# known unit has a factor to that unit, and the power of the cell's fgC per (mgC/g) that
# goes with it (`CellGrid.fgc_per_mgc_per_g`).
_CARBON = ("mgC/g", "mg/g", "gC/kg", "g/kg", "mgC g-1", "mg g-1", "g kg-1")
CONVERSIONS: Mapping[str, Mapping[str, tuple[float, int]]] = MappingProxyType(
    {
        "mgC/g": {
            **dict.fromkeys(_CARBON, (1.0, 0)),
            **dict.fromkeys(("fgC/cell", "fgC cell-1"), (1.0, -1)),
        },
        "1/h": {
            **dict.fromkeys(("1/h", "h-1"), (1.0, 0)),
            **dict.fromkeys(("1/d", "d-1"), (_PER_DAY, 0)),
        },
        "1/h/(mgC/g)": {
            "1/h/(mgC/g)": (1.0, 0),
            "1/d/(mgC/g)": (_PER_DAY, 0),
            "1/h/(fgC/cell)": (1.0, +1),
            "1/d/(fgC/cell)": (_PER_DAY, +1),
        },
    }
)

# Molar masses, g/mol.
CARBON_MASS, CO2_MASS = 12.011, 44.009

# mgC in one of what is counted as respired carbon.
_RESPIRED = {
    **dict.fromkeys(("mgC", "mgCO2-C", "mgC-CO2"), 1.0),
    **dict.fromkeys(("ugC", "µgC", "ugCO2-C", "µgCO2-C", "ugC-CO2"), 1e-3),
    **dict.fromkeys(("gC", "gCO2-C"), 1e3),
    "mgCO2": CARBON_MASS / CO2_MASS,
    **dict.fromkeys(("ugCO2", "µgCO2"), 1e-3 * CARBON_MASS / CO2_MASS),
    **dict.fromkeys(("umolC", "µmolC", "umolCO2", "µmolCO2"), 1e-3 * CARBON_MASS),
}
# Grams of what it is counted by, and whether that is carbon instead of soil.
_COUNTED_BY = {
    **dict.fromkeys(("g", "gsoil"), (1.0, False)),
    **dict.fromkeys(("kg", "kgsoil"), (1e3, False)),
    **dict.fromkeys(("gC", "gsoilC", "gSOC"), (1.0, True)),
    **dict.fromkeys(("kgC", "kgsoilC", "kgSOC"), (1e3, True)),
}
TIMES: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("h", "hour", "hours"), 1.0),
        **dict.fromkeys(("d", "day", "days"), HOURS_PER_DAY),
    }
)


class RespirationUnit(NamedTuple):
    """Factor to mgC per g (and hour); whether it is a rate, and per g of carbon."""

    factor: float
    rate: bool
    per_carbon: bool


def respiration_unit(unit: str) -> RespirationUnit:
    """What a unit of respired carbon means: "ugC/g/d", "mg CO2-C g-1 soil", ...

    **Raises:** `ValueError` for an unknown unit, with the parts that are known.
    """
    # "mg C g-1 soil d-1" is read as "mgC/gsoil/d".
    plain = re.sub(r"\s+", "", unit)
    plain = re.sub(r"(k?g|h|d)-1(soilC|soil|SOC|C)?", r"/\1\2", plain)
    try:
        carbon, soil, *time = plain.replace("gSoil", "gsoil").split("/")
        (hours,) = (TIMES[t] for t in time or ["h"])
        grams, per_carbon = _COUNTED_BY[soil]
        factor = _RESPIRED[carbon] / grams / hours
    except (KeyError, ValueError):
        raise ValueError(
            f"unknown units {unit!r}: expected one of {', '.join(_RESPIRED)} / "
            f"{', '.join(_COUNTED_BY)} / {', '.join(TIMES)}, the last for rates alone, "
            "for example 'ugC/g/d' or 'mgCO2/g'"
        ) from None
    return RespirationUnit(factor, bool(time), per_carbon)


def conversion_factor(unit: str, inside: str, *, fgc_per_mgc_per_g: float) -> float:
    """Factor that takes a number in `unit` to the unit used inside.

    **Arguments:** `unit`: as written by the user, spaces are ignored; `inside`: one of
    `CONVERSIONS`, as parameters declare it; `fgc_per_mgc_per_g`: fgC per cell for one
    mgC per g soil, a property of the cell.

    **Raises:** `ValueError` for an unknown unit, with the known ones.
    """
    known = CONVERSIONS[inside]
    spaceless = {name.replace(" ", ""): found for name, found in known.items()}
    if (found := spaceless.get(unit.replace(" ", ""))) is None:
        raise ValueError(
            f"unknown units {unit!r}: expected one of {', '.join(map(repr, known))}"
        )
    factor, cell_power = found
    return factor * fgc_per_mgc_per_g**cell_power
