"""``python -m benchmarks.archives``: archive every folder of real radar files, each by one command.

For each folder, the command line runs in a process of its own. The table gives the format, what is in the
archive, the seconds of the whole command, and sizes. ``--docs`` writes it into docs/formats.md.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.layers import machine
from benchmarks.pages import fill
from stormcell.data import archive
from stormcell.data.readers import find
from stormcell.data.readers.source import Source
from stormcell.data.summary import WET, describe

PAGE = machine.ROOT / "docs" / "formats.md"
MARKERS = "archives of real radar files"
RATE = ("--quantity", "rate", "--units", "mm/h")


@dataclass(frozen=True)
class Job:
    """Files that one command archives.

    Attributes:
        files: A folder, or a pattern of files, below the folder of the data.
        options: Options that the files need, because their metadata lacks something.
    """

    files: str
    options: tuple[str, ...] = ()


JOBS = (
    Job("fmi_pgm_20160928"),
    Job("fmi_pgm_20170509"),
    Job("fmi_geotiff_20160928"),
    Job("knmi_h5_20100826"),
    Job("knmi_h5_20100826_later"),
    Job("mrms_preciprate_2min_20190610"),
    Job("mrms_gaugecorr_qpe01h_20160920"),
    Job("opera_odim20_rate_20180824"),
    Job("opera_odim24_dbzh_20241126", ("--zr", "200,1.6")),
    Job("dwd_radolan/radolan_rw"),
    Job("dwd_radolan/radolan_ry"),
    Job("dwd_radolan/radolan_yw"),
    Job("dwd_radolan_ry_20210823"),
    Job("meteonet_sample_201608/rainfall_NW_*.npz"),
    Job("meteonet_sample_201608/rainfall_SE_*.npz"),
    Job("meteonet_sample_201608/reflectivity_old_NW_*.npz", ("--zr", "200,1.6")),
    Job("meteonet_sample_201608/reflectivity_old_SE_*.npz", ("--zr", "200,1.6")),
    Job("openmrg_20150827", RATE),
    Job("openrainer_20220917"),
)


def main() -> int:
    """Archive all folders, and return the exit status: 2 without the data, 1 if a command failed, else 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.archives", description=__doc__)
    parser.add_argument("only", nargs="*", help="beginnings of the folders' names; default: all of them")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/formats.md")
    arguments = parser.parse_args()
    data = machine.data_folder()
    if not data.is_dir():
        print(f"{data}: no such folder; set STORMCELL_DATA to the folder of the data", file=sys.stderr)
        return 2
    if arguments.docs:
        fill(PAGE, MARKERS, None)
    where = machine.where("benchmarks.archives")
    print(where)
    jobs = [job for job in JOBS if not arguments.only or job.files.startswith(tuple(arguments.only))]
    rows, failed = [], 0
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(_row(job, data, Path(folder) / "rain.zarr"))
                print(rows[-1], flush=True)
            except subprocess.CalledProcessError as error:
                print(f"{job.files}: status {error.returncode}: {error.stderr.strip()}", file=sys.stderr)
                failed += 1
    if arguments.docs and not failed:
        fill(PAGE, MARKERS, f"{where}\n\n{_table(rows)}")
    return 1 if failed else 0


HEAD = (
    *("files", "format", "frames, step", "grid", "not observed", f"wet (≥ {WET} mm/h)", "highest, mm/h"),
    *("seconds", "MB/s", "bytes per pixel: file, archive"),
)


def _row(job: Job, data: Path, out: Path) -> tuple[str, ...]:
    files = sorted(data.glob(job.files))
    command = [
        str(Path(sys.executable).with_name("stormcell")),
        "archive",
        *map(str, files),
        "--out",
        str(out),
    ]
    began = time.perf_counter()
    subprocess.run([*command, *job.options], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    ds = archive.open(out)
    found = describe(ds)
    sources = [path for file in files for path in ([file] if file.is_file() else sorted(file.iterdir()))]
    size = sum(path.stat().st_size for path in sources)
    pixels = ds[archive.schema.RATE].size
    step = "–" if found.step is None else f"{found.step.astype('m8[m]').astype(int)} min"
    return (
        f"{job.files} {' '.join(job.options)}".strip(),
        find(Source(sources[0])).NAME,
        f"{found.frames}, {step}",
        f"{found.grid[0]}×{found.grid[1]}, {found.spacing}",
        f"{found.missing_fraction:.1%}",
        f"{found.wet_fraction:.1%}",
        f"{found.highest:.1f}",
        f"{seconds:.1f}",
        f"{size / seconds / 1e6:.1f}",
        f"{size / pixels:.3f}, {_size(out) / pixels:.3f}",
    )


def _size(folder: Path) -> int:
    """Return the bytes of a folder; hard links count once."""
    found = {(stat.st_ino, stat.st_size) for path in folder.rglob("*") if (stat := path.stat())}
    return sum(size for _, size in found)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
