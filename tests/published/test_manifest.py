from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError
from tests.published.contents import ISSUE, content

from stormcell.maps.levels import PROBABILITY, RATE
from stormcell.published.manifest import Latest, Manifest, ObservedFrame, Product, time_name
from stormcell.published.writing import publish


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"), content())


def test_manifest_round_trip_through_json_is_equal(manifest):
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_manifest_times_in_json_end_with_z(manifest):
    assert '"issue":"2026-11-28T03:25:00Z"' in manifest.model_dump_json()


def test_time_name_of_another_zone_is_utc():
    zone = timezone(timedelta(hours=2))
    assert time_name(datetime(2026, 11, 28, 5, 25, tzinfo=zone)) == "20261128T0325Z"


@pytest.mark.parametrize(("kind", "scale"), [("rate", RATE), ("probability", PROBABILITY)])
def test_manifest_encoding_gives_the_values_of_the_levels(manifest, kind, scale):
    """The formula of the contract, which other programs use, and the table that Stormcell uses."""
    e = manifest.encodings[kind]
    for n in range(1, e.levels + 1):
        share = (n - 1) / (e.levels - 1)
        value = (
            e.minimum * (e.maximum / e.minimum) ** share
            if e.scale == "log"
            else e.minimum + (e.maximum - e.minimum) * share
        )
        assert scale.decode(n) == pytest.approx(value, rel=1e-6)
    assert scale.decode(0) == e.below
    assert scale.decode(e.missing) != scale.decode(e.missing)  # NaN


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"run": "0123456G"},
        {"run": "../../ab"},
        {"issue": "2026-11-28T03:25:00"},  # without a zone
        {"surprise": 1},
        {"files": {"../secret": {"bytes": 1, "sha256": ""}}},
        {"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}},
        {"files": {"frames/../../x": {"bytes": 1, "sha256": ""}}},
    ],
)
def test_manifest_other_than_the_contract_is_refused(manifest, change):
    with pytest.raises(ValidationError):
        Manifest.model_validate({**manifest.model_dump(mode="json"), **change})


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "Rate", "a b", ".hidden", "x\n"])
def test_product_name_that_could_be_a_path_is_refused(name):
    with pytest.raises(ValidationError):
        Product(name=name, title="", kind="rate", times=())


def test_folder_is_the_same_in_all_parts(manifest):
    frame = ObservedFrame(time=ISSUE, issue=manifest.issue, run=manifest.run)
    latest = Latest(
        issue=manifest.issue,
        run=manifest.run,
        published=datetime(2026, 11, 28, 4, tzinfo=UTC),
        expected=ISSUE,
        step_seconds=300,
    )
    assert manifest.folder == latest.folder == frame.folder == content().folder
