"""How far is forcing that is made from a climate from forcing that is known?

Forcing: soil temperature and the water scalar at 7 to 28 cm, made from the climate of
the nearest cell of a 1 degree grid, against those of ERA5-Land at the sites of the Soil
Respiration Database, doi:10.5194/essd-13-255-2021. The constants of the method are
fitted by least squares to four fifths of the sites, and the figures are those of the
last fifth, five times over. The data: JAXSOC_DATA, else the folder shared/data beside
the project.

    python -m benchmarks.places [--json] [--out FILE]
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from jaxsoc.io import load_climatology
from jaxsoc.physics import climate, soil_water
from jaxsoc.physics.climate import Bucket, Insulation
from jaxsoc.physics.site import Site
from jaxsoc.solve import use_all_cores

from .incubations import data_folder, short
from .timing import surroundings

FOLDS = 5
SEED = 0
DEPTH = climate.LEVELS[1]
CLASSES = {
    "below -2": (-np.inf, -2.0),
    "-2 to 3": (-2.0, 3.0),
    "3 to 10": (3.0, 10.0),
    "10 to 20": (10.0, 20.0),
    "above 20": (20.0, np.inf),
}
"""Of mean annual temperature of the grid, °C."""
# ERA5's class of soil by the label that the file has for it.
SOILS = {
    "Sand": 1,
    "Loamy sand": 2,
    "Sandy loam": 3,
    "Silt loam": 4,
    "Sandy clay loam": 6,
    "Silt clay loam": 7,
}
UNKNOWN_TEXTURE = 45.0, 20.0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.places",
        description="Compares forcing made from a climate with ERA5-Land.",
    )
    made.add_argument("--json", action="store_true", help="end with one line of JSON")
    made.add_argument("--out", type=Path, help="also write the JSON to this file")
    return made


def known_sites(folder: Path) -> tuple[Site, dict[str, np.ndarray], dict[str, int]]:
    """Sites by the grid; what ERA5-Land has at 7 to 28 cm; and how many were left out.

    Months are means over the years that there are. W of ERA5's own soils, NaN where
    their class is not known.
    """
    files = folder / "srdb_respiration"
    months = pd.read_csv(files / "era5_monthly_forcing.csv.gz")
    means = months.groupby(["site_id", "month"]).mean(numeric_only=True).unstack()
    climatology = load_climatology(folder / "global_grids")
    latitude, longitude = (means[n].iloc[:, 0].to_numpy() for n in ("lat", "lon"))
    reached = climatology.distance(latitude, longitude) <= 300
    means, counts = means[reached], {"sites": int(reached.size)}
    sites = climatology.at(latitude[reached], longitude[reached])
    labels = pd.read_csv(files / "annual.csv.gz").drop_duplicates("site_id")
    labels = labels.set_index("site_id").soil_class_era5.reindex(means.index)
    soil = labels.map(SOILS).fillna(0).to_numpy(int)
    warmth = means["tsoil_7_28cm_c"].to_numpy()
    theta = means["vwc_7_28cm"].to_numpy()
    curve = jax.vmap(soil_water.van_genuchten)(theta, soil)
    W = soil_water.decomposition_water(soil_water.frozen_potential(curve, warmth))
    W = np.where((soil > 0)[:, None], W, np.nan)
    counts |= {
        "without_climate": int((~reached).sum()),
        "with_soil_class": int((soil > 0).sum()),
    }
    air = means["tair_c"].to_numpy()
    return sites, {"temperature": warmth, "water": W, "air": air}, counts


def made_temperature(site: Site, air: Any, constants: Any, surface: str) -> Any:
    """Soil temperature at 7 to 28 cm of a site, °C, by one of the named choices.

    Or "offset": snow as by default, and the offset alone is a constant.
    """
    fallen = climate.snow(air, site.precipitation)
    passes, offset = 1.0, 0.0
    if surface == "frost":
        passes, offset = constants
    elif surface == "offset":
        snow, (offset,) = Insulation(), constants
        passes = climate.frost_passes(fallen.water, snow.least, snow.scale)
    elif surface == "snow":
        passes = climate.frost_passes(fallen.water, constants[0], constants[1])
        offset = constants[2]
    top = climate.surface_temperature(air, passes, offset)
    return climate.damped_wave(top, np.array([DEPTH]))[0]


def made_water(site: Site, temperature: Any, constants: Any) -> Any:
    """W at 7 to 28 cm of a site, from its bucket; constants are logs of `Bucket`'s."""
    evaporation, depth, wettest = jnp.exp(constants)
    sand, clay = (
        jnp.where(jnp.isnan(x), other, x)
        for x, other in zip((site.sand, site.clay), UNKNOWN_TEXTURE, strict=True)
    )
    soil, air = soil_water.texture(sand, clay), site.air_temperature
    liquid = climate.snow(air, site.precipitation).liquid
    possible = climate.potential_evaporation(air, site.latitude)
    bucket = Bucket(evaporation, depth, -wettest)
    theta = climate.bucket_water(liquid, possible, soil, bucket)
    potential = soil_water.clapp_hornberger(theta, soil)
    return soil_water.decomposition_water(
        soil_water.frozen_potential(potential, temperature)
    )


def fitted(predict: Any, truth: np.ndarray, start: Any) -> Any:
    """Constants by least squares on the sites where the truth is known."""
    known = np.isfinite(truth)
    residuals = jax.jit(
        lambda p: jnp.where(
            known, predict(p) - jnp.where(known, truth, 0.0), 0.0
        ).ravel()
    )
    slopes = jax.jit(jax.jacfwd(residuals))
    scale = np.maximum(np.abs(start), 0.1)
    return least_squares(residuals, start, slopes, x_scale=scale).x


def held_out(
    predict: Any, truth: np.ndarray, start: Any, parts: np.ndarray
) -> tuple[np.ndarray, Any]:
    """What each site gets from constants fitted to other parts, and those constants.

    **Arguments:** `predict`: of all sites, from constants.
    """
    found, constants = np.full(truth.shape, np.nan), []
    for part in range(parts.max() + 1):
        here = parts == part
        fit = fitted(predict, np.where(here[:, None], np.nan, truth), start)
        found[here] = np.asarray(predict(fit))[here]
        constants.append(fit)
    return found, np.array(constants)


def errors(found: np.ndarray, truth: np.ndarray, mean: np.ndarray) -> dict[str, Any]:
    """Bias and errors of months and of annual means, of all sites and by class."""
    groups = {"all": (-np.inf, np.inf)} | CLASSES
    table = {}
    for name, (low, high) in groups.items():
        here = (mean >= low) & (mean < high) & np.isfinite(truth).all(axis=1)
        off = (found - truth)[here]
        annual = off.mean(axis=1)
        root = lambda x: float(np.sqrt(np.mean(x**2)))
        table[name] = {
            "sites": int(here.sum()),
            "bias": float(off.mean()),
            "rmse": root(off),
            "rmse_annual": root(annual),
        }
    return table


def forcing(folder: Path, say=print) -> dict[str, Any]:
    """Errors of the forcing that is made from the grid's climate, against ERA5-Land."""
    sites, truth, counts = known_sites(folder)
    n = len(sites.latitude)
    mean = np.asarray(sites.air_temperature).mean(axis=1)
    parts = np.random.default_rng(SEED).permutation(n) % FOLDS
    # The same with all sites of a cell of the grid in one part.
    cells = np.unique(np.asarray(sites.air_temperature), axis=0, return_inverse=True)[
        1
    ].ravel()
    by_cell = (np.random.default_rng(SEED).permutation(cells.max() + 1) % FOLDS)[cells]
    grid, own = sites.air_temperature, jnp.asarray(truth["air"])
    shifted = jax.vmap(climate.shifted)(grid, jnp.mean(own, axis=1))

    def temperature(surface, air):
        each = lambda p: jax.vmap(lambda s, a: made_temperature(s, a, p, surface))
        return jax.jit(lambda p: each(p)(sites, air))

    said: dict[str, Any] = {"temperature": {}, "water": {}, "constants": {}}
    snow = Insulation()
    starts = {
        "snow": np.array([snow.least, snow.scale, snow.offset]),
        "frost": np.array([snow.frost, snow.offset]),
        "offset": np.array([snow.site_offset]),
    }
    methods = {
        "plain wave": ("none", grid, parts),
        "frost": ("frost", grid, parts),
        "snow": ("snow", grid, parts),
        "snow, folds of cells": ("snow", grid, by_cell),
        "snow, mean of the site": ("offset", shifted, parts),
        "snow, air of ERA5": ("snow", own, parts),
    }
    best = None
    for name, (surface, air, folds) in methods.items():
        predict = temperature(surface, air)
        if surface == "none":
            found = np.asarray(predict(None))
        else:
            start = starts[surface]
            found, folded = held_out(predict, truth["temperature"], start, folds)
            said["constants"][name] = {
                "all_sites": fitted(predict, truth["temperature"], start).tolist(),
                "folds": folded.tolist(),
            }
        best = found if name == "snow" else best
        said["temperature"][name] = errors(found, truth["temperature"], mean)
        say(_lines(name, said["temperature"][name]))
    bucket = np.log(np.abs(Bucket()))
    each = lambda p: jax.vmap(lambda s, T: made_water(s, T, p))(
        sites, jnp.asarray(best)
    )
    predict = jax.jit(each)
    found, folded = held_out(predict, truth["water"], bucket, parts)
    said["constants"]["bucket"] = {
        "all_sites": np.exp(fitted(predict, truth["water"], bucket)).tolist(),
        "folds": np.exp(folded).tolist(),
    }
    constant = np.full(found.shape, np.nanmean(truth["water"]))
    for name, made in (("one number", constant), ("bucket", found)):
        said["water"][name] = errors(made, truth["water"], mean)
        say(_lines(name, said["water"][name]))
    known = np.isfinite(truth["water"]).all(axis=1)
    pair = np.stack([found[known].mean(axis=1), truth["water"][known].mean(axis=1)])
    said["water"]["correlation_of_site_means"] = float(np.corrcoef(pair)[0, 1])
    return counts | said


def _lines(name, table):
    return "\n".join(
        f"{name:24s} {group:9s} {e['sites']:4d} sites, bias {e['bias']:+.3f}, RMSE of "
        f"months {e['rmse']:.3f}, of annual means {e['rmse_annual']:.3f}"
        for group, e in table.items()
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the comparison and prints it."""
    asked = parser().parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    began = time.perf_counter()
    say = lambda line: print(line, flush=True)
    result = {"forcing": forcing(data_folder(), say)}
    result |= {
        "seconds": round(time.perf_counter() - began, 1),
        "surroundings": surroundings(),
    }
    if asked.out:
        asked.out.write_text(json.dumps(short(result)) + "\n")
    if asked.json:
        print(json.dumps(short(result)))


if __name__ == "__main__":
    main()
