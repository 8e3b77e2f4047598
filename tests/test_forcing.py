"""What drives a column is checked, in words, before anything is computed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxsoc import steady_state
from jaxsoc.models import (
    CLM5,
    COMPAS,
    MIMICS,
    CLM5Parameters,
    COMPASParameters,
)
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.environment import environment
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.mixing import mixing
from jaxsoc.physics.parameters import (
    declarations,
    from_unit,
    from_vector,
    outside_prior,
    to_unit,
    to_vector,
)

WARM = np.full((20, 12), 283.15)
LITTER = (60.0, 180.0, 240.0, 120.0)
NUMBERS = (CLM5Parameters, COMPASParameters)


def refused(sentence, temperature=WARM, water=0.5, litter=LITTER, **others):
    with pytest.raises(ValueError, match=sentence) as caught:
        Forcing(temperature, water, litter, **others)
    assert "\n" not in str(caught.value)


def test_eleven_months():
    refused(r"temperature must be .* 12 months of one .*\(20, 11\)", WARM[:, :11])
    refused(r"active_layer .* or 12 months.*\(11,\)", active_layer=np.ones(11))
    refused(r"litter .* 4 litters x 12 months.*\(4, 11\)", litter=np.ones((4, 11)))


def test_other_shapes():
    refused(r"water .* 20 layers x .*\(19, 12\)", water=np.full((19, 12), 0.5))
    refused(
        r"oxygen must be one number or 20 layers x 12 months.*\(12,\)",
        oxygen=np.ones(12),
    )
    refused("litter must be 4 annual inputs .*one number", litter=600.0)
    refused(r"sand must be one number or 20 layers.*\(19,\)", sand=np.full(19, 45.0))


def test_celsius():
    refused(r"temperature must lie in \[180, 350\] K, got 10 .*Celsius", WARM - 273.15)


def test_negative_input():
    refused(
        r"litter must lie in \[0, inf\) gC m⁻² month⁻¹, got -5 .*place 2",
        litter=(60.0, -60.0, 1.0, 1.0),
    )


def test_values_out_of_range():
    refused(r"water must lie in \[0, 1\], got 1.5", water=1.5)
    refused("nitrogen must lie in .* got nan", nitrogen=np.nan)
    refused(r"sand must lie in \[0, 100\] %, got 145", sand=145.0)
    refused(r"active_layer must lie in \[0, inf\] m, got -1", active_layer=-1.0)
    refused("bedrock must be .* whole number from 1 to 20, got 21", bedrock=21)
    refused("bedrock must be .* got 3.5", bedrock=3.5)
    refused("profile must sum to 1 .* got 2", profile=np.full((4, 20), 0.1))
    refused("temperature must be a number, got 'warm'", "warm")


@pytest.mark.parametrize(
    "interfaces", [(1.0, 0.5), (0.1, 0.1), (-1.0, 2.0), (0.1, np.inf), (0.1, np.nan)]
)
def test_depths_that_do_not_increase(interfaces):
    with pytest.raises(ValueError, match="must increase from the surface down.*got"):
        SoilColumn(interfaces)
    with pytest.raises(ValueError, match="and be finite, in m: got inf after 0.5"):
        SoilColumn((0.1, 0.5), below=np.inf)


def test_other_columns():
    with pytest.raises(ValueError, match="at least 2 layers, got 1"):
        SoilColumn((1.0,))
    with pytest.raises(ValueError, match="must increase"):
        SoilColumn((0.1, 0.5), below=0.4)
    with pytest.raises(ValueError, match=r"depths .* \(0, inf\) m, got -1"):
        CLM5_COLUMN.share_above((0.3, -1.0))


def test_parameters_out_of_bounds():
    with pytest.raises(ValueError, match=r"q10 .* must lie in \(0, inf\), got -1"):
        CLM5Parameters(q10=-1.0)
    with pytest.raises(ValueError, match=r"f_l1_s1 .* must lie in \[0, 1\], got 1.2"):
        CLM5Parameters(f_l1_s1=1.2)
    with pytest.raises(ValueError, match=r"f_s1_s2 and f_s1_s3 .*\[0, 1\], got 1.1"):
        CLM5Parameters(f_s1_s2=0.6, f_s1_s3=0.5)
    with pytest.raises(ValueError, match=r"cue .* must lie in \(0, 1\), got 1"):
        COMPASParameters(cue=1.0)
    with pytest.raises(
        ValueError, match="beta in its prior range must lie in .* got 1.5"
    ):
        from_unit(CLM5Parameters, np.append(np.full(20, 0.5), 1.5))
    with pytest.raises(ValueError, match=r"expected 21 places .*\(23,\)"):
        from_unit(CLM5Parameters, np.full(23, 0.5))
    with pytest.raises(ValueError, match="takes 23 values, got 21"):
        from_vector(COMPASParameters, np.ones(21))


def test_defaults_outside_the_priors_are_named():
    (transfer,) = outside_prior(CLM5Parameters())
    assert "f_s1_s2 (share of active carbon" in transfer
    assert "must lie in [0, 0.4], got 0.52" in transfer
    assert "efolding" in " ".join(outside_prior(CLM5Parameters(efolding=10.0)))
    assert outside_prior(COMPASParameters()) == ()


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("published", [False, True])
def test_places_in_the_priors_go_there_and_back(numbers, published, rng):
    unit = rng.uniform(size=(len(declarations(numbers)), 3))
    params = from_unit(numbers, unit, published=published)
    np.testing.assert_allclose(to_unit(params, published=published), unit, atol=1e-13)
    again = from_vector(numbers, to_vector(params))
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("numbers", "count"), [(CLM5Parameters, 21), (COMPASParameters, 23)]
)
def test_every_number_is_declared_with_all_that_is_known(numbers, count):
    declared = declarations(numbers)
    assert len(declared) == count
    assert len({d.published for d in declared}) == count
    for d in declared:
        low, high = d.range(published=True)
        assert low < high and d.range()[0] > 0 or d.unit == "1"
        assert d.component in ("A", "K", "xi", "B", "V", "E")
    # What is singular at the published low end has a floor.
    zero = {d.name for d in declared if d.prior[0] == 0 and d.bounds.low == 0}
    assert all(d.floor for d in declared if d.name in zero and not d.bounds.closed_low)


def test_columns_need_64_bits():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(RuntimeError, match="jax_enable_x64"):
            steady_state(CLM5(idealised()), CLM5Parameters())
    finally:
        jax.config.update("jax_enable_x64", True)


def test_forcing_can_be_made_inside_jit():
    def stock(warmth):
        forcing = Forcing(jnp.full((20, 12), 273.15) + warmth, 0.5, LITTER)
        model = CLM5(forcing)
        return jnp.sum(steady_state(model, CLM5Parameters()).s3)

    slope = jax.jit(jax.grad(stock))(8.0)
    step = 1e-3
    expected = (stock(8.0 + step) - stock(8.0 - step)) / (2 * step)
    assert float(slope) == pytest.approx(float(expected), rel=1e-6)


@pytest.fixture
def untyped():
    """Without the checks of types that tests switch on: what a user meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


BATCH = jax.tree.map(lambda x: jnp.stack([x] * 12), idealised())


@pytest.mark.parametrize(
    ("cls", "option"),
    [
        *((cls, "bedrock") for cls in (CLM5, COMPAS, MIMICS)),
        *((cls, "averaging") for cls in (CLM5, COMPAS, MIMICS)),
        (COMPAS, "enzyme_turnover"),
    ],
)
def test_misspelt_options_do_not_run_as_another_model(untyped, cls, option):
    with pytest.raises(ValueError, match=f"unknown {option} 'opn', expected one of "):
        cls(idealised(), **{option: "opn"})


def test_misspelt_options_are_refused_by_the_physics(untyped):
    year = np.full(12, 3.5), np.full(12, 20.0)
    with pytest.raises(ValueError, match="unknown bedrock 'open', expected .* proda"):
        mixing(*year, 1e-4, 5e-4, CLM5_COLUMN, "open")
    with pytest.raises(ValueError, match="unknown averaging 'mean', expected one of"):
        environment(idealised(), 1.5, 1.0, 0.5, "mean")


def test_a_batch_is_refused_where_one_site_is_expected():
    many = np.full((3, 20, 12), 283.15)
    refused(r"temperature must be .* of one site, got .*\(3, 20, 12\)", many)
    refused(r"active_layer must be .*\(3, 12\)", active_layer=np.ones((3, 12)))


@pytest.mark.parametrize("cls", [CLM5, COMPAS, MIMICS])
def test_many_sites_without_vmap_are_not_taken_for_layers_or_months(untyped, cls):
    # Twelve of them would pass for months.
    with pytest.raises(ValueError, match="temperature by layer and month, got .*vmap"):
        cls(BATCH).surroundings(cls.parameters())
    partly = eqx.tree_at(lambda f: f.active_layer, idealised(), BATCH.active_layer)
    with pytest.raises(ValueError, match="active_layer by month, got .*12, 12.*vmap"):
        cls(partly).surroundings(cls.parameters())
    params = cls.parameters(bioturbation=np.full(12, 1e-4))
    with pytest.raises(ValueError, match="bioturbation a number, got .*vmap"):
        cls(idealised()).surroundings(params)
    column = SoilColumn(CLM5_COLUMN.interfaces[:12])
    params = cls.parameters(water_scaling=np.ones(12))
    with pytest.raises(ValueError, match="water_scaling a number, got .*12"):
        cls(idealised(column=column)).surroundings(params)
    one = jax.vmap(lambda f: cls(f).surroundings(cls.parameters()).exchange)(BATCH)
    assert one.above.shape == (12, 20)
