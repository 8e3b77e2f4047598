"""Macro-scale models with a rate of their own: learned, or of another kinetics."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

from .macroscale import AbstractAtMeans
from .quantities import root

# A factor of e⁴ = 55 either way is more than any core of the published ones has.
_LARGEST = 4.0


class Learned(AbstractAtMeans):
    """Decomposition at the means times what a network has learned about the patches.

    D̄ = D(x̄) exp( s · net(log S̄/S̄₀, log B̄/B̄₀, g) ),  s² = Σ gᵢᵢ,  gᵢⱼ = Cᵢⱼ / (x̄ᵢ x̄ⱼ)

    over the live cells, with g as the core started. Whatever the network says, carbon
    is balanced, stocks stay positive, and a uniform soil (s = 0) is exact.

    **Arguments:** `network`: of features to a number; `model`: with a `decomposition`
    law; `varying`, `dead`: see `AbstractMacroModel`. Use `Learned.untrained`.
    """

    model: Any
    varying: tuple[str, ...]
    network: eqx.nn.MLP
    dead: str | None = "biomass"
    reads_covariances: ClassVar[bool] = True

    @classmethod
    def untrained(
        cls,
        model: Any,
        varying: tuple[str, ...] = (),
        *,
        pools: int = 2,
        width: int = 16,
        depth: int = 2,
        dead: str | None = "biomass",
    ) -> "Learned":
        """A network that has not learned anything yet: the live cells' mean field.

        **Arguments:** `pools`: how many the model follows; `width`, `depth`: of the
        network.
        """
        d = pools + len(varying)
        inputs = pools + d * (d + 1) // 2
        key, tanh = jax.random.key(0), jax.nn.tanh
        network = eqx.nn.MLP(inputs, "scalar", width, depth, tanh, key=key)
        # Its last layer starts at zero, and so does the correction.
        last = lambda n: (n.layers[-1].weight, n.layers[-1].bias)
        zeros = jax.tree.map(jnp.zeros_like, last(network))
        return cls(model, varying, network=eqx.tree_at(last, network, zeros), dead=dead)

    def describe(self, cells):
        g = ratio(cells.covariance, jnp.outer(cells.mean, cells.mean))
        rows = [g[i, j] for i in range(cells.mean.size) for j in range(i + 1)]
        return cells.pools, (cells.pools, jnp.stack(rows), root(jnp.trace(g)))

    def point_model(self, live, given):
        start, g, size = given.detail
        relative = jnp.log(jnp.maximum(ratio(live, start), 1e-6))
        said = self.network(jnp.concatenate([relative, g]))
        factor = jnp.exp(_LARGEST * jnp.tanh(size * said / _LARGEST))
        law = self.model.decomposition
        return _with_law(self.model, lambda S, B, c: factor * law(S, B, c))


def _with_law(model, law):
    return eqx.tree_at(lambda m: m.decomposition, model, law)


class EffectiveKinetics(AbstractAtMeans):
    """The whole core as one well-mixed cell of another kinetics, constants fitted.

    F̄ = F*(x̄; k*, K*), with F* of any known law

    **Arguments:** `kinetics`: name of the effective law; `log_constants`: logarithms of
    its constants, in their order; `model`, `varying`, `dead`: see `AbstractMacroModel`.
    Use `EffectiveKinetics.nominal`.
    Source: Wang and Allison (2019), doi:10.1016/j.soilbio.2019.107522, who find
    effective kinetics of the ECA form.
    """

    model: Any
    varying: tuple[str, ...]
    kinetics: str = eqx.field(static=True)
    log_constants: Any
    dead: str | None = None

    @classmethod
    def nominal(
        cls,
        model: Any,
        kinetics: str,
        varying: tuple[str, ...] = (),
        dead: str | None = None,
    ) -> "EffectiveKinetics":
        """A law with its default constants, to start a fit from.

        **Raises:** `ValueError` for a law that is not known.
        """
        check_option("kinetics", kinetics, KINETICS)
        constants = jax.tree.leaves(KINETICS[kinetics].constants())
        logs = jnp.log(jnp.asarray(constants, float))
        return cls(model, varying, kinetics=kinetics, log_constants=logs, dead=dead)

    @property
    def constants(self) -> Any:
        """Constants of the effective law, in its own units."""
        values = jnp.exp(self.log_constants)
        return KINETICS[self.kinetics].constants(*values)

    def point_model(self, live, given):
        law = KINETICS[self.kinetics].law
        return _with_law(self.model, lambda S, B, _: law(S, B, self.constants))
