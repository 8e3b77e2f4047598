"""Initial fields: the published recipes, and what goes beyond them.

The recipes take their noise as an argument, so that one can be run on any noise; the
functions that take a key draw it. One key, one field.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.parameters import BELOW_ONE, NON_NEGATIVE, POSITIVE, Interval

from .spectral import (
    PUBLISHED_EXPONENT,
    check_shape,
    correlated_with,
    correlation,
    scaled_to_mean,
    spectral_field,
    standardised,
    with_dead_zones,
)

CORRELATIONS = ("positive", "negative", "uncorrelated")


class Fields(NamedTuple):
    """Initial carbon in mgC/g: one biomass field and substrate by correlation."""

    biomass: Float[Array, "*cell"]
    substrate: dict[str, Float[Array, "*cell"]]


class Noise(NamedTuple):
    """Spectral noise that a recipe turns into fields; `uniform` is white."""

    biomass: Float[Array, "x y"]
    uniform: Float[Array, "x y"]
    positive: Float[Array, "x y"]
    negative: Float[Array, "x y"]
    uncorrelated: Float[Array, "x y"]


def draw_noise(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    crops: frozenset[str],
    exponent: float = PUBLISHED_EXPONENT,
) -> Noise:
    """Independent noise for every part of a recipe; `crops` names the non-periodic."""
    keys = dict(zip(Noise._fields, jax.random.split(key, 5), strict=True))
    fields = {
        name: spectral_field(key, shape, exponent=exponent, periodic=name not in crops)
        for name, key in keys.items()
        if name != "uniform"
    }
    return Noise(uniform=jax.random.uniform(keys["uniform"], shape), **fields)


# --- The published recipes (Chakrawal et al. 2020, Sect. 2.3 and the authors' code) ---


def transient_biomass(noise: Noise, mean: float, largest: float) -> Array:
    """Biomass of scenario 2: patches, capped, with dead zones in 32 % of the cells.

    **Arguments:** `largest`: Cmax, mgC/g, see `CellGrid`.
    """
    dead = 0.02 * mean
    y = jnp.minimum(10 * mean * noise.biomass + mean, 0.05 * largest)
    return scaled_to_mean(jnp.where(y <= dead, 0.0, y), mean)


def steady_biomass(noise: Noise, mean: float, largest: float) -> Array:
    """Biomass of scenario 1: milder patches, no dead cell, and no cap."""
    z = mean * (20 * noise.biomass + 5)
    return scaled_to_mean(jnp.where(z <= 0, 0.5 * mean * noise.uniform, z), mean)


def _substrate(
    noise: Noise,
    biomass: Array,
    mean: float,
    *,
    amplitude: float,
    level: float,
    ripple: float,
    offset: float,
) -> dict[str, Array]:
    """Substrate by correlation with the biomass."""
    largest = jnp.max(biomass)
    positive = 200 * biomass + 100 * largest + amplitude * mean * noise.positive
    negative = -0.5 * biomass + largest * (level + ripple * noise.negative)
    uncorrelated = jnp.maximum(mean * (20 * noise.uncorrelated + offset), 0.0)
    fields = dict(zip(CORRELATIONS, (positive, negative, uncorrelated), strict=True))
    return {name: scaled_to_mean(field, mean) for name, field in fields.items()}


transient_substrate = partial(
    _substrate, amplitude=4.0, level=0.75, ripple=0.1, offset=2.0
)
# The published amplitude of 1e7 is beside a mean of 1.212384e6 fgC per cell.
steady_substrate = partial(
    _substrate, amplitude=1e7 / 1.212384e6, level=1.0, ripple=0.2, offset=4.0
)


class Recipe(NamedTuple):
    """How a scenario turns noise into fields, and which of them it accepts.

    `largest_substrate`: Cmax of the grid, mgC/g.
    """

    biomass: Callable[[Noise, float, float], Array]
    substrate: Callable[[Noise, Array, float], dict[str, Array]]
    crops: frozenset
    least_correlation: float
    largest_substrate: float = CellGrid().largest_substrate


TRANSIENT = Recipe(
    transient_biomass,
    transient_substrate,
    frozenset({"positive", "uncorrelated"}),
    least_correlation=0.9,
)
STEADY = Recipe(
    steady_biomass, steady_substrate, frozenset({"biomass"}), least_correlation=0.85
)


class Acceptance(NamedTuple):
    """Which drawn fields to keep; the published study redrew them by eye.

    `largest_uncorrelated`: of |r| between "uncorrelated" substrate and biomass;
    `least_correlation`: of |r| of the other two, None for the recipe's own (0.9 in
    scenario 2, 0.85 in scenario 1); `largest_substrate`: mgC/g, None for no limit;
    `attempts`: draws of a substrate field before giving up.
    """

    largest_uncorrelated: float = 0.05
    least_correlation: float | None = None
    largest_substrate: float | None = None
    attempts: int = 1000


_STEEPEST = 100.0
_ACCEPTED = {
    "largest_uncorrelated": NON_NEGATIVE,
    "least_correlation": Interval(-math.inf, 1.0, closed_high=True),
    "largest_substrate": POSITIVE,
}


class Generator(eqx.Module):
    """Draws the initial fields of one member from a key.

    **Arguments:** `exponent`: of the power spectra; `dead_fraction`: share of cells
    without biomass, in whole cells, None for what the recipe gives: the poorest cells
    die, or, for a smaller share than the recipe's, all of the noise that biomass is
    made of is raised; `equal_variance`: substrate of one variance and of correlation 1,
    -1 and 0 in place of the recipe's; `acceptance`: of the recipe's substrate, None to
    keep the first draw, as a plain reading of the papers would; `dead_shift`: added to
    the share of dead cells that the recipe gives, by raising or lowering the noise.

    The amplitudes of the recipes belong to the published 100 x 100 cells: on smaller
    grids the noise, and with it patches and dead zones, is more pronounced.

    **Raises:** `ValueError` for an exponent or a share that makes no sense, two of
    dead cells, or an acceptance that no field can meet.
    """

    exponent: float = PUBLISHED_EXPONENT
    dead_fraction: float | None = None
    equal_variance: bool = False
    acceptance: Acceptance | None = Acceptance()
    dead_shift: float = 0.0

    def __check_init__(self):
        # Beyond, the powers of the frequencies leave the numbers.
        Interval(-_STEEPEST, _STEEPEST).check("exponent", self.exponent)
        for name, bounds in _ACCEPTED.items():
            value = getattr(self.acceptance, name, None)
            if value is not None:
                bounds.check(name, value)
        Interval(-1.0, 1.0).check("dead_shift", self.dead_shift)
        if self.dead_fraction is None:
            return
        BELOW_ONE.check("dead_fraction", self.dead_fraction)
        if self.dead_shift:
            raise ValueError(
                f"dead_fraction {self.dead_fraction} sets the share of dead cells, "
                f"which dead_shift {self.dead_shift} would move: give one of them"
            )

    def __call__(
        self,
        key: PRNGKeyArray,
        recipe: Recipe,
        shape: tuple[int, ...],
        names: tuple[str, ...] = CORRELATIONS,
        **means: float,
    ) -> Fields:
        """Fields with exact totals.

        Biomass is drawn once; each substrate field is drawn anew until it is accepted.

        **Arguments:** `shape`: cells; `names`: of the substrate fields wanted;
        `means`: `mean_substrate` and `mean_biomass`, mgC/g.
        **Raises:** `ValueError` if no draw is accepted, or none without negative cells.
        """
        shape = check_shape(shape)
        fields, found = _draw(self, key, recipe, shape, names, **means)
        self.check(found, names, shape)
        return fields

    def check(self, found: Array, names: tuple[str, ...], shape: tuple) -> None:
        """Raises `ValueError` for the first draw that found no field to accept."""
        table = np.asarray(found).reshape(-1, len(names))
        worst = table[table.all(axis=1).argmin()]
        if worst.all():
            return
        missing = " and no ".join(np.asarray(names)[~worst])
        raise ValueError(
            f"no {missing} substrate field was accepted in {self.attempts} draws on "
            f"{shape[0]} x {shape[1]} cells: take more, or loosen {self.acceptance}"
        )

    @property
    def attempts(self) -> int:
        """Draws of a substrate field before giving up."""
        rule = None if self.equal_variance else self.acceptance
        return 1 if rule is None else rule.attempts

    def draw(
        self,
        key: PRNGKeyArray,
        recipe: Recipe,
        shape: tuple[int, int],
        names: tuple[str, ...],
        *,
        mean_substrate: float,
        mean_biomass: float,
    ) -> tuple[Fields, Array]:
        """Fields, and which of the named ones were accepted; can be transformed."""
        noise = lambda number: draw_noise(
            jax.random.fold_in(key, number), shape, recipe.crops, self.exponent
        )
        most = recipe.largest_substrate
        make = lambda noise: recipe.biomass(noise, mean_biomass, most)
        biomass = make(self._moved(noise(0), make))
        if self.dead_fraction is not None:
            biomass = with_dead_zones(biomass, self.dead_fraction)

        def attempt(search):
            number, kept, found = search
            if self.equal_variance:
                drawn = equal_variance_substrate(
                    key, biomass, mean_substrate, self.exponent
                )
            else:
                drawn = recipe.substrate(noise(number), biomass, mean_substrate)
            good = [self._accepts(n, drawn[n], biomass, recipe) for n in names]
            new = jnp.stack(good) & ~found
            kept = [jnp.where(new[i], drawn[n], kept[i]) for i, n in enumerate(names)]
            return number + 1, kept, found | new

        def unfinished(search):
            number, _, found = search
            return (number < self.attempts) & ~jnp.all(found)

        empty = [jnp.zeros_like(biomass)] * len(names)
        start = jnp.asarray(0), empty, jnp.zeros(len(names), bool)
        _, kept, found = jax.lax.while_loop(unfinished, attempt, start)
        return Fields(biomass, dict(zip(names, kept, strict=True))), found

    def _moved(self, noise, make):
        """Noise with which the recipe gives another share of dead cells."""
        if self.dead_shift == 0.0 and self.dead_fraction is None:
            return noise
        x, dead = noise.biomass, make(noise) == 0
        if self.dead_fraction is None:
            share = jnp.mean(dead)
            target = jnp.clip(share + self.dead_shift, 0.0, 1.0)
            rise = jnp.quantile(x, share) - jnp.quantile(x, target)
        else:
            # The poorest cell that is to live becomes as rich as the poorest alive.
            ranked = jnp.sort(x, axis=None)
            place = lambda count: ranked[jnp.minimum(count, x.size - 1)]
            rise = place(jnp.sum(dead)) - place(round(self.dead_fraction * x.size))
            rise = jnp.maximum(rise, 0.0)
        return noise._replace(biomass=x + rise)

    def _accepts(self, name, field, biomass, recipe):
        # Written as "not below" so that a field of NaN is refused as well.
        sound = jnp.min(field) >= 0
        rule = self.acceptance
        if rule is None:
            return sound
        if rule.largest_substrate is not None:
            sound = sound & (jnp.max(field) <= rule.largest_substrate)
        if self.equal_variance:
            return sound
        least = rule.least_correlation
        least = recipe.least_correlation if least is None else least
        r = correlation(field, biomass)
        related = {
            "positive": r >= least,
            "negative": r <= -least,
            "uncorrelated": jnp.abs(r) <= rule.largest_uncorrelated,
        }
        return sound & related[name]


_draw = eqx.filter_jit(Generator.draw)


def equal_variance_substrate(
    key: PRNGKeyArray, biomass: Float[Array, "x y"], mean: float, exponent: float
) -> dict[str, Float[Array, "x y"]]:
    """Positive, negative and uncorrelated substrate of one and the same variance.

    The published three differ in variance by a factor of 10 and more, which hides the
    effect of correlation. Here r = 1, -1 and 0 exactly, at one CV: the largest that
    keeps all three non-negative.
    """
    # A key of its own: biomass drawn from this very key would leave nothing over.
    key, shape = jax.random.fold_in(key, 1), check_shape(biomass.shape)
    noise = standardised(spectral_field(key, shape, exponent=exponent))
    related = [correlated_with(biomass, noise, r) for r in (1.0, -1.0, 0.0)]
    common = jnp.min(jnp.stack([-1 / jnp.min(x) * (1 - 1e-12) for x in related]))
    fields = [mean * (1 + common * deviation) for deviation in related]
    return dict(zip(CORRELATIONS, fields, strict=True))
