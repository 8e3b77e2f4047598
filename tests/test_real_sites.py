"""All real sites of the published sets: every model closes there, or says why not."""

import numpy as np
import pytest

from jaxsoc.experiments.comparison import models_at_sites
from jaxsoc.io import load_climatology, load_profiles
from jaxsoc.io.cells import WITHIN
from jaxsoc.observe import screen
from jaxsoc.physics.site_forcing import Choices

SETS = ("sodah", "powell_radiocarbon", "isric_afsp", "raca", "ncscd_pedons")

pytestmark = [pytest.mark.slow, pytest.mark.optimised]


@pytest.mark.parametrize("name", SETS)
def test_carbon_closes_at_every_real_site(data, name):
    kept = screen(load_profiles(data / name / "layers.csv.gz").profiles).kept
    climate = load_climatology(data / "global_grids")
    kept = kept[climate.distance(kept.latitude, kept.longitude) <= WITHIN]
    assert len(kept) > 50
    sites = climate.at(
        kept.latitude, kept.longitude, mean_annual_temperature=kept.temperature
    )
    results = models_at_sites(sites, choices=Choices(texture=(45.0, 20.0)))
    assert set(results) == {"clm5", "compas", "mimics"}
    for model, one in results.items():
        found = np.asarray(one.found)
        error = np.asarray(one.summary.carbon_balance_error)
        assert np.max(np.abs(error[found])) <= 1e-12, model
        soil = np.asarray(one.summary.soil_organic_carbon)
        # Nothing between a state and none, of which the distance is said.
        assert np.isfinite(soil[found]).all() and np.isnan(soil[~found]).all()
        margin = np.asarray(one.margin)
        if model == "compas":
            assert ((margin > 0) == found).all()
