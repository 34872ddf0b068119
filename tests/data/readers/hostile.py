"""Read hostile files, one after the other, under a limit of memory.

``python tests/data/readers/hostile.py FOLDER`` reads the only entry of every folder in FOLDER, and prints as
JSON what came of each: the message of the ``InputError``, or a line that begins with ``!``.
"""

import json
import resource
import sys
import warnings
from pathlib import Path

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar, readers
from stormcell.errors import InputError

MEMORY = 3 * 2**29  # bytes beyond those of the imported libraries; a compressed file may unpack to 2**30


def outcome(path: Path) -> str:
    """Return the message of the error that a file gives."""
    options = ReadOptions()
    try:
        open_radar(path, options).read(options, slice(0, 1))
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"! {type(error).__name__}: {error}"
    return "! was read"


def main() -> None:
    """Read the files."""
    warnings.simplefilter("ignore")
    readers()
    limit = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("_"))
        sys.stdout.write(json.dumps([folder.name, outcome(entries[0])]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
