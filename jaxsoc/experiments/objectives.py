"""What a sensitivity is of: one number made of the means of a run."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.safe import ratio
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


def parabola(times: Series, values: Series) -> tuple[Array, Array]:
    """Time and height of a maximum between saved times.

    The vertex of the parabola through the largest value and its two neighbours. At
    either end of the series there is no such vertex, and the end itself is returned.
    """
    top = jnp.argmax(values)
    middle = jnp.clip(top, 1, values.size - 2)
    here, height = times[middle], values[middle]
    left, right = here - times[middle - 1], times[middle + 1] - here
    below, above = height - values[middle - 1], values[middle + 1] - height
    # y = height + slope s + bend s², s = t - here
    bend = (above / right - below / left) / (left + right)
    slope = (above * left / right + below * right / left) / (left + right)
    shift = ratio(-slope, 2 * bend)
    inside = top == middle
    time = jnp.where(inside, here + shift, times[top])
    return time, jnp.where(inside, height + 0.5 * slope * shift, values[top])


def _peak(times, saved):
    return parabola(times, saved.flux.respiration)[1]


def _saved_peak(times, saved):
    return jnp.max(saved.flux.respiration)


def _peak_time(times, saved):
    return parabola(times, saved.flux.respiration)[0]


def _respired(times, saved):
    return saved.mean.co2[-1] - saved.mean.co2[0]


def _remaining(times, saved):
    return saved.mean.substrate[-1]


# The height of the parabola through the largest saved respiration and its neighbours:
# it has no kinks where the maximum moves from one saved time to the next.
peak_respiration = Objective(_peak, "peak respiration", "mgC/g/h")
# The largest saved value itself, differentiable but where two saved times tie.
largest_saved_respiration = Objective(
    _saved_peak, "largest saved respiration", "mgC/g/h"
)
time_of_peak = Objective(_peak_time, "time of the peak", "h")
cumulative_respiration = Objective(_respired, "cumulative respiration", "mgC/g")
remaining_substrate = Objective(_remaining, "remaining substrate", "mgC/g")
