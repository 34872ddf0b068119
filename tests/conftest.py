import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster
from hypothesis import settings

from stormcell.data.dask_cluster import unchanged_environment
from stormcell.data.parallel import Workers, workers
from stormcell.models.model_file import Card, Nowcasting, TrainingData, Units
from stormcell.models.nowcaster import Nowcaster

ROOT = Path(__file__).resolve().parents[1]
if (_MNIST := ROOT.parent / "shared" / "data" / "mnist").is_dir():
    os.environ.setdefault("STORMCELL_MNIST", str(_MNIST))

# An example may take long because of what else the machine does.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def radar_data() -> Path:
    """The folder of real radar files: ``STORMCELL_DATA``, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("STORMCELL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real radar data is not at {folder}; set STORMCELL_DATA to where it is")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes of one thread each, and a scheduler with an address."""
    with (
        unchanged_environment(),  # other tests start processes, whose threads depend on it
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        ) as started,
    ):
        yield started


@pytest.fixture
def by_address(cluster: LocalCluster) -> Iterator[Workers]:
    """The two workers, reached by the address of their scheduler."""
    with workers(cluster.scheduler_address) as found:
        yield found


@pytest.fixture
def card_of() -> Callable[..., Card]:
    """A card for a nowcaster of kilometre pixels and five-minute steps; keywords change it."""

    def card(nowcaster: Nowcaster, **changes: object) -> Card:
        fields: dict = {
            "model": "Nowcaster",
            "title": "nowcaster",
            "units": Units(inputs="mm/h", outputs="mm/h"),
            "arguments": nowcaster.arguments,
            "inputs": 4,
            "steps": None,
            "nowcasting": Nowcasting(
                lead_minutes=60.0,
                archives=(
                    TrainingData(
                        time_step_seconds=300,
                        pixel_size=(1000.0, 1000.0),
                        pixel_unit="m",
                        blocks={
                            "train": ("2024-06-01T00:00:00", "2024-06-01T01:00:00"),
                            "validation": ("2024-06-01T02:00:00", "2024-06-01T02:30:00"),
                            "test": ("2024-06-01T03:00:00", "2024-06-01T04:00:00"),
                        },
                    ),
                ),
            ),
            "settings": {"seed": 0},
            "data_hash": "d" * 64,
            "data_source": {},
            "scores": {"crps": 0.5},
            "versions": {"stormcell": "0"},
        }
        return Card(**fields | changes)

    return card
