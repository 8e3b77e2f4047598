"""Options of `jaxsoc closure`, checked before anything is computed."""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxsoc.experiments import Design, checked_correlations, varying_of
from jaxsoc.experiments.soils import model_of
from jaxsoc.upscale import FITTED, TRACKS, FittedClosure

from .config import UpscaleConfig, unknown

# Settings of a run of all cells, or of ensembles, which nothing here reads.
_NOT_OURS = ("members", "memory", "method", "step", "tolerance", "control")
_UNEVEN = ("biophysical", "biochemical", "full")


class ClosureConfig(UpscaleConfig):
    """What the three verbs share: a soil of one kinetics and one heterogeneity."""

    kinetics: list[str] | None = ["multiplicative"]
    heterogeneity: list[str] = ["full"]
    every: float = 24.0  # hours

    @property
    def case(self) -> tuple[str, str]:
        """Kinetics and heterogeneity, by the names that jaxsoc has for them.

        **Raises:** `ValueError` for more or fewer than one, or what needs no closure.
        """
        for name in _NOT_OURS:
            if name in self.model_fields_set:
                raise ValueError(f"{name} means nothing to a closure: leave it out")
        law = only("kinetics", self._kinetics())
        kind = only("heterogeneity", self.heterogeneity)
        if kind not in _UNEVEN:
            raise ValueError(unknown("heterogeneity of a closure", kind, _UNEVEN))
        return law, kind


class TrainedConfig(ClosureConfig):
    """The same, with cores to fit closures on."""

    correlation: list[str] | None = ["positive"]
    training: int = 20
    steps: int = 200

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
        checked_correlations(design, None)
        return design, case


class CompareConfig(TrainedConfig):
    """Options of `jaxsoc closure compare`."""

    closures: list[str] = [
        "mean_field",
        "two_strata",
        "log_normal",
        "functions_of_means",
        "learned",
        "representative_statistics",
        "representative_cells",
    ]
    unseen: int = 5

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
    """Options of `jaxsoc closure fit`."""

    closure: str = "representative_cells"
    steps: int = 400

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
    def file(self) -> Path:
        """Where the closure goes: `out`, or a file in it."""
        if self.out.suffix == ".json":
            return self.out
        return self.out / f"{self.closure}.json"


class PredictConfig(ClosureConfig):
    """Options of `jaxsoc closure predict`."""

    kinetics: list[str] | None = None  # those of the closure
    heterogeneity: list[str] = []  # full if the closure knows of constants that differ
    distributed: bool = False

    def filled(self, path: Path) -> "PredictConfig":
        """With what the closure in a file says where nothing else does."""
        from jaxsoc.io import load_closure

        fitted = load_closure(path)
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


def refuse_seen(paths: Sequence[Path], config: CompareConfig) -> None:
    """Raises `ValueError` for a closure that was fitted on cores to judge it by."""
    for path in paths:
        known = json.loads(path.read_text(encoding="utf-8"))
        seen = known.get("training")
        if known.get("seed") != config.seed or not isinstance(seen, int):
            continue
        if seen > config.training:
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
