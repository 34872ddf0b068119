import shutil

import numpy as np
import pytest
from tests.serve.publications import COLUMNS, ISSUE, NAME, ROWS, STEP, observed_rain, publish_issue, show

from stormcell.errors import PublicationError
from stormcell.maps.levels import RATE
from stormcell.published.observed_frames import observed_frames
from stormcell.published.reading import Shelf

SECOND = "00000002"


def two_issues(published):
    first = publish_issue(published)
    show(published, first, publish_issue(published, ISSUE + STEP, SECOND, frames=1))
    return Shelf(published)


def test_observed_frames_of_several_publications_are_joined(tmp_path):
    shelf = two_issues(tmp_path)
    found = observed_frames(shelf, shelf.latest())
    assert [one.time for one in found] == [ISSUE + k * STEP for k in (-2, -1, 0, 1)]
    assert found[0].levels.shape == (ROWS, COLUMNS)
    np.testing.assert_array_equal(found[0].levels, RATE.encode(observed_rain(ISSUE)[0]))


def test_observed_frames_whose_publication_is_gone_are_left_out(tmp_path):
    shelf = two_issues(tmp_path)
    shutil.rmtree(tmp_path / NAME)
    assert [one.time for one in observed_frames(shelf, shelf.latest())] == [ISSUE + STEP]


def test_observed_frames_without_the_newest_publication_raises(tmp_path):
    shelf = two_issues(tmp_path)
    latest = shelf.latest()
    shutil.rmtree(tmp_path / latest.folder)
    with pytest.raises(PublicationError, match=SECOND):
        observed_frames(shelf, latest)
