"""Fields of noise: spectra, correlations, dead zones. One key, one field."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsoc.physics.parameters import BELOW_ONE
from jaxsoc.physics.shapes import Number

# Every field of the published study has a power spectrum f^-3.
PUBLISHED_EXPONENT = -3.0


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


def scaled_to_mean(field: Float[Array, "*cell"], mean: Float[Number, ""]) -> Array:
    """The field times a factor that makes its mean exact."""
    return field * (mean / jnp.mean(field))


def with_dead_zones(
    biomass: Float[Array, "*cell"], fraction: float
) -> Float[Array, "*cell"]:
    """Sets the poorest share of the cells to zero biomass and keeps the total.

    **Arguments:** `fraction` in [0, 1): rounded to whole cells.
    **Raises:** `ValueError` for another fraction, or if no cell is left alive.
    """
    BELOW_ONE.check("dead fraction", fraction)
    dead = round(fraction * biomass.size)
    if dead == biomass.size:
        raise ValueError(f"dead fraction {fraction} leaves none of {dead} cells alive")
    rank = jnp.argsort(jnp.argsort(biomass.reshape(-1))).reshape(biomass.shape)
    return scaled_to_mean(jnp.where(rank < dead, 0.0, biomass), jnp.mean(biomass))


def correlated_with(
    partner: Float[Array, "*cell"],
    noise: Float[Array, "*cell"],
    target: Float[Number, ""],
) -> Float[Array, "*cell"]:
    """Deviation of mean 0 and variance 1 with an exact correlation to a partner.

    r p + √(1 - r²) e,  e = noise - ⟨noise p⟩ p, standardised

    **Arguments:** `target`: r in (-1, 1); at the ends the slope by r is infinite.
    """
    p = standardised(partner)
    e = standardised(noise - jnp.mean(noise * p) * p)
    return p * target + jnp.sqrt(1 - target**2) * e


def correlation(a: Float[Array, "*cell"], b: Float[Array, "*cell"]) -> Array:
    """Pearson's correlation over cells."""
    return jnp.mean(standardised(a) * standardised(b))


def shrunk(field: Any, factor: Float[Number, ""]) -> Any:
    """Deviations from the mean multiplied by `factor`; 0 is the mean field."""
    mean = jnp.mean(field)
    return mean + factor * (field - mean)


def standardised(field: Float[Array, "*cell"]) -> Float[Array, "*cell"]:
    """The field with mean 0 and variance 1."""
    centred = field - jnp.mean(field)
    return centred / jnp.sqrt(jnp.mean(centred**2))


def check_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape, if a field can be drawn on it; else a `ValueError`."""
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"a field needs two axes of at least 2 cells, got {shape}")
    return shape[0], shape[1]
