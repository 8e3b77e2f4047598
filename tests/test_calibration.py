"""Posteriors of columns at measured profiles: model, batches, store, command."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from column_cases import draws, sites
from jax.scipy.special import logsumexp
from numpyro.infer.util import log_density as numpyro_density
from profile_cases import profiles_of
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.cli import calibrate_config
from jaxsoc.cli.calibrate import _SAMPLERS
from jaxsoc.experiments.calibration import Calibration, Calibrator, SiteData
from jaxsoc.experiments.convergence import Convergence, diagnosed
from jaxsoc.experiments.measured_sites import (
    BY_LAYER,
    CALIBRATED,
    ROOT_SHARE,
    SOIL_RESPIRATION,
    ColumnPrediction,
    measured_sites,
)
from jaxsoc.experiments.posteriors import stream, summary_table
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.posterior import Posterior
from jaxsoc.infer.site import Law, Measured, SiteModel, priors_of, rank_weights
from jaxsoc.io import SiteStore, open_posteriors
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.profiles import layer_means

RH = "heterotrophic_respiration"
SHORT = BatchHMC(steps=3, warmup=12, draws=8, chains=2)
ONCE = Convergence(again=1)


def profiles(count=3):
    rng = np.random.default_rng(4)
    depths = [np.array([0.1, 0.3, 0.6, 1.0])[: 3 + i % 2] for i in range(count)]
    densities = [2e4 * np.exp(-3 * d) * rng.lognormal(0, 0.2, d.size) for d in depths]
    return profiles_of(densities, depths)


def site_data(design, count=3, **given):
    seen = profiles(count)
    inputs, known = measured_sites(seen, sites(count), 20.0, design.kinds, **given)
    depths = np.ones_like(known[design.kinds[0]])
    return SiteData.of(design, seen.name, inputs, known, depths)


def files_of(store):
    found = sorted(p for p in store.rglob("*") if p.is_file())
    return {str(p.relative_to(store)): p.read_bytes() for p in found}


def one_site(data, place=0):
    return jax.tree.map(lambda x: jnp.asarray(x[place]), (data.inputs, data.measured))


@pytest.mark.parametrize("name", slow_but(["clm5"], CALIBRATED))
def test_the_density_is_that_of_its_parts(name):
    design = Calibration(model=name)
    data = site_data(design)
    site, measured = one_site(data)
    posterior = Posterior(design.site_model, site, measured)
    cls = CALIBRATED[name].parameters
    params = jax.tree.map(lambda x: x[0], draws(cls, 1, seed=5))
    values = {f: getattr(params, f) for f in design.site_model.priors}
    rest = design.predict.column(values, site)
    predicted = site.reads @ rest.model.organic_carbon(rest.pools)
    known = np.isfinite(measured["carbon"].values)
    # Over all error scales, by quadrature on the logarithm.
    logs = jnp.linspace(-9.0, 7.0, 20_001)[:, None]
    law = dist.LogNormal(jnp.log(predicted[known])[None], jnp.exp(logs))
    each = jnp.sum(law.log_prob(measured["carbon"].values[known][None]), axis=1)
    each = each + design.site_model.error.log_prob(jnp.exp(logs[:, 0])) + logs[:, 0]
    likelihood = logsumexp(each) + np.log(logs[1, 0] - logs[0, 0])
    wanted = likelihood - float(design.predict.penalty(rest))
    for field, prior in design.site_model.priors.items():
        wanted += float(prior.log_prob(values[field]))
    assert np.isfinite(wanted)
    found, _ = numpyro_density(design.site_model, (site, measured), {}, values)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    like = posterior.log_likelihood(values, site, measured)["carbon"]
    np.testing.assert_allclose(like, likelihood, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clm5", "compas"])
def test_slopes_of_the_density_are_those_of_differences(name):
    design = Calibration(model=name, free_npp=True)
    data = site_data(design)
    args = one_site(data)
    posterior = Posterior(design.site_model, *args)
    density = jax.jit(lambda z: posterior(z, *args))
    rng = np.random.default_rng(2)
    for _ in range(50):
        z = jnp.asarray(rng.uniform(-1, 1, posterior.size))
        if np.isfinite(density(z)):
            break
    slope, step = jax.grad(density)(z), 1e-5
    for i in range(posterior.size):
        d = step * jnp.eye(posterior.size)[i]
        by_difference = (density(z + d) - density(z - d)) / (2 * step)
        np.testing.assert_allclose(slope[i], by_difference, rtol=2e-5, atol=1e-6)


def test_what_is_measured_is_the_mean_of_the_column_over_the_layer():
    design = Calibration()
    seen, forcing = profiles(2), sites(2)
    inputs, known = measured_sites(seen, forcing, 20.0)
    predict = replace(design.predict, kinds=("carbon", "stock"))
    params = jax.tree.map(lambda x: x[0], draws(CALIBRATED["clm5"].parameters, 1))
    site = jax.tree.map(lambda x: jnp.asarray(x[1]), inputs)
    values = {f: getattr(params, f) for f in design.site_model.priors}
    found, penalty = predict(values, site)
    model = CALIBRATED["clm5"](jax.tree.map(lambda x: x[1], forcing))
    soil = model.organic_carbon(steady_state(model, params))
    one = seen[[1]]
    wanted = layer_means(soil, model.forcing.column, one.top, one.bottom)
    np.testing.assert_allclose(found["carbon"][:4], wanted, rtol=1e-12)
    thick = one.bottom - one.top
    np.testing.assert_allclose(found["stock"][:4], wanted * thick, rtol=1e-12)
    assert penalty == 0.0
    np.testing.assert_array_equal(known["carbon"][1, :4], one.density)
    assert np.isnan(known["carbon"][1, 4:]).all()


@pytest.mark.slow
def test_a_state_that_does_not_exist_is_barred_and_its_neighbours_nearly():
    design = Calibration(model="compas")
    data = site_data(design)
    site, _ = one_site(data)
    every = draws(CALIBRATED["compas"].parameters, 60, seed=1)

    @jax.jit
    @jax.vmap
    def penalties(params):
        values = {f: getattr(params, f) for f in design.site_model.priors}
        rest = design.predict.column(values, site)
        sound = jnp.all(jnp.stack([jnp.min(x) > 0 for x in rest.pools]))
        return design.predict.penalty(rest), sound

    penalty, sound = penalties(every)
    np.testing.assert_array_equal(np.isfinite(penalty), sound)
    assert 5 < sound.sum() < 60 and (penalty >= 0).all()


@pytest.mark.slow
def test_missing_measurements_do_not_matter_and_others_do():
    design = Calibration()
    data = site_data(design)
    site, measured = one_site(data)
    posterior = Posterior(design.site_model, site, measured)
    z = jnp.zeros(posterior.size)
    base = posterior(z, site, measured)
    seen = measured["carbon"]
    fewer = replace(seen, values=seen.values.at[1].set(jnp.nan))
    assert posterior(z, site, {"carbon": fewer}) != base
    # Where nothing was measured nothing need be predicted.
    blind = site._replace(reads=site.reads.at[1].set(0.0))
    same = posterior(z, blind, {"carbon": fewer})
    assert same == posterior(z, site, {"carbon": fewer})
    slope = jax.grad(posterior)(z, site, measured)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("law", ["normal", "student-t"])
def test_other_laws_are_those_of_their_formulas(law):
    y = jnp.array([1.0, 2.0, jnp.nan])
    predict = lambda values, site: ({"y": values["a"] * jnp.ones(3)}, jnp.zeros(()))
    error = dist.LogNormal(-1.0, 0.5)
    model = SiteModel(predict, {"a": dist.Uniform(0.0, 5.0)}, error)
    seen = {"y": Measured(y, law=law)}
    values = {"a": jnp.asarray(1.5), "y_error": jnp.asarray(0.2)}
    found = Posterior(model, None, seen).log_likelihood(values, None, seen)["y"]
    scale = 0.2 * np.array([1.0, 2.0])
    exact = (
        dist.Normal(1.5, scale) if law == "normal" else dist.StudentT(4.0, 1.5, scale)
    )
    np.testing.assert_allclose(found, np.sum(exact.log_prob(y[:2])), rtol=1e-12)


def test_published_costs_are_those_of_their_formulas():
    y, f = np.array([4.0, 2.0, 1.0]), np.array([3.0, 2.5, 1.5])
    depths = np.array([0.05, 0.2, 0.6])
    weights = rank_weights(y, depths)
    # Ranks of |y - mean| are 1, 3, 2, of |d - mean| 2, 3, 1.
    np.testing.assert_allclose(weights, np.maximum(1, 10 * np.exp([-0.5, -2.0, -0.5])))
    seen = Measured(jnp.asarray(y), weights=weights, law="published-error")
    cost = np.sum(weights * (f - y) ** 2 / (2 * (0.6 * y) ** 2))
    np.testing.assert_allclose(seen.cost(jnp.asarray(f)), cost, rtol=1e-12)
    seen = Measured(jnp.append(jnp.asarray(y), jnp.nan), law="published-nse")
    nse = 1 - np.sum((f - y) ** 2) / np.sum((y - y.mean()) ** 2)
    found = seen.cost(jnp.append(jnp.asarray(f), 7.0))
    np.testing.assert_allclose(found, 5 * (1 - nse), rtol=1e-12)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"model": "century"}, "unknown model"),
        ({"law": "cauchy"}, "unknown law 'cauchy'"),
        ({"kinds": ("colour",)}, "unknown kind"),
        ({"model": "clm5", "kinds": ("cue",)}, "no pools that are microbes"),
        ({"error": -1.0}, "error must lie in"),
        ({"priors": {"q11": dist.Uniform()}}, "unknown parameter 'q11'"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Calibration(**given)


def test_one_measurement_counts_once_and_radiocarbon_needs_its_year():
    with pytest.raises(ValueError, match="carbon and stock are one measurement"):
        measured_sites(profiles(), sites(3), 20.0, ("carbon", "stock"))
    seen = profiles()
    delta = np.full(seen.density.shape, -20.0)
    dated = replace(seen, radiocarbon=delta, year=np.array([np.nan, 1990.5, 2030.0]))
    air = np.zeros((3, 166))
    kinds = ("carbon", "radiocarbon")
    inputs, known = measured_sites(dated, sites(3), 20.0, kinds, atmosphere=air)
    assert np.isnan(known["radiocarbon"][0]).all()
    assert (np.isfinite(known["radiocarbon"][1:]).sum(axis=1) > 0).all()
    # Of the last year of the atmosphere, where it is sampled after that.
    assert inputs.sampled[1] == 140 and inputs.sampled[2] == 165
    # An error that is given is that of carbon.
    design = Calibration(kinds=kinds, error=0.3)
    found = design.measured(known, np.ones_like(known["carbon"]))
    assert (found["carbon"].error == 0.3).all() and found["radiocarbon"].error is None


@pytest.mark.slow
def test_what_a_killed_write_left_is_removed(tmp_path):
    design = Calibration()
    data, store = site_data(design, 1), SiteStore(tmp_path / "s")
    stream(design, data, store, SHORT, tune=False, convergence=ONCE)
    before = files_of(store.path)
    (store.path / "q10" / "c" / "0.1f2e.partial").write_bytes(b"half")
    stream(design, data, store, SHORT, tune=False, convergence=ONCE)
    assert files_of(store.path) == before


def test_unknown_priors_and_empty_profiles_are_refused():
    with pytest.raises(ValueError, match="unknown parameter 'q11'"):
        priors_of(CALIBRATED["clm5"].parameters, {"q11": dist.Uniform()})
    seen = profiles_of([[np.nan, np.nan], [1.0, 2.0]])
    with pytest.raises(ValueError, match="nothing of carbon was measured in 1 of 2"):
        measured_sites(seen, sites(2), 20.0)


@pytest.fixture(scope="module")
def calibrated():
    design = Calibration()
    data = site_data(design, 5)
    calibrator = Calibrator(design, SHORT, block=2)
    return data, calibrator, calibrator(data)


@pytest.mark.slow
def test_a_site_alone_has_the_draws_that_it_has_in_any_batch(calibrated):
    data, calibrator, found = calibrated
    alone = calibrator(data.at([3]))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[3], y[0]), found, alone)
    turned = calibrator(data.at([4, 3, 2, 1, 0]))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[::-1]), found, turned)


@pytest.mark.slow
def test_draws_lie_in_the_priors_and_predictions_are_positive(calibrated):
    data, calibrator, found = calibrated
    for name, prior in calibrator.design.site_model.priors.items():
        assert (found.draws[name] > prior.low).all()
        assert (found.draws[name] < prior.high).all()
    quantiles = found.predicted.profile
    assert (quantiles > 0).all() and (np.diff(quantiles, axis=1) >= 0).all()
    assert found.log_density.shape == (5, 2, 8)


@pytest.mark.slow
def test_a_store_that_was_left_goes_on_to_the_same_bits(tmp_path):
    design = Calibration()
    data = site_data(design, 5)
    again = Convergence(effective=1e9, again=2)
    whole, parted = SiteStore(tmp_path / "a"), SiteStore(tmp_path / "b")
    options = {"tune": False, "convergence": again}
    stream(design, data, whole, SHORT, **options)

    class Left(Exception):
        pass

    calls = []

    def leave(what, seconds):
        calls.append(what)
        raise Left

    for _ in range(9):
        try:
            stream(design, data, parted, SHORT, clock=leave, **options)
            break
        except Left:
            pass
    assert files_of(parted.path) == files_of(whole.path)
    passes = whole.read(0, 5 if whole.about()["chunk"] >= 5 else whole.about()["chunk"])
    assert (passes["passes"] == 2).all()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(tmp_path, rng):
    rows = [
        f"p{i},47.0,{i % 90}.5,{top},{top + 20},{30 - 0.2 * i - top / 4:.2f},1.2"
        for i in range(70)
        for top in (0, 20, 40)
    ]
    (tmp_path / "soil.csv").write_text("\n".join([HEAD + CSV.split("\n")[0], *rows]))
    options = "--draws 8 --warmup 12 --chains 2 --steps 2 --again 2 --no-figures"
    code = "from jaxsoc.cli import main; main()"
    command = lambda out: [
        *(sys.executable, "-c", code, "calibrate", "--quiet"),
        *(str(tmp_path / "soil.csv"), *options.split(), "--out", str(tmp_path / out)),
    ]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    files = lambda out: files_of(tmp_path / out / "posteriors.zarr")
    # The second compiles nothing.
    for out in ("first", "whole"):
        begun = time.perf_counter()
        assert (
            subprocess.run(command(out), env=environment, check=False).returncode == 0
        )
        spent = time.perf_counter() - begun
    for trial in range(3):
        out = f"killed {trial}"
        running = subprocess.Popen(command(out), env=environment)
        time.sleep(rng.uniform(0.3, 1.0) * spent)
        running.send_signal(signal.SIGKILL)
        running.wait()
        again = subprocess.run(command(out), env=environment, check=False)
        assert again.returncode == 0
        assert files(out) == files("whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of Unix")
def test_a_full_disk_ends_a_run_in_a_sentence_and_it_goes_on(tmp_path):
    import resource

    design = Calibration()
    data, options = site_data(design, 2), {"tune": False, "convergence": ONCE}
    whole, parted = SiteStore(tmp_path / "whole"), SiteStore(tmp_path / "parted")
    stream(design, data, whole, SHORT, **options)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done, total, what):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))

    try:
        with pytest.raises(OSError, match="cannot write to"):
            stream(design, data, parted, SHORT, progress=fill, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not parted.marks().any()
    stream(design, data, parted, SHORT, **options)
    assert files_of(parted.path) == files_of(whole.path)


@pytest.mark.slow
def test_a_store_of_something_else_is_refused(tmp_path):
    design = Calibration()
    data, store = site_data(design, 2), SiteStore(tmp_path / "s")
    stream(design, data, store, SHORT, tune=False, convergence=ONCE)
    other = replace(design, seed=1)
    with pytest.raises(ValueError, match="holds other posteriors .seed 0"):
        stream(other, data, store, SHORT, tune=False, convergence=ONCE)
    values = replace(data.measured["carbon"], values=2 * data.measured["carbon"].values)
    changed = data._replace(measured={"carbon": values})
    with pytest.raises(ValueError, match="other data"):
        stream(design, changed, store, SHORT, tune=False, convergence=ONCE)
    informed = replace(design, priors={"q10": dist.LogNormal(0.4, 0.1)})
    assert isinstance(informed.site_model.priors["q10"], dist.LogNormal)
    with pytest.raises(ValueError, match="asked for q10 LogNormal"):
        stream(informed, data, store, SHORT, tune=False, convergence=ONCE)
    table = summary_table(design, data, store, {})
    count = len(design.site_model.priors) + 1
    assert table.values("rhat").shape == (2, count)
    assert table.values("correlation").shape == (2, count, count)
    each = np.arange(count)
    np.testing.assert_allclose(table.values("correlation")[:, each, each], 1.0)
    y, f = data.measured["carbon"].values, table.values("predicted_carbon")[:, 2]
    off, about = np.nansum((f - y) ** 2, 1), y - np.nanmean(y, 1, keepdims=True)
    efficiency = 1 - off / np.nansum(about**2, 1)
    np.testing.assert_allclose(table.values("efficiency_carbon"), efficiency)
    tree = open_posteriors(store.path)
    assert set(tree.posterior.data_vars) == {*design.site_model.priors, "carbon_error"}
    assert tree.posterior.q10.dims == ("site", "chain", "draw")
    assert list(tree.posterior.site.values) == list(data.names)
    np.testing.assert_array_equal(tree.posterior.q10, store.read(0, 2)["q10"])
    assert np.isfinite(tree.sample_stats.lp).all()
    with warnings.catch_warnings(action="ignore"):
        import arviz

        said = arviz.summary(tree["posterior"].to_dataset().sel(site=data.names[0]))
    at = list(table.values("constant")).index("q10")
    known = float(said.loc["q10", "mean"])
    np.testing.assert_allclose(known, table.values("mean")[0, at], rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in _SAMPLERS if n != "hmc"])
def test_every_sampler_fills_a_store(tmp_path, name):
    few = {"draws": 6, "chains": 2}
    if name in ("nuts", "metropolis"):
        few["warmup"] = 10
    if name == "nuts":
        few["depth"] = 3
    design, sampler = Calibration(), _SAMPLERS[name](**few)
    data, store = site_data(design, 2), SiteStore(tmp_path / name)
    stream(design, data, store, sampler, convergence=ONCE)
    table = summary_table(design, data, store, {})
    constants = list(table.values("constant"))
    for constant, prior in design.site_model.priors.items():
        drawn = store.read(0, 2)[constant]
        assert drawn.shape == (2, 2, 6)
        assert ((prior.low < drawn) & (drawn < prior.high)).all()
        mean = table.values("mean")[:, constants.index(constant)]
        np.testing.assert_allclose(mean, drawn.mean((1, 2)))
    assert np.isfinite(table.values("predicted_carbon")[:, :, :3]).all()
    with pytest.raises(ValueError, match="holds other posteriors"):
        stream(design, data, store, SHORT, convergence=ONCE)


def test_the_key_of_a_site_is_its_name():
    design = Calibration()
    data = site_data(design, 3)
    swapped = SiteData.of(
        design,
        data.names[::-1],
        data.inputs,
        {"carbon": data.measured["carbon"].values},
        np.ones_like(data.measured["carbon"].values),
    )
    np.testing.assert_array_equal(np.asarray(data.key)[::-1], swapped.key)


@pytest.mark.slow
def test_radiocarbon_of_a_column_is_that_of_the_steady_one_under_an_even_atmosphere():
    from jaxsoc.columns.observables import AtRest, radiocarbon_in_year
    from jaxsoc.columns.radiocarbon import steady_radiocarbon

    model = CALIBRATED["compas"](jax.tree.map(lambda x: x[0], sites(1)))
    from jaxsoc.models import COMPAS_INDICATIVE as params

    pools = steady_state(model, params)
    rest = AtRest(model, params, model.surroundings(params), pools)
    Y, C = radiocarbon_in_year(rest, jnp.full(5, -20.0), jnp.asarray(4))
    known = steady_radiocarbon(model, params, pools, delta=-20.0)
    np.testing.assert_allclose(Y, model.organic_carbon(known), rtol=1e-10)
    np.testing.assert_allclose(C, model.organic_carbon(pools), rtol=1e-12)


HEAD = "profile_id,latitude,longitude,depth_top_cm,depth_bottom_cm,soc_g_kg,"
CSV = """bulk_density_g_cm3
a,47.0,11.0,0,10,30,1.1
a,47.0,11.0,10,30,15,1.2
a,47.0,11.0,30,60,8,1.3
b,52.0,9.0,0,10,25,1.1
b,52.0,9.0,10,40,12,1.2
b,52.0,9.0,40,80,5,1.4
"""


@pytest.mark.slow
def test_the_command_calibrates_and_goes_on(jaxsoc, tmp_path):
    file = tmp_path / "soil.csv"
    file.write_text(HEAD + CSV)
    options = ("--draws", 8, "--warmup", 12, "--chains", 2, "--steps", 2, "--again", 1)
    out = tmp_path / "out"
    code, said, errors = jaxsoc("calibrate", file, *options, "--out", out)
    assert code == 0, errors
    with xr.open_dataset(out / "calibration.nc") as found:
        assert found.sizes["site"] == 2 and found.rhat.dims == ("site", "constant")
    for name in ("profiles", "constants", "pairs", "convergence"):
        assert (out / f"{name}.png").exists(), said
    assert len(json.loads((out / "seconds.json").read_text())) == 1
    code, *_ = jaxsoc("calibrate", file, *options, "--out", out)
    assert code == 0
    code, _, errors = jaxsoc("calibrate", file, "--out", out, "--seed", 3)
    assert code == 2 and "holds other posteriors" in errors


@pytest.mark.parametrize(
    "options, said",
    [
        ((), "no profiles are given"),
        (("nowhere.csv",), "nowhere.csv"),
        (("x.csv", "--model", "century"), "model"),
        (
            ("x.csv", "--sampler", "nuts", "--steps", "3"),
            "steps are of the sampler hmc",
        ),
        (("x.csv", "--error", "-1"), "error must be positive"),
        (("x.csv", "--kinds", "stock,carbon"), "one measurement in different units"),
        (("x.csv", "--sampler", "nuts", "--again", "2"), "samples each site once"),
    ],
)
def test_the_command_refuses_in_one_line(jaxsoc, tmp_path, options, said):
    code, _, errors = jaxsoc("calibrate", *options, "--out", tmp_path)
    assert code == 2 and said in errors and errors.count("\n") == 1


def test_the_options_of_the_command_are_those_of_the_library():
    known = (Law, tuple(_SAMPLERS), tuple(BY_LAYER), tuple(CALIBRATED))
    taken = (
        *(calibrate_config.Law, calibrate_config.Sampler),
        *(calibrate_config.Kind, calibrate_config.Model),
    )
    names = lambda options: options if isinstance(options, tuple) else get_args(options)
    assert list(map(names, known)) == list(map(names, taken))


def test_diagnostics_of_sites_are_those_of_each(rng):
    draws_ = {"a": rng.normal(size=(3, 4, 50)), "b": rng.normal(size=(3, 4, 50))}
    of = diagnosed(draws_)
    alone = diagnosed({name: x[1:2] for name, x in draws_.items()})
    assert of.mean.shape == (3, 2)
    for x, y in zip(of, alone, strict=True):
        np.testing.assert_array_equal(x[1], y[0])


@pytest.mark.slow
def test_carbon_and_radiocarbon_go_through_a_store_together(tmp_path):
    kinds = ("carbon", "radiocarbon")
    design, seen = Calibration(kinds=kinds), profiles(2)
    air = np.linspace(-20.0, 100.0, 166)[None] * np.ones((2, 1))
    delta = -100.0 * seen.bottom
    seen = replace(seen, radiocarbon=delta, year=np.full(2, 2010.0))
    inputs, known = measured_sites(seen, sites(2), 20.0, kinds, atmosphere=air)
    data = SiteData.of(design, seen.name, inputs, known, np.ones_like(known["carbon"]))
    store = SiteStore(tmp_path / "s")
    stream(design, data, store, SHORT, tune=False, convergence=ONCE)
    table = summary_table(design, data, store, {})
    errors = {"carbon_error", "radiocarbon_error"}
    assert errors < set(table.values("constant"))
    measured = np.isfinite(known["radiocarbon"])
    predicted = table.values("predicted_radiocarbon")[:, 2]
    assert (abs(predicted[measured]) < 200.0).all()
    drawn = open_posteriors(store.path).posterior
    assert errors < set(drawn.data_vars) and (drawn.radiocarbon_error > 0).all()


@pytest.mark.slow
def test_soil_respiration_is_that_of_microbes_and_roots():
    predict = ColumnPrediction(CALIBRATED["clm5"], (RH, SOIL_RESPIRATION))
    design = Calibration()
    site, _ = one_site(site_data(design))
    known = declarations(CALIBRATED["clm5"].parameters)
    values = {d.name: jnp.asarray(d.default) for d in known}
    found, _ = predict(values | {ROOT_SHARE: jnp.asarray(0.4)}, site)
    np.testing.assert_allclose(0.6 * found[SOIL_RESPIRATION], found[RH])
    # At rest what is respired is what falls.
    np.testing.assert_allclose(found[RH][0], np.sum(site.forcing.litter), rtol=1e-9)
    with pytest.raises(ValueError, match="needs the share of roots"):
        predict(values, site)
    both = Calibration(kinds=("carbon", SOIL_RESPIRATION)).site_model
    assert ROOT_SHARE in both.priors and ROOT_SHARE not in design.site_model.priors


@pytest.mark.slow
def test_a_user_model_around_the_same_prediction_has_the_same_posterior():
    design = Calibration()
    data = site_data(design)
    args = one_site(data)
    predict = ColumnPrediction(CALIBRATED["clm5"])

    def own(site, measured):
        values = {
            name: numpyro.sample(name, law)
            for name, law in priors_of(CALIBRATED["clm5"].parameters).items()
        }
        found, penalty = predict(values, site)
        numpyro.factor("feasible", -penalty)
        seen = measured["carbon"].values
        known = jnp.isfinite(seen)
        law = measured["carbon"].scattered(
            jnp.where(known, found["carbon"], 1.0), design.site_model.error
        )
        numpyro.sample("carbon", law, obs=jnp.where(known, seen, 1.0))

    ours, theirs = Posterior(design.site_model, *args), Posterior(own, *args)
    assert ours.names == theirs.names
    z = jnp.linspace(-1, 1, ours.size)
    np.testing.assert_allclose(ours(z, *args), theirs(z, *args), rtol=1e-12)


@pytest.mark.slow
def test_the_published_scheme_runs_a_site_and_keeps_what_it_accepted():
    from jaxsoc.experiments.published import published_cost, published_site
    from jaxsoc.infer.published import PublishedMetropolis

    design = Calibration(law="published-error")
    data = site_data(design, 1)
    cost = published_cost(design, data, 0)
    assert np.isfinite(cost(jnp.full(21, 0.5)))
    scheme = PublishedMetropolis(trial=300, formal=600, renewed_after=100)
    found = published_site(design, data, 0, scheme=scheme)
    assert found is not None
    assert 0.1 <= min(found.ratio) <= max(found.ratio) <= 0.5
    ranges = design.site_model.priors
    assert all(ranges[n].low < x < ranges[n].high for n, x in found.mean.items())
    assert all(x > 0 for x in found.deviation.values())
    with pytest.raises(ValueError, match="no published cost"):
        published_cost(Calibration(), data, 0)
