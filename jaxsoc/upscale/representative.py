"""A few weighted cells that stand for all: the micro-scale law, integrated at them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

from .macroscale import AbstractMacroModel, Given
from .quantities import Census, Quantities, root

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

    def numbers_read(self, pools: int = 2) -> int | None:
        if self.reads == "field":
            return None
        return self.centre.shape[0] * (1 + pools) + pools - 1 + 2 * len(self.varying)

    def describe(self, cells):
        z = features(self.model, cells, self.reads)
        z = (z - self.scale[0][:, None]) / self.scale[1][:, None]
        phi = self._shares(z) * cells.weight[None]
        w, pools = phi.sum(1), cells.quantities.pools
        centre = ratio(phi @ cells.x.T, w[:, None])
        # A group without cells has no weight: any finite place will do.
        centre = jnp.where((w > 0)[:, None], centre, cells.mean[None])
        if self.reads == "statistics":
            centre = _at_mean_parameters(centre.T, cells).T
        cv = self._variation(cells, phi, w, centre)
        # Groups, then members of a group.
        places = centre[:, None, :] * jnp.exp(self.move * jnp.tanh(cv)[:, None, :])
        share = (w[:, None] * jax.nn.softmax(self.split, axis=1)).reshape(-1)
        flat = places.reshape(share.size, -1)
        kept = ratio(w @ centre[:, :pools], share @ flat[:, :pools])
        followed = flat[:, :pools] * kept[None]
        return followed.T, (ratio(share, jnp.sum(share)), flat[:, pools:].T)

    def _shares(self, z):
        """φ by group and cell."""
        # |s (z - c)|² as products of matrices: no array of group, feature and cell.
        s2 = jnp.exp(2 * self.log_sharpness)
        distance = s2 @ z**2 - 2 * (s2 * self.centre) @ z
        distance = distance + jnp.sum(s2 * self.centre**2, axis=1)[:, None]
        return jax.nn.softmax(self.bias[:, None] - 0.5 * distance, axis=0)

    def _variation(self, cells, phi, w, centre):
        """Coefficients of variation that the moves are in proportion to."""
        # About the mean first: the squares of large numbers would swallow small
        # variances.
        off, inner = cells.x - cells.mean[:, None], centre - cells.mean[None]
        if self.reads == "field":
            variance = ratio(phi @ (off**2).T, w[:, None]) - inner**2
            some = w > 1e-12 * cells.weight.sum()
            return ratio(root(jnp.where(some[:, None], variance, 0.0)), centre)
        total, pools = w.sum(), cells.quantities.pools
        between = ratio(w @ inner**2, total)
        spread = ratio(off**2 @ cells.weight, total)
        read = jnp.concatenate([between[:pools], spread[pools:]])
        return jnp.broadcast_to(ratio(root(read), cells.mean), centre.shape)

    def live_mean(self, function, live, given):
        share, rest = given.detail
        found = function(jnp.concatenate([live, rest]))
        return jax.tree.map(lambda f: f @ share, found)

    def live_tendency(self, t, live, given: Given):
        share, rest = given.detail
        function = given.quantities.tendencies(self.model, t, given.params)
        followed, passive = function(jnp.concatenate([live, rest]))
        return followed, passive @ share

    def realisability(self, core, given):
        names = given.quantities.names[: given.quantities.pools]
        lowest = core.live.min(axis=-1)
        return {f"{n} of a cell": x for n, x in zip(names, lowest, strict=True)}


# Added to what a logarithm is taken of: a tenth of the mean is as good as nothing.
_FLOOR = 0.1


def features(model: Any, cells: Census, reads: str) -> Any:
    """Features of cells by which they are grouped, by feature and cell.

    log(x / x̄ + 0.1) of each quantity, and the same of ∂F/∂x of each pool, the rate at
    which the model's first flux F uses it up
    """
    known, mean = cells.quantities, cells.mean
    rates = known.rates(model.fluxes, 0.0, cells.params)
    first = lambda q: jax.tree.leaves(rates(q))[0]

    def clocks(q):
        units = jnp.eye(q.shape[0], dtype=q.dtype)[: known.pools]
        shaped = lambda u: u.reshape(-1, *[1] * (q.ndim - 1))
        along = lambda u: jnp.broadcast_to(shaped(u), q.shape)
        return jnp.stack([jax.jvp(first, (q,), (along(u),))[1] for u in units])

    x, count = cells.x, mean.size
    if reads == "statistics":
        x, count = _at_mean_parameters(x, cells), known.pools
    sizes = ratio(x[:count], mean[:count, None])
    speeds = ratio(clocks(x), clocks(mean)[:, None])
    relative = jnp.concatenate([sizes, speeds])
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
        cells = known.census(state, param, dead)
        alive = cells.weight > 0
        weight = alive.astype(cells.x.dtype)
        # Not the mean of the census: rounding decides between features that vary
        # alike, and a fit must start where it did.
        mean = ratio(cells.x @ weight, jnp.sum(weight))
        return features(model, cells._replace(mean=mean), reads), alive

    z, alive = jax.jit(jax.vmap(featured))(states, params)
    every = np.moveaxis(np.asarray(z), 1, 0)[:, np.asarray(alive)]
    middle, deviation = every.mean(axis=1), every.std(axis=1)
    scale = np.stack([middle, np.where(deviation > 0, deviation, 1.0)])
    centre = _bisected(((every - scale[0][:, None]) / scale[1][:, None]).T, groups)
    move, rng = np.zeros((groups, members, len(known.names))), np.random.default_rng(0)
    if members > 1:
        # Members start apart, along the parameters.
        for q in range(known.pools, len(known.names)):
            move[:, :, q] = rng.permutation(np.linspace(-1.5, 1.5, members))
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


def _at_mean_parameters(x, cells):
    pools = cells.quantities.pools
    means = jnp.broadcast_to(cells.mean[pools:, None], x[pools:].shape)
    return jnp.concatenate([x[:pools], means])
