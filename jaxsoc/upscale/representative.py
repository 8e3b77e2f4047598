"""A few weighted cells that stand for all: the micro-scale law, integrated at them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

from .macroscale import AbstractMacroModel, Given
from .quantities import Quantities, root

READS = ("field", "statistics")


class RepresentativeCells(AbstractMacroModel):
    """Few weighted cells, each at the centre of the soil that it stands for.

    F̄ = Σ wᵢ F(xᵢ),  wᵢ = ⟨φᵢ⟩,  xᵢ = ⟨φᵢ x⟩ / wᵢ · exp(aᵢ ∘ tanh cvᵢ)

    Every live cell is shared out by φᵢ ≥ 0, Σ φᵢ = 1, a Gaussian in the features of a
    cell: each quantity, and how fast each pool is used up, in logarithms relative to
    the means. Cells are moved off their centres in proportion to the variation cvᵢ
    within, which makes up for its curvature, and rescaled so that no carbon is lost or
    gained: a uniform soil is exact whatever the numbers, weights and stocks are never
    negative. Centres, widths and moves are what a fit improves.

    **Arguments:** `centre`, `log_sharpness`: by group and feature; `bias`: by group;
    `move`: by group, member and quantity; `split`: weights of the members of a group,
    in logarithms; `scale`: mean and deviation of each feature; `reads`: "field", or
    "statistics", in which case groups differ by the pools alone and only their
    weights and means, the dead cells' means, and mean and deviation of each parameter
    are read; `model`, `varying`, `dead`: see `AbstractMacroModel`. Use `starting`.
    """

    model: Any
    varying: tuple[str, ...]
    centre: Any
    log_sharpness: Any
    bias: Any
    move: Any
    split: Any
    scale: np.ndarray
    reads: str = eqx.field(static=True, default="field")
    dead: str | None = "biomass"

    def __check_init__(self):
        check_option("reads", self.reads, READS)

    @property
    def cells(self) -> int:
        """How many representative cells there are."""
        return self.split.size

    def numbers_read(self, pools: int = 2) -> int | None:
        if self.reads == "field":
            return None
        return self.centre.shape[0] * (1 + pools) + pools - 1 + 2 * len(self.varying)

    def describe(self, x, weight, mean, params, known):
        by_field = self.reads == "field"
        seen = x if by_field else _at_mean_parameters(x, mean, known)
        z = features(self.model, seen, mean, params, known, by_field)
        z = (z - self.scale[0][:, None]) / self.scale[1][:, None]
        phi = self._shares(z) * weight[None]
        w = phi.sum(1)
        centre = ratio(phi @ x.T, w[:, None])
        # A group without cells has no weight: any finite place will do.
        centre = jnp.where((w > 0)[:, None], centre, mean[None])
        if not by_field:
            centre = _at_mean_parameters(centre.T, mean, known).T
        cv = self._variation(x, weight, mean, phi, w, centre, known)
        # Groups, then members of a group.
        places = centre[:, None, :] * jnp.exp(self.move * jnp.tanh(cv)[:, None, :])
        share = w[:, None] * jax.nn.softmax(self.split, axis=1)
        flat = places.reshape(-1, x.shape[0])
        share = share.reshape(-1)
        pools = known.pools
        kept = ratio(w @ centre[:, :pools], share @ flat[:, :pools])
        followed = flat[:, :pools] * kept[None]
        total = jnp.sum(share)
        return followed.T, (ratio(share, total), flat[:, pools:].T)

    def _shares(self, z):
        """φ by group and cell."""
        # |s (z - c)|² as products of matrices: no array of group, feature and cell.
        s2 = jnp.exp(2 * self.log_sharpness)
        distance = s2 @ z**2 - 2 * (s2 * self.centre) @ z
        distance = distance + jnp.sum(s2 * self.centre**2, axis=1)[:, None]
        return jax.nn.softmax(self.bias[:, None] - 0.5 * distance, axis=0)

    def _variation(self, x, weight, mean, phi, w, centre, known):
        """Coefficients of variation that the moves are in proportion to."""
        if self.reads == "field":
            total = weight.sum()
            # About the mean first: the squares of large numbers would swallow small
            # variances.
            off = x - mean[:, None]
            inner = centre - mean[None]
            variance = ratio(phi @ (off**2).T, w[:, None]) - inner**2
            variance = jnp.where((w > 1e-12 * total)[:, None], variance, 0.0)
            return ratio(root(variance), centre)
        total, pools = w.sum(), known.pools
        between = ratio(w @ (centre - mean[None]) ** 2, total)
        spread = ratio((x - mean[:, None]) ** 2 @ weight, total)
        read = jnp.concatenate([between[:pools], spread[pools:]])
        return _rows(ratio(root(read), mean), w.size)

    def live_mean(self, function, live, given):
        share, rest = given.detail
        found = function(jnp.concatenate([live, rest]))
        return jax.tree.map(lambda f: f @ share, found)

    def live_tendency(self, t, live, given: Given):
        share, rest = given.detail
        function = given.quantities.tendencies(self.model, t, given.params)
        followed, passive = function(jnp.concatenate([live, rest]))
        return followed, passive @ share

    def live_pools(self, live, given):
        return live @ given.detail[0]

    def realisability(self, core, given):
        names = given.quantities.names[: given.quantities.pools]
        lowest = core.live.min(axis=-1)
        return {f"{n} of a cell": x for n, x in zip(names, lowest, strict=True)}


# Added to what a logarithm is taken of: a tenth of the mean is as good as nothing.
_FLOOR = 0.1


def features(
    model: Any, x: Any, mean: Any, params: Any, known: Any, with_parameters: bool
) -> Any:
    """Features of cells by which they are grouped, by feature and cell.

    log(x / x̄ + 0.1) of each quantity, and the same of ∂F/∂x of each pool, the rate at
    which the model's first flux F uses it up
    """
    first = lambda q: jax.tree.leaves(known.rates(model.fluxes, 0.0, params)(q))[0]

    def clocks(q):
        units = jnp.eye(q.shape[0], dtype=q.dtype)[: known.pools]
        shaped = lambda u: u.reshape(-1, *[1] * (q.ndim - 1))
        along = lambda u: jnp.broadcast_to(shaped(u), q.shape)
        return jnp.stack([jax.jvp(first, (q,), (along(u),))[1] for u in units])

    count = x.shape[0] if with_parameters else known.pools
    relative = jnp.concatenate(
        [
            ratio(x[:count], mean[:count, None]),
            ratio(clocks(x), clocks(mean)[:, None]),
        ]
    )
    return jnp.log(jnp.maximum(relative, 0.0) + _FLOOR)


def starting(
    model: Any,
    states: Any,
    params: Any,
    *,
    varying: tuple[str, ...] = (),
    groups: int = 14,
    members: int = 1,
    reads: str = "field",
    dead: str | None = "biomass",
) -> RepresentativeCells:
    """Representative cells to start a fit from: groups that split the widest in two.

    **Arguments:** `states`, `params`: fields of some cores, leaves leading by core;
    `groups`: how many; `members`: representative cells of each, for
    parameters whose distribution is the same everywhere.
    **Raises:** `ValueError` for fewer than one group or member.
    """
    for name, value in (("groups", groups), ("members", members)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    states, params = jax.tree.map(jnp.asarray, (states, params))
    first = jax.tree.map(lambda x: x[0], (states, params))
    known = Quantities.of(model, varying, *first)

    def featured(state, param):
        x = known.fields(state, param)
        alive = known.live(x, dead)[0] > 0
        weight = alive.astype(x.dtype)
        # Not the mean of `live`: rounding decides between features that vary alike,
        # and a fit must start where it did.
        mean = ratio(x @ weight, jnp.sum(weight))
        _, scalars = known.filled(mean, jax.tree.map(jnp.mean, param))
        seen = x if reads == "field" else _at_mean_parameters(x, mean, known)
        return features(model, seen, mean, scalars, known, reads == "field"), alive

    z, alive = jax.jit(jax.vmap(featured))(states, params)
    every = np.moveaxis(np.asarray(z), 1, 0)[:, np.asarray(alive)]
    middle, deviation = every.mean(axis=1), every.std(axis=1)
    scale = np.stack([middle, np.where(deviation > 0, deviation, 1.0)])
    centre = _bisected(((every - scale[0][:, None]) / scale[1][:, None]).T, groups)
    move = np.zeros((groups, members, len(known.names)))
    rng = np.random.default_rng(0)
    if members > 1:
        # Members start apart, along the parameters.
        steps = np.linspace(-1.5, 1.5, members)
        for q in range(known.pools, len(known.names)):
            move[:, :, q] = rng.permutation(steps)
    return RepresentativeCells(
        model,
        varying,
        centre=jnp.asarray(centre),
        log_sharpness=jnp.full(centre.shape, np.log(2.0)),
        bias=jnp.zeros(groups),
        move=jnp.asarray(move),
        split=jnp.zeros((groups, members)),
        scale=scale,
        reads=reads,
        dead=dead,
    )


def _bisected(z, groups):
    """Middles of groups of points: the group that spreads the most is split in two."""
    parts = [np.arange(len(z))]
    while len(parts) < groups:
        spread = [p.size * z[p].var(axis=0).max() for p in parts]
        part = parts.pop(int(np.argmax(spread)))
        order = part[np.argsort(z[part, z[part].var(axis=0).argmax()])]
        half = max(1, order.size // 2)
        parts += [order[:half], order[half:]] if order.size > 1 else [order, order]
    return np.stack([z[p].mean(axis=0) for p in parts])


def _at_mean_parameters(x, mean, known):
    return jnp.concatenate([x[: known.pools], _rows(mean[known.pools :], x.shape[1]).T])


def _rows(vector, count):
    return jnp.broadcast_to(vector[None], (count, vector.size))
