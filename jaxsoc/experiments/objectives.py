"""What a sensitivity is of: one number made of the means of a run."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.safe import power, ratio
from jaxsoc.upscale.moments import Moments

Series = Float[Array, " time"]


class Objective(eqx.Module):
    """A number made of the saved moments, with its name and unit.

    **Arguments:** `value`: `(times, moments) -> number`, where every leaf of `moments`
    leads with the time axis; `name`, `unit`: for tables and figures.
    """

    value: Callable[[Series, Moments], Any]
    name: str
    unit: str


def interpolated_peak(times: Series, values: Series) -> tuple[Array, Array]:
    """Time and height of the maximum of a smooth curve through the saved values.

    The curve is a cubic on each interval, with the slope of the parabola through three
    neighbours at every saved time. Its maximum moves smoothly across saved times, where
    the largest saved value has kinks and a single parabola jumps; kinks remain where
    two separate peaks tie. A maximum at either end is that end, with no slope by time.
    """
    top = jnp.argmax(values)
    slopes = _slopes(times, values)
    left = jnp.where(slopes[top] > 0, top, top - 1)
    inside = (left >= 0) & (left < values.size - 1)
    left = jnp.clip(left, 0, values.size - 2)
    width, rise = times[left + 1] - times[left], values[left + 1] - values[left]
    first, last = width * slopes[left], width * slopes[left + 1]
    # y = y₀ + first s + b s² + c s³ with s from 0 to 1; y' = 0 where it turns down
    b, c = 3 * rise - 2 * first - last, first + last - 2 * rise
    root = power(b**2 - 3 * first * c, jnp.asarray(0.5, values.dtype))
    s = jnp.clip(ratio(first, root - b), 0.0, 1.0)
    height = values[left] + s * (first + s * (b + s * c))
    time = jnp.where(inside, times[left] + s * width, times[top])
    return time, jnp.where(inside, height, values[top])


def _slopes(times, values):
    """Slopes at the saved times, of the parabola through each and its neighbours."""
    steps = jnp.diff(times)
    secants = jnp.diff(values) / steps
    if values.size == 2:
        return jnp.concatenate([secants, secants])
    weighted = secants[:-1] * steps[1:] + secants[1:] * steps[:-1]
    inner = weighted / (steps[:-1] + steps[1:])
    ends = 2 * secants[:1] - inner[:1], 2 * secants[-1:] - inner[-1:]
    return jnp.concatenate([ends[0], inner, ends[1]])


# Of the smooth curve through the saved values, see `interpolated_peak`.
peak_respiration = Objective(
    lambda times, saved: interpolated_peak(times, saved.flux.respiration)[1],
    "peak respiration",
    "mgC/g/h",
)
time_of_peak = Objective(
    lambda times, saved: interpolated_peak(times, saved.flux.respiration)[0],
    "time of the peak",
    "h",
)
cumulative_respiration = Objective(
    lambda times, saved: saved.mean.co2[-1] - saved.mean.co2[0],
    "cumulative respiration",
    "mgC/g",
)
remaining_substrate = Objective(
    lambda times, saved: saved.mean.substrate[-1], "remaining substrate", "mgC/g"
)
