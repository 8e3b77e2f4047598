"""What `jaxsoc closure` can be told, checked before anything is computed."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from jaxsoc.experiments import Design, varying_of
from jaxsoc.experiments.design import case_axes
from jaxsoc.experiments.soils import model_of
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.upscale import FITTED, TRACKS, FittedClosure
from jaxsoc.upscale.fields import CORRELATIONS

from .config import UpscaleConfig
from .options import FOLDER, option, unknown

_UNEVEN = ("biophysical", "biochemical", "full")
_COMPARED = [
    *("mean_field", "two_strata", "log_normal", "functions_of_means", "learned"),
    *("representative_statistics", "representative_cells"),
]
_FILES = "A fitted closure, in place of a fit of its kind; may be repeated"


class ClosureConfig(UpscaleConfig):
    """What the three verbs share: a soil of one kinetics and one heterogeneity."""

    results: ClassVar[str] = "closure.nc"
    file_only: ClassVar = {
        "scenario",
        "fields",
        "units",
        "parameter_spread",
        "coupling",
    }
    # Settings of a run of all cells, or of ensembles, which nothing here reads.
    unused: ClassVar = dict.fromkeys(
        ("members", "memory", "method", "step", "tolerance", "control"), "a closure"
    )

    kinetics: list[str] | None = option(["multiplicative"], "NAME", ", ".join(KINETICS))
    heterogeneity: list[str] = option(["full"], "NAME", ", ".join(_UNEVEN))
    every: float = option(24.0, "HOURS", "Between the times compared")

    @property
    def case(self) -> tuple[str, str]:
        """Kinetics and heterogeneity, by the names that jaxsoc has for them.

        **Raises:** `ValueError` for more or fewer than one, or what needs no closure.
        """
        law = only("kinetics", self._kinetics())
        kind = only("heterogeneity", self.heterogeneity)
        if kind not in _UNEVEN:
            raise ValueError(unknown("heterogeneity of a closure", kind, _UNEVEN))
        return law, kind


class TrainedConfig(ClosureConfig):
    """The same, with cores to fit closures on."""

    correlation: list[str] | None = option(
        ["positive"], "NAME", ", ".join(CORRELATIONS)
    )
    training: int = option(20, "N", "Cores to fit on, members 0 to N-1")
    seed: int = option(0, "N", "Of cores and batches")
    steps: int = option(200, "N", "Of each fit")

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """The design, and the case: kinetics, heterogeneity, correlation.

        **Raises:** `ValueError` in one line for whatever does not fit.
        """
        case = (*self.case, only("correlation", self.correlation or []))
        if self.fields is not None or self.units is not None:
            raise ValueError("cores are drawn here: fields are for `closure predict`")
        if self.training < 1:
            raise ValueError(
                f"empty training set: training must be at least 1, got {self.training}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        design = self.design()
        if case[1] != "biophysical" and not varying_of(*case[:2], design):
            raise ValueError(
                f"no distribution is known for the constants of {case[0]}: use "
                "heterogeneity biophysical"
            )
        case_axes(design)
        return design, case


class CompareConfig(TrainedConfig):
    """Fit or load closures, and judge them by cores that none has seen."""

    closures: list[str] = option(
        _COMPARED, "NAMES", f"Comma-separated: {', '.join(TRACKS)}"
    )
    unseen: int = option(5, "N", "Cores to judge by, the next N")
    load: list[Path] = option([], "FILE.json", _FILES, repeated=True)

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """As that of `TrainedConfig`, and closures and unseen cores are possible."""
        found = super().checked()
        if self.unseen < 1:
            raise ValueError(
                f"no cores to judge by: unseen must be at least 1, got {self.unseen}"
            )
        for name in self.closures:
            _check_closure(name)
        if len(set(self.closures)) < len(self.closures):
            raise ValueError(f"closures names one twice: {', '.join(self.closures)}")
        return found


class FitClosureConfig(TrainedConfig):
    """Fit one closure and save it; a fit that was stopped goes on where it was."""

    results: ClassVar[str] = "NAME.json"
    file_only: ClassVar = {*ClosureConfig.file_only, "figures"}

    closure: str = option("representative_cells", "NAME", ", ".join(FITTED))
    steps: int = 400
    out: Path = option(FOLDER, "FILE.json", "For the closure, or a folder")

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """As that of `TrainedConfig`, and the closure can be fitted and saved."""
        found = super().checked()
        _check_closure(self.closure)
        if self.closure not in FITTED:
            raise ValueError(
                f"{self.closure} has no number that a fit may move: expected one of "
                f"{', '.join(FITTED)}"
            )
        if found[0].nonlinear_mortality:
            raise ValueError(
                "only closures of a soil with linear mortality can be saved, got "
                f"mortality_exponent {self.soil.mortality_exponent:g}"
            )
        return found

    @property
    def target(self) -> Path:
        """Where the closure goes: `out`, or a file in it."""
        if self.out.suffix == ".json":
            return self.out
        return self.out / f"{self.closure}.json"


class PredictConfig(ClosureConfig):
    """Predict the respiration of your own fields with fitted closures."""

    file_only: ClassVar = {"scenario", "parameter_spread", "coupling"}

    kinetics: list[str] | None = option(None, "NAME", "If not those of the closure")
    # full if the closure knows of constants that differ
    heterogeneity: list[str] = option([], "NAME", "If not that of the closure")
    correlation: list[str] | None = option(
        None, "NAMES", "Of the fields in FILE, if not all"
    )
    distributed: bool = option(False, None, "Run all cells, too, to see the error")
    seed: int = option(0, "N", "Of constants that FILE does not hold")
    load: list[Path] = option(
        [], "FILE.json", "A fitted closure; may be repeated", repeated=True
    )

    def filled(self) -> "PredictConfig":
        """With what the first closure says where nothing else does.

        **Raises:** `ValueError` without a closure.
        """
        from jaxsoc.io import load_closure

        if not self.load:
            raise ValueError("no closure to predict with: use --load FILE.json")
        fitted = load_closure(self.load[0])
        said = {
            "kinetics": self.kinetics or [fitted.kinetics],
            "heterogeneity": self.heterogeneity
            or ["full" if fitted.closure.varying else "biophysical"],
        }
        return self.model_copy(update=said)

    def checked(self) -> tuple[Design, tuple[str, str]]:
        """The design, and the case: kinetics and heterogeneity.

        **Raises:** `ValueError` in one line for whatever does not fit.
        """
        if self.fields is None:
            raise ValueError("no fields to predict from: use --fields FILE")
        case = self.case
        return self.design(), case


def load_by_name(
    paths: Sequence[Path], design: Design, case: Sequence[str]
) -> dict[str, FittedClosure]:
    """Fitted closures by the names of their files.

    **Raises:** `ValueError` for a file that is none, two of one name, or a closure of
    other kinetics than those of the case.
    """
    from jaxsoc.io import load_closure

    found: dict[str, FittedClosure] = {}
    for path in paths:
        if path.stem in found:
            raise ValueError(f"two closures are called {path.stem}: rename a file")
        fitted = load_closure(path)
        try:
            fitted.check(
                model_of(design, case[0]), varying_of(case[0], case[1], design)
            )
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        found[path.stem] = fitted
    return found


def refuse_seen(config: CompareConfig) -> None:
    """Raises `ValueError` for a closure that was fitted on cores to judge it by."""
    for path in config.load:
        known = json.loads(path.read_text(encoding="utf-8"))
        seen = known.get("training")
        if not isinstance(seen, int):
            warnings.warn(
                f"{path.name} does not say which cores it was fitted on: unseen ones "
                "may be some of them",
                stacklevel=2,
            )
        elif known.get("seed") == config.seed and seen > config.training:
            raise ValueError(
                f"{path.name} was fitted on {seen} cores of seed {config.seed}, and "
                f"unseen ones would be some of them: use training {seen}, or another "
                "seed"
            )


def only(what: str, names: Sequence[str]) -> str:
    """The one name that there is.

    **Raises:** `ValueError` for none or more.
    """
    if len(names) != 1:
        said = ", ".join(names) or "none"
        raise ValueError(f"one {what} is needed, got {len(names)}: {said}")
    return names[0]


def _check_closure(name):
    if name not in TRACKS:
        raise ValueError(unknown("closure", name, list(TRACKS)))
