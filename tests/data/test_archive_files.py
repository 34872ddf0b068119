"""The bytes of an archive's files."""

import numpy as np
import pyproj

from stormcell.data import archive_files, schema
from stormcell.data.archive_folder import ArchiveFolder
from stormcell.data.grid import Grid


def test_read_chunks_of_more_columns_than_times_per_chunk_returns_all(tmp_path):
    grid = Grid.from_centres(pyproj.CRS(4326), -130 + 0.01 * np.arange(7000), [50, 49.99])
    frames = schema.build(np.zeros((1, 2, 7000)), ["2020-01-01"], grid, measured={}, attributes={})
    metadata = archive_files.new_arrays(frames)["x"]
    folder = ArchiveFolder(tmp_path)
    folder.make("x")
    for name, content in archive_files.encode(metadata, grid.x).items():
        folder.write(f"x/{name}", content)
    np.testing.assert_array_equal(archive_files.read_chunks(folder, "x", metadata), grid.x)
