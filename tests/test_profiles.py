"""Measured profiles: files of them, stocks, and how well they are predicted."""

import gzip

import jax
import numpy as np
import pytest
from profile_cases import profiles_of
from slow_cases import slow_but

from jaxsoc.io import load_profiles, profiles_dataset, save_dataset
from jaxsoc.observe import (
    Profiles,
    concatenate,
    misfits,
    predicted,
    screen,
    with_bulk_density,
)
from jaxsoc.observe.profiles import fields_by
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.pedotransfer import bulk_density
from jaxsoc.physics.profiles import layer_means, profile_at, stock

PLAIN = """\
# made up
profile_id,lat,lon,year,land_cover,depth_top_cm,depth_bottom_cm,soc_g_kg,\
bulk_density_g_cm3,bd_measured,coarse_frac_pct,d14c_permil,grid_mat_c
a,64.8,-147.7,2001,forest #2,10,30,20,1.2,1,10,-20,-2.5
a,64.8,-147.7,2001,forest #2,0,10,40,1.0,1,,50,-2.5
a,64.8,-147.7,2001,forest #2,30,60,10,1.4,0,,,-2.5
b,-3.1,-60.0,,,0,20,15,,,,,
b,-3.1,-60.0,,,20,50,5,1.3,1,,,
"""
WOSIS = """\
profile_id\tlongitude\tlatitude\tupper_depth\tlower_depth\torgc_value_avg\t\
bdfi33_value_avg\tbdfiod_value_avg\torgc_date
a\t-147.7\t64.8\t0\t10\t40\t1.0\t\t2001-05-03
a\t-147.7\t64.8\t10\t30\t20\t\t1.2\t2001-05-03
a\t-147.7\t64.8\t30\t60\t10\t1.4\t\t2001-05-03
a\t-147.7\t64.8\t60\t90\t\t1.4\t\t2001-05-03
b\t-60.0\t-3.1\t0\t20\t15\t\t\t
b\t-60.0\t-3.1\t20\t50\t5\t1.3\t\t
"""
ISRAD = """\
entry_name,site_name,pro_name,pro_lat,pro_long,lyr_obs_date_y,lyr_top,lyr_bot,\
lyr_c_org,lyr_bd_samp,lyr_soc,lyr_14c
e,s,a,64.8,-147.7,2001,0,10,4,1.0,,50
e,s,a,64.8,-147.7,2001,10,30,2,1.2,,-20
e,s,a,64.8,-147.7,2001,30,60,,,0.42,
e,s,b,-3.1,-60,,0,20,1.5,,,
e,s,b,-3.1,-60,,20,50,0.5,1.3,,
"""


@pytest.fixture
def write(tmp_path):
    def to(text, name="soil.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to


def same(one, other, but=()):
    for name in {*fields_by("layer"), *fields_by("profile")} - set(but):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert one.covariates.keys() == other.covariates.keys()
    for name, values in one.covariates.items():
        np.testing.assert_array_equal(values, other.covariates[name])


# Files


def test_a_file_of_our_own(write):
    found, refused = load_profiles(write(PLAIN))
    assert not refused
    assert found.name.tolist() == ["a", "b"]
    assert found.profile.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(found.bottom, [0.1, 0.3, 0.6, 0.2, 0.5])
    np.testing.assert_allclose(found.density, [40e3, 24e3, 14e3, np.nan, 6.5e3])
    assert found.bulk_density_from.tolist() == ["measured"] * 2 + [
        "filled",
        "",
        "measured",
    ]
    np.testing.assert_allclose(found.coarse_fragments[1], 0.1)
    assert found.land_cover[0] == "forest #2"
    assert found.source.tolist() == ["soil", "soil"]
    assert (found.year[0], found.latitude[1]) == (2001, -3.1)
    np.testing.assert_array_equal(found.covariates["grid_mat_c"], [-2.5, np.nan])


def test_other_kinds_of_files_hold_the_same_soil(write):
    plain = load_profiles(write(PLAIN)).profiles
    wosis = load_profiles(write(WOSIS, "soil.tsv")).profiles
    israd = load_profiles(write(ISRAD)).profiles
    for other in (wosis, israd):
        for name in ("top", "bottom", "density", "latitude", "longitude", "year"):
            np.testing.assert_allclose(getattr(other, name), getattr(plain, name))
    np.testing.assert_array_equal(israd.radiocarbon, plain.radiocarbon)
    assert israd.name.tolist() == ["e/s/a", "e/s/b"]


def test_positions_from_another_file(write):
    whole = load_profiles(write(WOSIS, "soil.tsv"), source="wosis").profiles
    rows = [line.split("\t") for line in WOSIS.splitlines()]
    layers = "\n".join("\t".join(r[:1] + r[3:]) for r in rows)
    places = "\n".join("\t".join(r[:3]) for r in (rows[0], rows[1], rows[5]))
    layers, places = write(layers, "layers.tsv"), write(places, "profiles.tsv")
    same(load_profiles(layers, positions=places, source="wosis").profiles, whole)
    twice = write(places.read_text() + "\n" + "\t".join(rows[1][:3]), "twice.tsv")
    with pytest.raises(ValueError, match="profile_id is 'a' in row 3, which is there"):
        load_profiles(layers, positions=twice)


def test_netcdf_holds_everything(write, tmp_path):
    found = load_profiles(write(PLAIN)).profiles
    path = save_dataset(profiles_dataset(found), tmp_path / "soil.nc")
    same(load_profiles(path).profiles, found)
    other = profiles_dataset(found)
    other.density.attrs["units"] = "kg m-3"
    with pytest.raises(ValueError, match="density is in 'kg m-3', expected 'gC m-3'"):
        load_profiles(save_dataset(other, tmp_path / "other.nc"))


def test_the_order_of_columns_and_rows_does_not_matter(write):
    lines = [line.split(",") for line in PLAIN.splitlines()[1:]]
    mixed = [",".join(reversed(line)) for line in (lines[0], *lines[3::-1][:3])]
    mixed += [",".join(reversed(line)) for line in lines[4:]]
    found = load_profiles(write("\n".join(mixed))).profiles
    same(found, load_profiles(write(PLAIN)).profiles)


def test_packed_and_whole_files_are_the_same(write, tmp_path):
    (tmp_path / "soil.csv.gz").write_bytes(gzip.compress(PLAIN.encode()))
    packed = load_profiles(tmp_path / "soil.csv.gz").profiles
    same(packed, load_profiles(write(PLAIN)).profiles)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("60,10,", "60,much,", "soc_g_kg is 'much' in row 3; expected a number"),
        ("60,10,", "60,-10,", r"soc_g_kg is -10 in row 3; expected carbon content fro"),
        ("60,10,1.4", "60,10,1400", "bulk_density_g_cm3 is 1400 in row 3; expected bu"),
        ("b,-3.1,-60.0,,,20", "b,95,-60.0,,,20", "lat is 95 in row 5; expected latit"),
        ("b,-3.1,-60.0,,,20", "b,-13.1,-60.0,,,20", "lat is -13.1 in row 5; expected"),
        (
            "0,20,15",
            "0,25,15",
            "row 5; expected no overlap with a layer above, to 25 c",
        ),
        (
            "0,20,15",
            "20,20,15",
            "depth_bottom_cm is 20 in row 4; expected more than th",
        ),
        ("0,20,15", "0,,15", "depth_bottom_cm is nan in row 4; expected a depth"),
        ("0,20,15", "-5,20,15", "depth_top_cm is -5 in row 4; expected depths from th"),
        (
            "soc_g_kg",
            "soc_gkg",
            r"no column soc_g_kg or soc_density_g_m3: .* mean 'soc_gkg'",
        ),
        ("depth_top_cm", "top_m", "soil.csv has no column depth_top_cm"),
        ("lat,", "lon,", "soil.csv has two columns 'lon'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write, old, new, words):
    assert old in PLAIN
    with pytest.raises(ValueError, match=words) as refused:
        load_profiles(write(PLAIN.replace(old, new)))
    assert str(refused.value).startswith("soil.csv")


@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("soc_g_kg", 1e-3, r"soc_g_kg is at most 0.04 in all 5 rows.*is it kg/kg\?"),
        ("depth", 0.01, r"depth_bottom_cm is at most 0.6 in all 5.*are they in m\?"),
    ],
)
def test_a_file_in_other_units_is_refused(write, column, factor, words):
    first, head, *lines = PLAIN.splitlines()
    changed = [n for n, name in enumerate(head.split(",")) if name.startswith(column)]
    rows = [line.split(",") for line in lines]
    for row in rows:
        for n in changed:
            row[n] = str(factor * float(row[n]))
    text = "\n".join([first, head, *map(",".join, rows)])
    for skip_bad in (False, True):
        with pytest.raises(ValueError, match=words):
            load_profiles(write(text), skip_bad=skip_bad)
    if column == "soc_g_kg":
        found = load_profiles(write(text), content_unit="kg/kg").profiles
        np.testing.assert_allclose(found.content, [40, 20, 10, 15, 5])


def test_percent_is_suspected_of_many_layers(write):
    rows = [f"p{i},1,1,0,20,{4 * np.exp(-i / 20)}" for i in range(40)]
    head = "profile_id,lat,lon,depth_top_cm,depth_bottom_cm,soc_g_kg"
    with pytest.raises(ValueError, match=r"at most 4 in all 40 rows.*is it %\?"):
        load_profiles(write("\n".join([head, *rows])))
    found = load_profiles(write("\n".join([head, *rows])), content_unit="%").profiles
    assert found.content.max() == pytest.approx(40)


def test_density_that_does_not_fit_is_refused(write):
    text = PLAIN.replace("d14c_permil", "soc_density_g_m3").replace(",50,", ",4,")
    text = text.replace(",-20,", ",2.4,")
    with pytest.raises(ValueError, match=r"at most 4 in all 2 rows.*is it kg/m3\?"):
        load_profiles(write(text))
    text = text.replace(",4,-2.5", ",4000,-2.5").replace(",2.4,-2.5", ",2400,-2.5")
    with pytest.raises(ValueError, match="is 0.1 times content x bulk density x 1000"):
        load_profiles(write(text))


def test_bad_rows_are_listed_and_their_profiles_left_out(write):
    text = PLAIN.replace("0,20,15", "0,25,15") + "c,95,0,,,0,60,much,,,,,\n"
    found, refused = load_profiles(write(text), skip_bad=True)
    same(found, load_profiles(write(PLAIN)).profiles[[0]])
    assert [(one.file, one.row, one.column) for one in refused] == [
        ("soil.csv", 5, "depth_top_cm"),
        ("soil.csv", 6, "soc_g_kg"),
    ]
    with pytest.raises(ValueError) as first:
        load_profiles(write(text))
    assert str(first.value) == refused[0].sentence
    with pytest.raises(ValueError, match="has no profile left"):
        load_profiles(write(text.replace("64.8", "95")), skip_bad=True)


@pytest.mark.parametrize("text", ["", "# nothing\n", "profile_id,lat,lon\n"])
def test_files_without_profiles_are_refused(write, text):
    with pytest.raises(ValueError, match=r"soil\.csv"):
        load_profiles(write(text))


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_as_few(write):
    n = 20_000
    lines = [
        f"p{i},{i % 60},{i % 170},2001,forest,{z},{z + 20},{40 - 0.3 * z},1.{z},1,,,9"
        for i in range(n)
        for z in (0, 20, 40, 60, 80)
    ]
    path = write("\n".join([PLAIN.splitlines()[1], *lines]))
    found = load_profiles(path).profiles
    assert (len(found), found.top.size) == (n, 5 * n)


# One table of many


def test_parts_put_together_are_the_whole(write, rng):
    whole = load_profiles(write(PLAIN)).profiles
    same(concatenate(whole), whole)
    same(concatenate([whole[1:], whole[:1]])[[1, 0]], whole)
    many = profiles_of([rng.uniform(size=n) for n in (3, 1, 4, 2)])
    chosen = many[np.array([False, True, False, True])]
    assert chosen.name.tolist() == ["p1", "p3"]
    np.testing.assert_array_equal(chosen.density, many.density[[3, 8, 9]])
    same(many["p2"], many[2])
    twice = many[[2, 2]]
    assert twice.profile.tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="no profile 'x': there are p0, p1, p2"):
        many["x"]


def test_covariates_that_a_set_lacks_are_missing():
    one = profiles_of([[1.0]], covariates={"elevation_m": [100.0]})
    both = concatenate([one, profiles_of([[1.0]])])
    np.testing.assert_array_equal(both.covariates["elevation_m"], [100.0, np.nan])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ["a", "b"]}, r"must have one value per profile, \(2,\), got \(1,\)"),
        ({"top": [0.0]}, r"top must have one value per layer, \(2,\), got \(1,\)"),
        ({"profile": [0, 1]}, r"counted from 0 to 0, got \[0, 1\]"),
        ({"bottom": [0.2, 0.1]}, "thickness of a layer must lie in"),
        ({"density": [1.0, -1.0]}, r"density of carbon must lie in \[0, inf\), got -1"),
    ],
)
def test_profiles_that_make_no_sense_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        profiles_of([[2.0, 1.0]], **given)


def test_stocks_add_up_and_end_with_the_profile():
    many = profiles_of(
        [[3e4, 2e4, 1e4], [3e4, np.nan, 1e4], [3e4, 2e4, 1e4]],
        top=[0.0, 0.2, 0.4, 0.0, 0.2, 0.4, 0.0, 0.205, 0.5],
    )
    found = many.stocks([0.1, 0.2, 0.3, 0.6, 0.7])
    np.testing.assert_allclose(found[0], [3e3, 6e3, 8e3, 12e3, np.nan])
    np.testing.assert_allclose(found[1], [3e3, 6e3] + [np.nan] * 3)
    # Half a centimetre may be missing, ten not.
    np.testing.assert_allclose(found[2], [3e3, 6e3, 7.9e3, np.nan, np.nan])
    np.testing.assert_allclose(many.stocks(0.6, gap=0.2)[2], [10.9e3])
    with pytest.raises(ValueError, match="depths from the surface down must lie in"):
        many.stocks([0.3, 0.0])


def test_bulk_density_is_filled_where_it_is_asked_for(write):
    found = load_profiles(write(PLAIN)).profiles
    filled = with_bulk_density(found)
    expected = float(bulk_density(15.0))
    assert filled.bulk_density[3] == pytest.approx(expected)
    assert filled.density[3] == pytest.approx(15e3 * expected)
    assert filled.bulk_density_from[3] == "pedotransfer"
    np.testing.assert_array_equal(filled.density[:3], found.density[:3])
    count = lambda which: (
        with_bulk_density(found, which=which).bulk_density_from == "pedotransfer"
    ).sum()
    assert [count(x) for x in ("missing", "unmeasured", "all")] == [1, 2, 5]
    every = with_bulk_density(found, which="all", coarse_fragments=True)
    whole = with_bulk_density(found, which="all")
    np.testing.assert_allclose(every.density / whole.density, [1, 0.9, 1, 1, 1])


# Predictions


def test_means_over_layers_hold_the_same_carbon(rng):
    values = rng.uniform(1e3, 1e5, CLM5_COLUMN.layers)
    ends = np.array([0.0, 0.05, 0.3, 0.31, 1.0, 3.0])
    means = np.asarray(layer_means(values, CLM5_COLUMN, ends[:-1], ends[1:]))
    held = np.cumsum(means * np.diff(ends))
    np.testing.assert_allclose(held, stock(values, CLM5_COLUMN, ends[1:]), rtol=1e-13)
    slopes = jax.jacrev(lambda v: layer_means(v, CLM5_COLUMN, ends[:-1], ends[1:]))
    np.testing.assert_allclose(slopes(values) @ values, means, rtol=1e-13)
    deep = layer_means(values, CLM5_COLUMN, [8.0, 9.0], [9.0, 10.0])
    np.testing.assert_allclose(deep, [values[-1], np.nan])


@pytest.mark.parametrize("method", slow_but(["mean"], ["mean", "pchip", "linear"]))
def test_many_profiles_are_predicted_as_each_alone(rng, method):
    many = profiles_of([np.ones(n) for n in (3, 1, 5)])
    values = rng.uniform(1e3, 1e5, (3, CLM5_COLUMN.layers))
    found = predicted(many, values, CLM5_COLUMN, method)
    alone = predicted(many[[2]], values[2:], CLM5_COLUMN, method)
    np.testing.assert_allclose(found[4:], alone, rtol=1e-13)
    level = predicted(many, np.full_like(values, 7.0), CLM5_COLUMN, method)
    np.testing.assert_allclose(level, 7.0, rtol=1e-13)
    if method != "mean":
        middle = 0.5 * (many.top + many.bottom)[:3]
        expected = profile_at(values[0], CLM5_COLUMN, middle, method)
        np.testing.assert_allclose(found[:3], expected, rtol=1e-13)


def test_predictions_of_another_shape_are_refused():
    many = profiles_of([[1.0]])
    with pytest.raises(
        ValueError, match="of 1 profiles and 20 layers, got an array of"
    ):
        predicted(many, np.ones((20, 1)), CLM5_COLUMN)
    with pytest.raises(ValueError, match="unknown method 'cubic'"):
        predicted(many, np.ones((1, 20)), CLM5_COLUMN, "cubic")


def test_misfits_are_those_of_their_definitions(rng):
    many = profiles_of([rng.uniform(1, 9, n) for n in (4, 3, 5, 1)])
    o, index = many.density, many.profile
    perfect = misfits(o, o, index, 4)
    np.testing.assert_allclose(perfect.nse, [1, 1, 1, np.nan])
    np.testing.assert_allclose(perfect.log_nse, [1, 1, 1, np.nan])
    means = np.array([one.density.mean() for one in many])
    at_mean = misfits(o, means[index], index, 4)
    np.testing.assert_allclose(at_mean.nse[:3], 0, atol=1e-13)
    m = rng.uniform(1, 9, o.size)
    found = misfits(o, m, index, 4)
    for i in range(3):
        x, y = o[index == i], m[index == i]
        alone = misfits(x, y)
        for name in found._fields:
            value = getattr(alone, name)[0]
            assert getattr(found, name)[i] == pytest.approx(value, rel=1e-12)
        nse = 1 - ((y - x) ** 2).sum() / ((x - x.mean()) ** 2).sum()
        assert found.nse[i] == pytest.approx(nse)
        assert found.log_rmse[i] == pytest.approx(np.sqrt(np.mean(np.log(y / x) ** 2)))
    assert found.layers.tolist() == [4, 3, 5, 1]
    np.testing.assert_allclose(misfits(o, 2 * o).log_rmse, np.log(2))


def test_layers_that_are_not_known_do_not_count(rng):
    o, m = rng.uniform(1, 9, 5), rng.uniform(1, 9, 5)
    missing = np.array([*o, 0.0, np.nan, 3.0]), np.array([*m, 1.0, 1.0, np.nan])
    for one, other in zip(misfits(*missing), misfits(o, m), strict=True):
        np.testing.assert_allclose(one, other)
    below_zero = misfits(o, np.append(m[1:], -1.0))
    assert np.isnan(below_zero.log_nse[0])
    assert np.isfinite(below_zero.nse[0])
    assert np.isnan(misfits(np.ones(3), np.ones(3)).nse[0])
    assert np.isnan(misfits(o, np.full(5, np.nan)).rmse[0])


# Real profiles

SODAH = ("sodah", 657, 386, 244, 657)
REAL = (
    SODAH,
    ("powell_radiocarbon", 205, 188, 123, 205),
    ("isric_afsp", 6442, 937, 697, 6442),
    ("raca", 3512, 3512, 3512, 3512),
    ("ncscd_pedons", 337, 337, 337, 337),
)


@pytest.mark.parametrize(
    ("name", "all_", "eligible", "deep", "filled"),
    slow_but([SODAH], REAL),
)
def test_profiles_of_the_five_sets(data, name, all_, eligible, deep, filled):
    found, refused = load_profiles(data / name / "layers.csv.gz")
    assert not refused
    kept = screen(found).kept
    assert (len(found), len(kept)) == (all_, eligible)
    assert (kept.deepest >= 1).sum() == deep
    assert len(screen(with_bulk_density(found)).kept) == filled
    assert isinstance(kept, Profiles)
    stocks = kept.stocks([0.3, 1.0])
    assert (stocks[:, 1] >= stocks[:, 0])[~np.isnan(stocks[:, 1])].all()
    if name == "raca":
        whole = np.bincount(kept.profile, kept.density * kept.thickness)
        np.testing.assert_allclose(stocks[:, 1], whole, rtol=1e-12)
