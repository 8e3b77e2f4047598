"""Macro-scale models of any point model: equations for its means and covariances.

The tendency of a cell, written once, is expanded about the means; the mean tendency and
its covariance with every quantity then follow from the moments:

    dx̄/dt = ⟨f⟩,  dCᵢⱼ/dt = ⟨xᵢ' fⱼ⟩ + ⟨fᵢ xⱼ'⟩

Moments beyond the second come from a closure, see `closures`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import reductions
from jaxsoc.solve.dependence import depends_on

from .closures import Closure, zero_third
from .taylor import replaced


class Core(NamedTuple):
    """A soil core as a macro-scale model knows it.

    `mean`: of every pool; `covariance`: of the quantities that the model follows, pools
    first.
    """

    mean: Any
    covariance: Float[Array, "... quantity quantity"]


def core_of(mean: Any, covariance: Any, names: tuple[str, ...]) -> Core:
    """A core from means and covariances of a user's own.

    **Arguments:** `mean`: of every pool, mgC/g; `covariance`: of the quantities named,
    in this order, see `MomentEquations.quantities`; `names`: of the quantities.
    **Raises:** as `check_core`.
    """
    core = Core(jax.tree.map(jnp.asarray, mean), jnp.asarray(covariance))
    check_core(core, names)
    return core


def check_core(core: Core, names: tuple[str, ...]) -> None:
    """Refuses moments that no soil can have.

    **Raises:** `ValueError` for a wrong number of moments, negative means, and
    covariances that are not finite, not symmetric or not positive semi-definite.
    """
    _check_shape("covariance", core.covariance, 2, names)
    covariance = np.asarray(core.covariance, float)
    means = {n: np.asarray(x) for n, x in _by_name(core.mean).items()}
    for name, x in means.items():
        if x.ndim or not (np.isfinite(x) and x >= 0):
            raise ValueError(f"mean {name} must be one number from 0 on, got {x}")
    if not np.isfinite(covariance).all():
        raise ValueError("covariance must be finite, got NaN or infinite entries")
    scale = np.sqrt(np.abs(np.outer(np.diag(covariance), np.diag(covariance))))
    gap = np.abs(covariance - covariance.T)
    i, j = np.unravel_index(np.argmax(gap), gap.shape)
    if gap[i, j] > 1e-9 * max(scale[i, j], np.abs(covariance[i, j])):
        raise ValueError(
            f"covariance must be symmetric, got {covariance[i, j]:.6g} and "
            f"{covariance[j, i]:.6g} for {names[i]} and {names[j]}"
        )
    # In units of the standard deviations: quantities may differ in size by far.
    deviation = np.sqrt(np.abs(np.diag(covariance)))
    deviation = np.where(deviation > 0, deviation, 1.0)
    least = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))[0]
    if least < -1e-9:
        raise ValueError(
            "covariance must be positive semi-definite, got a smallest eigenvalue of "
            f"{least:.3g} in units of the variances of {', '.join(names)}"
        )


def _by_name(state):
    return dict(zip(leaves_by_name(state), jax.tree.leaves(state), strict=True))


def _check_shape(what, moments, order, names):
    expected = (len(names),) * order
    if jnp.shape(moments) != expected:
        raise ValueError(
            f"{what} must be {_by(expected)}, along {', '.join(names)}, got "
            f"{_by(jnp.shape(moments)) or 'one number'}"
        )


def _by(shape):
    return " x ".join(map(str, shape))


class MomentEquations(eqx.Module):
    """Macro-scale tendency of a point model, to second order in its moments.

    dx̄/dt = f + ½ f'' : C + ⅙ f''' ⋮ M
    dC/dt = J C + C Jᵀ + sym(½ f'' : M + ⅙ f''' ⋮ Q)

    with J, f'', f''' the derivatives at the means, M and Q the third and fourth moments
    from the closure. `order` 2 leaves f''' out; at order 3 the equations of a law that
    is cubic, as the multiplicative one is in k, S and B, are exact in the moments.

    **Arguments:** `model`: `(t, state, params) -> d(state)/dt` at a point; `varying`:
    dotted names of the parameters that differ between cells; `closure`:
    `(mean, covariance) -> Higher`; `order`: 2 or 3.
    **Raises:** `ValueError` for an order other than 2 or 3; when called, for a number
    of moments that does not fit, see `core_of`.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 21-25.
    """

    model: Callable
    varying: tuple[str, ...] = ()
    closure: Closure = zero_third
    order: int = 2

    def __check_init__(self):
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")

    def quantities(self, state: Any, params: Any) -> tuple[str, ...]:
        """Names of what the covariances are of, in their order.

        Pools that no tendency depends on, such as CO2, are followed by their means
        alone.
        **Raises:** `ValueError` for a parameter that the model does not have.
        """
        names, places = self._places(state, params)
        return tuple(names[i] for i in places)

    def initial(self, state: Any, params: Any) -> tuple[Core, Any]:
        """The core that fields over cells describe, and its mean parameters.

        **Raises:** `ValueError` for a parameter that differs between cells and is not
        in `varying`.
        """
        state, params = jax.tree.map(jnp.asarray, (state, params))
        names, places = self._places(state, params)
        leaves = jax.tree.leaves((state, params))
        for i, leaf in enumerate(leaves):
            pool = i < len(jax.tree.leaves(state))
            if jnp.ndim(leaf) > 0 and not pool and i not in places:
                raise ValueError(
                    f"{names[i]} differs between cells, but `varying` is "
                    f"{self.varying}: add it, or give its mean"
                )
        mean = jax.tree.map(reductions.mean, (state, params))
        means = jax.tree.leaves(mean)
        cells = max(leaf.size for leaf in leaves)
        off = lambda i: jnp.broadcast_to(leaves[i] - means[i], cells).reshape(-1)
        flat = lambda x: x.reshape(-1) if jnp.ndim(x) else x
        leaves = [flat(x) for x in leaves]
        deviations = [off(i) for i in places]
        rows = [[reductions.mean(x * y) for y in deviations] for x in deviations]
        return Core(mean[0], jnp.stack([jnp.stack(row) for row in rows])), mean[1]

    def fluxes(self, rates: Callable, t: Any, core: Core, params: Any) -> Any:
        """Mean of any rates at a point, such as `model.fluxes`, over the core.

        F̄ = F(x̄) + ½ F'' : C + ⅙ F''' ⋮ M
        """
        at, function = self._function(rates, t, core, params)
        higher = self._higher(at, core, params)
        return self._mean(function, at, core.covariance, higher)

    def __call__(self, t: Any, core: Core, params: Any) -> Core:
        """d(core)/dt, from the core and the mean parameters."""
        at, function = self._function(self.model, t, core, params)
        higher = self._higher(at, core, params)
        mean = self._mean(function, at, core.covariance, higher)
        _, places = self._places(core.mean, params)
        pools = len(jax.tree.leaves(core.mean))
        own = [i for i in places if i < pools]

        def followed(x):
            """Tendency of every quantity; a parameter stays what it is."""
            tendencies = jax.tree.leaves(function(x))
            still = [jnp.zeros((), x.dtype)] * (len(places) - len(own))
            return jnp.stack([tendencies[i] for i in own] + still)

        slope = jax.jacfwd(followed)
        half = slope(at) @ core.covariance
        bend = jax.jacfwd(slope)
        half = half + 0.5 * jnp.einsum("jab,abi->ji", bend(at), higher.third)
        if self.order > 2:
            twist = jax.jacfwd(bend)(at)
            half = half + jnp.einsum("jabc,abci->ji", twist, higher.fourth) / 6
        return Core(mean, half + half.T)

    def _places(self, state, params):
        names = [*leaves_by_name(state), *leaves_by_name(params)]
        pools = jax.tree.leaves(state)
        unknown = set(self.varying) - set(names[len(pools) :])
        if unknown:
            raise ValueError(
                f"unknown parameter {min(unknown)!r}: the model has "
                f"{', '.join(names[len(pools) :])}"
            )
        zero = jnp.zeros((), jnp.result_type(pools[0]))
        tree = jax.tree.structure((state, params))
        at = lambda *leaves: self.model(zero, *jax.tree.unflatten(tree, leaves))
        read = depends_on(at, [zero] * len(names))
        return names, [
            i
            for i, name in enumerate(names)
            if read[i] and (i < len(pools) or name in self.varying)
        ]

    def _higher(self, at, core, params):
        """What the closure says, if it says enough."""
        names = self.quantities(core.mean, params)
        higher = self.closure(at, core.covariance)
        _check_shape("third moments of the closure", higher.third, 3, names)
        if self.order > 2:
            _check_shape("fourth moments of the closure", higher.fourth, 4, names)
        return higher

    def _function(self, rates, t, core, params):
        """Rates as a function of the quantities followed, and these at the means."""
        names, places = self._places(core.mean, params)
        _check_shape("covariance", core.covariance, 2, [names[i] for i in places])
        leaves, tree = jax.tree.flatten((core.mean, params))
        dtype = core.covariance.dtype
        at = jnp.stack([jnp.asarray(leaves[i], dtype) for i in places])

        def function(x):
            return rates(t, *jax.tree.unflatten(tree, replaced(leaves, places, x)))

        return at, function

    def _mean(self, function, at, covariance, higher):
        bend = jax.jacfwd(jax.jacfwd(function))
        second = lambda f, h: f + 0.5 * jnp.sum(h * covariance)
        mean = jax.tree.map(second, function(at), bend(at))
        if self.order == 2:
            return mean
        third = lambda f, h: f + jnp.sum(h * higher.third) / 6
        return jax.tree.map(third, mean, jax.jacfwd(bend)(at))


class Strata(eqx.Module):
    """Several kinds of cells side by side, such as dead and live ones.

    Without exchange between cells each kind goes its own way: X̄ = Σ w X̄ₛ. Dead cells,
    which have no microbes, hold what they are given; taking them apart is what makes a
    closure work on the rest.

    **Arguments:** `equations`: of one stratum. Cores and parameters lead by stratum.
    """

    equations: MomentEquations

    def __call__(self, t: Any, cores: Core, params: Any) -> Core:
        """d(core)/dt of every stratum."""
        return jax.vmap(self.equations, (None, 0, 0))(t, cores, params)

    def initial(self, state: Any, params: Any, parts: Any) -> tuple[Core, Any, Any]:
        """Cores, mean parameters and shares of strata, from fields over cells.

        **Arguments:** `parts`: number of the stratum of each cell, from 0 on.
        **Raises:** `ValueError` for a stratum without cells, or for parts that are not
        one whole number from 0 on for each cell.
        """
        parts = np.asarray(parts).reshape(-1)
        cells = max(jnp.size(leaf) for leaf in jax.tree.leaves(state))
        if parts.size != cells:
            raise ValueError(
                f"parts must be one for each of {cells} cells, got {parts.size}"
            )
        if parts.dtype.kind not in "iub" or parts.min() < 0:
            raise ValueError(
                "parts must be whole numbers from 0 on, got "
                f"{parts.dtype} from {parts.min()} to {parts.max()}"
            )
        flat = lambda x: jnp.reshape(x, -1) if jnp.ndim(x) else x
        state, params = jax.tree.map(flat, (state, params))
        found, shares = [], []
        for number in range(int(parts.max()) + 1):
            chosen = np.flatnonzero(parts == number)
            if not chosen.size:
                raise ValueError(f"stratum {number} has no cells")
            pick = lambda x, chosen=chosen: x[chosen] if jnp.ndim(x) else x
            found.append(self.equations.initial(*jax.tree.map(pick, (state, params))))
            shares.append(chosen.size / parts.size)
        stack = lambda *xs: jnp.stack([jnp.asarray(x) for x in xs])
        cores, means = jax.tree.map(stack, *found)
        return cores, means, jnp.asarray(shares)

    def fluxes(
        self, rates: Callable, t: Any, cores: Core, params: Any, shares: Any
    ) -> Any:
        """Mean of any rates at a point over all strata."""
        one = lambda core, params: self.equations.fluxes(rates, t, core, params)
        each = jax.vmap(one)(cores, params)
        return jax.tree.map(lambda x: jnp.sum(shares * x), each)
