"""What can be measured of a soil, and how a model is asked for it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

QUANTITIES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("substrate", "biomass", "co2"), "mgC g-1"),
        **dict.fromkeys(("respiration", "mean_rate"), "mgC g-1 h-1"),
    }
)
"""What can be compared with data and its unit, in the order of the columns of a
prediction; `mean_rate` is the mean of respiration since the point before."""


def _index(quantity):
    check_option("quantity", quantity, QUANTITIES)
    return jnp.asarray(list(QUANTITIES).index(quantity))


class Observed(eqx.Module):
    """When and what was measured: `Observed(times, "respiration")`.

    **Arguments:** `times`: h, the first being that of the initial pools; the points of
    the data are the others, or all of them with `at_start`; `quantity`: one of
    `QUANTITIES`, held as its index, an array, so that one compilation serves all.
    **Raises:** `ValueError` for a quantity that is not known.
    """

    times: Any = eqx.field(converter=lambda t: jnp.asarray(np.asarray(t, dtype=float)))
    quantity: Any = eqx.field(converter=_index)
    at_start: bool = eqx.field(static=True, default=False)

    @property
    def points(self) -> Any:
        """Times of the data, h."""
        return self.times if self.at_start else self.times[1:]

    def series(self, pools: Any, respiration: Array) -> Float[Array, " time"]:
        """What is measured, of pools (mgC/g) and respiration (mgC/g/h) by time.

        **Arguments:** `pools`: a named tuple of substrate, biomass and co2.
        """
        intervals = jnp.diff(self.times, prepend=self.times[:1])
        mean_rate = ratio(jnp.diff(pools.co2, prepend=0.0), intervals)
        columns = jnp.stack([*pools, respiration, mean_rate])
        found = columns[self.quantity]
        return found if self.at_start else found[1:]
