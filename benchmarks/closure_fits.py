"""Fits of every closure to the training cores of a case, and where they are stored."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxsoc.experiments import examples, varying_of
from jaxsoc.io import closure_from_json, closure_to_json
from jaxsoc.io.atomic import replacing
from jaxsoc.models import TwoPool
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.upscale import FittedClosure, closure, errors, fit_closure

from .closure_cases import CORES, EVERY, TRAINING_SEED, Case, design
from .closure_errors import respiration_of

FITS = Path(__file__).parent / "results" / "closures"
FITTED = (
    "representative_cells",
    "representative_statistics",
    "learned",
    "functions_of_means",
    "effective_multiplicative",
    "effective_michaelis_menten",
    "effective_inverse_michaelis_menten",
    "effective_eca",
)
# Steps of Adam, and their first length, where they differ from 150 and 0.03.
_STEPS = {"representative_cells": 800, "representative_statistics": 600, "learned": 600}
_RATES = {"learned": 0.01, "functions_of_means": 0.05}


def refit(case: Case, say=print) -> Path:
    """Fits every closure of a case and stores the numbers."""
    plan = design(TRAINING_SEED, 24.0)
    cores = examples(plan, *case, range(CORES))
    model = TwoPool(KINETICS[case.kinetics].law)
    varying = varying_of(case.kinetics, case.heterogeneity, plan)
    fits = {}
    for name in FITTED:
        start = time.perf_counter()
        options = {"members": 6} if varying and name.endswith("statistics") else {}
        first = closure(name, model, varying, cores, **options)
        made, history = fit_closure(
            first,
            cores,
            steps=_STEPS.get(name, 150),
            learning_rate=_RATES.get(name, 0.03),
        )
        score = eqx.filter_jit(jax.vmap(respiration_of(24.0, 12), (None, 0, 0)))
        trained = errors(score(made, cores.state, cores.params), cores.respiration)
        fits[name] = closure_to_json(
            FittedClosure.on(name, case.kinetics, made, cores),
            {
                "training_error": float(np.median(trained)),
                "validation_error": float(history.validation.min()),
                "best_step": history.best,
            },
        )
        say(
            f"{case.name} {name}: {100 * float(np.median(trained)):.3f} % in training, "
            f"{100 * history.validation.min():.3f} % aside, "
            f"{time.perf_counter() - start:.0f} s"
        )
    content = {"case": case._asdict(), "seed": TRAINING_SEED, "cores": CORES}
    fine = examples(design(TRAINING_SEED, EVERY), *case, range(CORES))
    content["mean_respiration"] = [float(f"{x:.6g}") for x in fine.respiration.mean(0)]
    FITS.mkdir(parents=True, exist_ok=True)
    path = FITS / f"{case.name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content | {"fits": fits}) + "\n")
    return path


def stored(case: Case) -> dict[str, Any]:
    """What `refit` wrote."""
    path = FITS / f"{case.name}.json"
    if not path.exists():
        raise SystemExit(f"{path.name} is not there: run with --refit")
    return json.loads(path.read_text())


def closures_of(case: Case, kept: dict, names: Sequence[str]) -> dict[str, Any]:
    """Closures by name, fitted ones from what is stored."""
    model = TwoPool(KINETICS[case.kinetics].law)
    varying = varying_of(case.kinetics, case.heterogeneity, design(0, 24.0))
    return {
        name: closure_from_json(kept["fits"][name]).closure
        if name in kept["fits"]
        else closure(name, model, varying)
        for name in names
    }
