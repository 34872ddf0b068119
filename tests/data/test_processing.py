import pickle

import numpy as np
import pytest
from tests.data.test_cleaning import frames

from stormcell.data import schema
from stormcell.data.cleaning import Cleaning
from stormcell.data.processing import Processing
from stormcell.data.regrid import Target
from stormcell.errors import ArgumentError


def test_processing_by_default_removes_only_impossible_rates():
    before = frames([[9000.0, 1.0], [np.nan, 0.0]])
    after = Processing()(before)
    np.testing.assert_array_equal(after["rainfall_rate"].values[0], [[np.nan, 1], [np.nan, 0]])
    assert after["cleaned_pixels"].values.tolist() == [[1, 0, 0]]
    assert after.attrs == before.attrs


def test_processing_cleans_on_the_file_grid_before_it_regrids():
    # The mean of all four pixels would be 2252 mm/h, which is possible.
    before = frames(np.kron([[1.0, 2.0], [3.0, 9000.0]], np.eye(1)).repeat(2, 0).repeat(2, 1)[1:3, 1:3])
    step = Processing(grid=Target("EPSG:3067", 2000, (-500, 6_998_500, 3500, 7_000_500)))
    after = step(before)
    assert after["rainfall_rate"].values[0, 0, 0] == pytest.approx(2)
    assert after["cleaned_pixels"].values.tolist() == [[1, 0, 0]]
    assert {"highest_rate_kept", "regridding"} <= after["rainfall_rate"].attrs.keys()
    schema.check(after)


def test_processing_stated_attributes_replace_those_of_the_files():
    before = frames(np.zeros((2, 2))).assign_attrs(license="unknown", source="radar")
    after = Processing(attributes={"license": "CC-BY-4.0", "title": "caf\udce9"})(before)
    assert (after.attrs["license"], after.attrs["source"]) == ("CC-BY-4.0", "radar")
    assert after.attrs["title"] == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("name", ["", "mlcast_created_on", "coordinates", "Conventions"])
def test_processing_attribute_that_stormcell_writes_raises(name):
    with pytest.raises(ArgumentError, match="expected a name that Stormcell does not write"):
        Processing(attributes={name: "x"})


def test_processing_can_be_sent_to_other_processes():
    step = Processing(Cleaning(min_group=3), Target("EPSG:3067", 500), {"title": "a"})
    assert pickle.loads(pickle.dumps(step)) == step
