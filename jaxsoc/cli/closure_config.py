"""Options of `jaxsoc closure`, checked before anything is computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import PositiveInt

from jaxsoc.experiments import Design, varying_of
from jaxsoc.experiments.design import case_axes
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.upscale import FITTED, TRACKS, FittedClosure
from jaxsoc.upscale.fields import CORRELATIONS

from .config import KineticsName, UpscaleConfig
from .options import FOLDER, check_different, check_known, option

_UNEVEN = ("biophysical", "biochemical", "full")
_COMPARED = [
    *("mean_field", "two_strata", "log_normal", "functions_of_means", "learned"),
    *("representative_statistics", "representative_cells"),
]
_FILES = "A fitted closure, in place of a fit of its kind; may be repeated"


class ClosureConfig(UpscaleConfig):
    """What the three verbs share: a soil of one kinetics and one heterogeneity."""

    results: ClassVar[str] = "closure.nc"
    file_only: ClassVar = {"scenario", "parameter_spread", "coupling"}
    # Settings of a run of all cells, or of ensembles, which nothing here reads.
    unused: ClassVar = dict.fromkeys(
        ("members", "memory", "method", "step", "tolerance", "control"), "a closure"
    )

    kinetics: list[KineticsName] | None = option(
        ["multiplicative"], "NAME", ", ".join(KINETICS)
    )
    heterogeneity: list[str] = option(["full"], "NAME", ", ".join(_UNEVEN))
    every: float = option(24.0, "HOURS", "Between the times compared")

    @property
    def case(self) -> tuple[str, str]:
        """Kinetics and heterogeneity, by the names that jaxsoc has for them.

        **Raises:** `ValueError` for more or fewer than one, or what needs no closure.
        """
        kind = _only("heterogeneity", self.heterogeneity)
        check_known("heterogeneity of a closure", kind, _UNEVEN)
        return _only("kinetics", self.laws), kind


class TrainedConfig(ClosureConfig):
    """The same, with cores to fit closures on."""

    file_only: ClassVar = {*ClosureConfig.file_only, "fields", "units"}

    correlation: list[str] | None = option(
        ["positive"], "NAME", ", ".join(CORRELATIONS)
    )
    training: PositiveInt = option(20, "N", "Cores to fit on, members 0 to N-1")
    seed: int = option(0, "N", "Of cores and batches")
    steps: PositiveInt = option(200, "N", "Of each fit")

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """The design, and the case: kinetics, heterogeneity, correlation.

        **Raises:** `ValueError` in one line for whatever does not fit.
        """
        case = (*self.case, _only("correlation", self.correlation or []))
        if self.fields is not None or self.units is not None:
            raise ValueError("cores are drawn here: fields are for `closure predict`")
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
    unseen: PositiveInt = option(5, "N", "Cores to judge by, the next N")
    load: list[Path] = option([], "FILE.json", _FILES, repeated=True)

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """As that of `TrainedConfig`, and closures are possible."""
        for name in self.closures:
            check_known("closure", name, TRACKS)
        check_different("closures", self.closures)
        return super().checked()


class FitClosureConfig(TrainedConfig):
    """Fit one closure and save it; a fit that was stopped goes on where it was."""

    results: ClassVar[str] = "NAME.json"
    file_only: ClassVar = {*TrainedConfig.file_only, "figures"}

    closure: str = option("representative_cells", "NAME", ", ".join(FITTED))
    steps: PositiveInt = 400
    out: Path = option(FOLDER, "FILE.json", "For the closure, or a folder")

    def checked(self) -> tuple[Design, tuple[str, str, str]]:
        """As that of `TrainedConfig`, and the closure can be fitted and saved."""
        found = super().checked()
        check_known("closure", self.closure, TRACKS)
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

    kinetics: list[KineticsName] | None = option(
        None, "NAME", "If not those of the closure"
    )
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

    def filled(self, first: FittedClosure) -> "PredictConfig":
        """With what the first closure says where nothing else does."""
        kind = "full" if first.closure.varying else "biophysical"
        said = {
            "kinetics": self.kinetics or [first.kinetics],
            "heterogeneity": self.heterogeneity or [kind],
        }
        return self.model_copy(update=said)


def _only(what: str, names: Sequence[str]) -> str:
    if len(names) != 1:
        said = ", ".join(names) or "none"
        raise ValueError(f"one {what} is needed, got {len(names)}: {said}")
    return names[0]
