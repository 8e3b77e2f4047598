"""The loop of gradients, on sums of squares whose least is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc.solve import train

TARGETS = np.linspace(-1.0, 2.0, 12)
MEAN = TARGETS.mean()


def loss(free, batch):
    return jnp.mean((free["x"] - batch) ** 2)


def scores(free):
    error = jnp.abs(free["x"] - MEAN)
    return error, error


def trained(start=4.0, **options):
    options = {"steps": 120, "learning_rate": 0.2, "every": 10} | options
    part = lambda chosen: jnp.asarray(TARGETS[chosen])
    return train(loss, {"x": jnp.asarray(start)}, 12, part, scores, **options)


def test_the_least_is_found_and_the_best_is_kept():
    best, history = trained(batch=12)
    assert float(best["x"]) == pytest.approx(MEAN, abs=1e-3)
    assert history.validation.min() == pytest.approx(abs(float(best["x"]) - MEAN))
    assert history.steps[np.argmin(history.validation)] == history.best
    # batches differ, and the seed says how
    one, other = (float(trained(batch=2, seed=s)[0]["x"]) for s in (0, 1))
    assert one != other and float(trained(batch=2, seed=0)[0]["x"]) == one


def test_steps_that_are_not_finite_are_not_taken():
    part = lambda chosen: jnp.where(jnp.asarray(chosen) % 3 == 0, jnp.nan, MEAN)
    best, history = train(
        loss, {"x": jnp.asarray(4.0)}, 12, part, scores, steps=200, batch=1
    )
    assert np.isfinite(history.validation).all()
    assert abs(float(best["x"]) - MEAN) < abs(4.0 - MEAN)


def test_a_killed_fit_goes_on_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "fit"
    # A name that could be guessed, taken by somebody else.
    (tmp_path / ".fit.part").symlink_to(tmp_path / "elsewhere")

    def killed(done, total, what):
        if done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=path, progress=killed)
    seen = []
    again = trained(checkpoint=path, progress=lambda done, *_: seen.append(done))[0]
    assert seen[0] == 60
    assert float(again["x"]) == float(trained()[0]["x"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [".fit.part", "fit"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": np.nan}, "leaves the finite numbers on every example"),
        ({"steps": 0}, "must be positive, got 4, 0, 10 and 0.2"),
    ],
)
def test_what_cannot_be_trained_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        trained(**change)
