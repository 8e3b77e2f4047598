"""Random fields: spectral noise, the published recipes, and what goes beyond them.

The recipes take their noise as an argument, so that one can be run on any noise; the
functions that take a key draw it. One key, one field.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsoc.physics.shapes import Number

# Every field of the published study has a power spectrum f^-3.
PUBLISHED_EXPONENT = -3.0

# Largest substrate in a cell: half of its mass is organic matter of 1.1 g/cm³ in soil
# of 1.65 g/cm³ (Chakrawal et al. 2020, constraint iii), mgC/g.
LARGEST_SUBSTRATE = 0.5 * 1.1 / 1.65 * 1e3

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


def spectral_field(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    *,
    exponent: float = PUBLISHED_EXPONENT,
    periodic: bool = True,
) -> Float[Array, "x y"]:
    """Gaussian-like noise of zero mean with a power spectrum f^exponent.

    **Arguments:** `shape`: cells; `exponent`: β, 0 is white, more negative is smoother;
    `periodic`: opposite edges meet; else a corner is cut out of a field twice as large,
    which then has a mean of its own.
    Source: Lennon (2000), doi:10.1111/j.1600-0587.2000.tb00265.x, as used by
    Chakrawal et al. (2020).
    """
    check_shape(shape)
    large = shape if periodic else (2 * shape[0], 2 * shape[1])
    field = spectral_noise(jax.random.uniform(key, large), exponent=exponent)
    return field[: shape[0], : shape[1]]


def spectral_noise(
    uniform: Float[Array, "x y"], *, exponent: float = PUBLISHED_EXPONENT
) -> Float[Array, "x y"]:
    """Periodic noise from one uniform variate per frequency.

    x = Re F⁻¹[ √P exp(2π i U) ],  P = (u² + v²)^(β/2),  P(0) = 0

    **Arguments:** `uniform`: U in [0, 1), the phases, independent per bin.
    """
    u, v = (np.fft.fftfreq(n) for n in uniform.shape)
    squared = u[:, None] ** 2 + v[None, :] ** 2
    squared[0, 0] = 1.0
    amplitude = squared ** (exponent / 4)
    amplitude[0, 0] = 0.0
    amplitude = jnp.asarray(amplitude, uniform.dtype)
    phase = 2 * jnp.pi * uniform
    spectrum = jax.lax.complex(amplitude * jnp.cos(phase), amplitude * jnp.sin(phase))
    return jnp.fft.ifft2(spectrum).real


def draw_noise(key: PRNGKeyArray, shape: tuple[int, int], crops: frozenset) -> Noise:
    """Independent noise for every part of a recipe; `crops` names the non-periodic."""
    keys = dict(zip(Noise._fields, jax.random.split(key, 5), strict=True))
    fields = {
        name: spectral_field(key, shape, periodic=name not in crops)
        for name, key in keys.items()
        if name != "uniform"
    }
    return Noise(uniform=jax.random.uniform(keys["uniform"], shape), **fields)


def scaled_to_mean(field: Float[Array, "*cell"], mean: Float[Number, ""]) -> Array:
    """The field times a factor that makes its mean exact."""
    return field * (mean / jnp.mean(field))


def with_dead_zones(
    biomass: Float[Array, "*cell"], fraction: float
) -> Float[Array, "*cell"]:
    """Sets the poorest share of the cells to zero biomass and keeps the total.

    **Arguments:** `fraction` in [0, 1): rounded to whole cells.
    **Raises:** `ValueError` for another fraction.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"dead fraction must lie in [0, 1), got {fraction}")
    dead = round(fraction * biomass.size)
    rank = jnp.argsort(jnp.argsort(biomass.reshape(-1))).reshape(biomass.shape)
    return scaled_to_mean(jnp.where(rank < dead, 0.0, biomass), jnp.mean(biomass))


# --- The published recipes (Chakrawal et al. 2020, Sect. 2.3 and the authors' code) ---


def transient_biomass(noise: Noise, mean: float) -> Array:
    """Biomass of scenario 2: patches, capped, with dead zones in 32 % of the cells."""
    largest, dead = 0.05 * LARGEST_SUBSTRATE, 0.02 * mean
    y = jnp.minimum(10 * mean * noise.biomass + mean, largest)
    return scaled_to_mean(jnp.where(y <= dead, 0.0, y), mean)


def transient_substrate(noise: Noise, biomass: Array, mean: float) -> dict[str, Array]:
    """Substrate of scenario 2 by correlation with the biomass."""
    largest = jnp.max(biomass)
    positive = 200 * biomass + 100 * largest + 4.0 * mean * noise.positive
    negative = -0.5 * biomass + largest * (0.75 + 0.1 * noise.negative)
    uncorrelated = jnp.maximum(mean * (20 * noise.uncorrelated + 2), 0.0)
    return _triple(positive, negative, uncorrelated, mean)


def steady_biomass(noise: Noise, mean: float) -> Array:
    """Biomass of scenario 1: milder patches, no dead cell."""
    z = mean * (20 * noise.biomass + 5)
    return scaled_to_mean(jnp.where(z <= 0, 0.5 * mean * noise.uniform, z), mean)


def steady_substrate(noise: Noise, biomass: Array, mean: float) -> dict[str, Array]:
    """Substrate of scenario 1 by correlation with the biomass."""
    largest = jnp.max(biomass)
    published_mean = 1.212384e6  # fgC per cell, beside the published amplitude of 1e7
    amplitude = 1e7 / published_mean * mean
    positive = 200 * biomass + 100 * largest + amplitude * noise.positive
    negative = -0.5 * biomass + largest * (1 + 0.2 * noise.negative)
    uncorrelated = jnp.maximum(mean * (20 * noise.uncorrelated + 4), 0.0)
    return _triple(positive, negative, uncorrelated, mean)


def _triple(positive, negative, uncorrelated, mean):
    fields = dict(zip(CORRELATIONS, (positive, negative, uncorrelated), strict=True))
    return {name: scaled_to_mean(field, mean) for name, field in fields.items()}


class Recipe(NamedTuple):
    """How a scenario turns noise into fields, and which of them it accepts."""

    biomass: Callable[[Noise, float], Array]
    substrate: Callable[[Noise, Array, float], dict[str, Array]]
    crops: frozenset
    least_correlation: float


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


def generate_fields(
    key: PRNGKeyArray,
    recipe: Recipe,
    shape: tuple[int, int],
    *,
    mean_substrate: float,
    mean_biomass: float,
    acceptance: Acceptance | None = Acceptance(),  # noqa: B008 (immutable)
) -> Fields:
    """Fields of a published recipe with exact totals.

    Biomass is drawn once; each substrate field is drawn anew until it is accepted.
    `acceptance=None` keeps the first draw, as a plain reading of the papers would.

    **Arguments:** `mean_substrate`, `mean_biomass`: mgC/g.
    **Raises:** `ValueError` if no draw is accepted.
    """
    check_shape(shape)
    draw = jax.jit(lambda key: draw_noise(key, shape, recipe.crops))
    noise = draw(jax.random.fold_in(key, 0))
    biomass = recipe.biomass(noise, mean_biomass)
    substrate = recipe.substrate(noise, biomass, mean_substrate)
    if acceptance is None:
        return Fields(biomass, substrate)
    attempt = jax.jit(
        lambda key: recipe.substrate(
            draw_noise(key, shape, recipe.crops), biomass, mean_substrate
        )
    )
    waiting = {
        name
        for name, field in substrate.items()
        if not _accepted(name, field, biomass, recipe, acceptance)
    }
    for number in range(1, acceptance.attempts):
        if not waiting:
            return Fields(biomass, substrate)
        drawn = attempt(jax.random.fold_in(key, number))
        for name in sorted(waiting):
            if _accepted(name, drawn[name], biomass, recipe, acceptance):
                substrate[name] = drawn[name]
                waiting.discard(name)
    raise ValueError(
        f"no {' and no '.join(sorted(waiting))} substrate field was accepted in "
        f"{acceptance.attempts} draws: loosen {acceptance}"
    )


def _accepted(name, field, biomass, recipe, acceptance):
    limit = acceptance.largest_substrate
    if limit is not None and float(jnp.max(field)) > limit:
        return False
    r = float(correlation(field, biomass))
    least = acceptance.least_correlation or recipe.least_correlation
    return {
        "positive": r >= least,
        "negative": r <= -least,
        "uncorrelated": abs(r) <= acceptance.largest_uncorrelated,
    }[name]


# --- Beyond the papers ---------------------------------------------------------------


def correlated_field(
    key: PRNGKeyArray,
    partner: Float[Array, "x y"],
    *,
    mean: float,
    variation: float,
    target: float,
    exponent: float = PUBLISHED_EXPONENT,
) -> Float[Array, "x y"]:
    """A field with exact mean, coefficient of variation and correlation to a partner.

    S = mean [ 1 + CV ( r p + √(1 - r²) e ) ], with p the partner and e spectral noise
    orthogonal to it, both of mean 0 and variance 1.

    **Arguments:** `mean`: mgC/g; `variation`: CV; `target`: r in [-1, 1].
    **Raises:** `ValueError` for r outside [-1, 1], a CV that is not positive, a uniform
    partner, or a CV so large that a cell would be negative (names the largest one).
    """
    if not -1 <= target <= 1:
        raise ValueError(f"target correlation must lie in [-1, 1], got {target}")
    if not variation > 0:
        raise ValueError(f"coefficient of variation must be positive, got {variation}")
    if not float(jnp.std(partner)) > 0:
        raise ValueError("no correlation with a uniform partner field")
    deviation = _deviation(key, partner, target, exponent)
    largest = _largest_variation(deviation)
    if not variation <= largest:
        raise ValueError(
            f"a coefficient of variation of {variation:g} at correlation {target:g} "
            f"makes cells negative: at most {largest:.4g} for this field"
        )
    return mean * (1 + variation * deviation)


def _deviation(key, partner, target, exponent=PUBLISHED_EXPONENT):
    p = _standardised(partner)
    # A key of its own: a partner drawn from this very key would leave nothing over.
    key = jax.random.fold_in(key, 1)
    noise = _standardised(spectral_field(key, partner.shape, exponent=exponent))
    e = _standardised(noise - jnp.mean(noise * p) * p)
    return target * p + np.sqrt(1 - target**2) * e


def _largest_variation(deviation):
    return float(-1 / jnp.min(deviation)) * (1 - 1e-12)


def equal_variance_fields(
    key: PRNGKeyArray,
    biomass: Float[Array, "x y"],
    *,
    mean_substrate: float,
    variation: float | None = None,
) -> Fields:
    """Positive, negative and uncorrelated substrate of one and the same variance.

    The published three differ in variance by a factor of 10 and more, which hides the
    effect of correlation. Here r = 1, -1 and 0 exactly, at equal CV.

    **Arguments:** `variation`: CV, by default the largest that keeps all three
    non-negative.
    **Raises:** as `correlated_field`.
    """
    targets = dict(zip(CORRELATIONS, (1.0, -1.0, 0.0), strict=True))
    if variation is None:
        deviations = [_deviation(key, biomass, r) for r in targets.values()]
        variation = min(map(_largest_variation, deviations))
    substrate = {
        name: correlated_field(
            key, biomass, mean=mean_substrate, variation=variation, target=target
        )
        for name, target in targets.items()
    }
    return Fields(biomass, substrate)


def correlation(a: Float[Array, "*cell"], b: Float[Array, "*cell"]) -> Array:
    """Pearson's correlation over cells."""
    return jnp.mean(_standardised(a) * _standardised(b))


def shrunk(field: Any, degree: Float[Number, ""]) -> Any:
    """Deviations from the mean multiplied by `degree`; 0 is the mean field."""
    mean = jnp.mean(field)
    return mean + degree * (field - mean)


def _standardised(field):
    centred = field - jnp.mean(field)
    return centred / jnp.sqrt(jnp.mean(centred**2))


def check_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape, if a field can be drawn on it; else a `ValueError`."""
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"a field needs two axes of at least 2 cells, got {shape}")
    return shape[0], shape[1]
