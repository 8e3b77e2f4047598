"""Rewetted soil cores, intact and homogenised: respiration by core and treatment."""

from pathlib import Path
from typing import NamedTuple

from jaxsoc.io.reading import read_table, with_columns
from jaxsoc.io.respiration import check_texts
from jaxsoc.observe import Respiration

_SECONDS_PER_HOUR = 3600.0
_NAMES = {
    "homogenization": ("Intact", "Homogenized"),
    "antecedent_moisture": ("fm", "drought"),
    "wetting": ("precip", "groundw"),
    "amendment": ("control", "C", "N"),
}
_NUMBERS = ("time_h", "co2c_rate_mg_gsoil_s")


class SoilSample(NamedTuple):
    """A core's respiration and treatments.

    `number`: an intact and a homogenised core may share it; `intact`; `treatment`:
    antecedent moisture, wetting and amendment; `zeros`: exact zeros left out.
    """

    series: Respiration
    number: int
    intact: bool
    treatment: tuple[str, str, str]
    zeros: int


def load_cores(path: Path | str) -> tuple[SoilSample, ...]:
    """Cores of Patel et al. (2021) from a .csv file, in mgC/g/h and h since wetting.

    Rates are those at a moment. A rate of exactly zero is no slope that was measured,
    but a place-holder, and is left out. The published magnitudes are too high for the
    cores' carbon (some respire most of it within a day): `soil_carbon` is left unknown,
    so that it bounds no pool, and only shape and contrasts mean something. The study of
    a series is its treatment.

    **Arguments:** `path`: columns `core`, `time_h`, `homogenization`,
    `antecedent_moisture`, `wetting`, `amendment` and `co2c_rate_mg_gsoil_s` (mgC per g
    soil per s).
    **Raises:** `ValueError` for a file that cannot be read, a missing column, an
    unknown treatment, and as `Respiration`.
    Source: Patel et al. (2021), doi:10.1016/j.soilbio.2021.108427.
    """
    path = Path(path)
    table = with_columns(path, read_table(path), ("core", *_NAMES), _NUMBERS)
    return tuple(
        _core(str(name), rows) for name, rows in table.groupby("core", sort=False)
    )


def _core(name, rows):
    first = rows.iloc[0]
    check_texts(first, _NAMES)
    number = name.split("_")[0]
    if not number.isdigit():
        raise ValueError(f"core must start with its number, got {name!r}")
    rates = rows.co2c_rate_mg_gsoil_s.to_numpy()
    kept = rates != 0
    treatment = (first.antecedent_moisture, first.wetting, first.amendment)
    series = Respiration(
        rows.time_h.to_numpy()[kept],
        _SECONDS_PER_HOUR * rates[kept],
        name=name,
        study=" ".join(treatment),
        unit="mgC/gsoil/h",
    )
    return SoilSample(
        series,
        int(number),
        first.homogenization == "Intact",
        treatment,
        int((~kept).sum()),
    )
