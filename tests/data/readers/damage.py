"""Damaged copies of a radar file, read one after the other under a limit of memory and time.

``python tests/data/readers/damage.py SAMPLE --mutants 2000`` damages the sample in its place, and
prints a JSON line for every damaged copy. It must be refused with an ``InputError``, or give frames of the
schema. It is a program, because a C library may end the whole process, or never return: the line of a copy
is begun before the copy is read, so that the parent knows its number, and ``--first`` goes on behind it.
"""

import argparse
import json
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import open_radar
from stormcell.errors import InputError

CUTS = 20  # a file is cut off at this number of places
SECONDS = 20  # one file may take no longer
MEMORY = 2**30  # bytes that reading may take beyond those of the undamaged file
_EXTREMES = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")


def mutant(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy of a file's content; half of the damage is in its first 4096 bytes."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        near = len(changed) if rng.random() < 0.5 else min(len(changed), 4096)
        at, length = int(rng.integers(0, max(near, 1))), int(rng.integers(1, 17))
        kind = rng.integers(0, 6)
        if kind == 0:
            changed[at : at + 1] = bytes(
                byte ^ (1 << int(rng.integers(0, 8))) for byte in changed[at : at + 1]
            )
        elif kind == 1:
            changed[at : at + length] = rng.bytes(len(changed[at : at + length]))
        elif kind == 2:
            size = int(rng.choice([1, 2, 4]))
            extreme = _EXTREMES[int(rng.integers(0, len(_EXTREMES)))][:size]
            changed[at : at + size] = extreme[: len(changed[at : at + size])]
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at : at + 1] = bytes([rng.choice(list(b"0123456789+-.eE \n\0aZ"))])
    return bytes(changed)


def damaged(content: bytes, mutants: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents: the file cut off at 20 places, then mutants."""
    for cut in range(CUTS):
        yield f"cut {cut} of {CUTS}", content[: cut * len(content) // CUTS]
    for seed in range(mutants):
        yield f"mutant {seed}", mutant(content, np.random.default_rng(seed))


def attempt(path: Path, options: ReadOptions) -> str:
    """Read a file, and return "refused" or "read"; any other outcome raises."""
    try:
        file = open_radar(path, options)
        ds = file.read(options, slice(None))
    except InputError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or not text.isprintable():
            raise AssertionError(f"expected one printable line, found {text!r}") from None
        return "refused"
    if found := schema.problems(ds) + schema.value_problems(ds[schema.RATE].values):
        raise AssertionError("; ".join(found))
    return "read"


def main() -> int:
    """Read the damaged copies of a sample, and print what came of each of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--mutants", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first copy to be read")
    parser.add_argument("--options", default="{}", help="options for reading, as JSON")
    arguments = parser.parse_args()
    options = _options(arguments.options)
    warnings.simplefilter("ignore")  # a library may warn of damage
    signal.signal(signal.SIGALRM, _too_long)
    copy = arguments.sample
    if attempt(copy, options) != "read":
        raise AssertionError(f"{copy}: expected a sample that can be read")
    limit = _peak() + MEMORY
    # Private memory only: the libraries' code and mapped files do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    # Otherwise all would be refused, for want of memory.
    if attempt(copy, options) != "read":
        raise AssertionError(f"{copy}: expected a sample that can be read in {limit} bytes")
    # A folder is damaged in one of its files at a time.
    members = [copy] if copy.is_file() else sorted(path for path in copy.rglob("*") if path.is_file())
    number = 0
    for member in members:
        whole = member.read_bytes()
        for name, content in damaged(whole, -(-arguments.mutants // len(members))):
            if number >= arguments.first:
                member.write_bytes(content)
                _say({"number": number, "damage": f"{member.name}: {name}"})
                _say({"outcome": _outcome(copy, options), "peak_bytes": _peak(), "limit_bytes": limit})
            number += 1
        member.write_bytes(whole)
    return 0


def _outcome(copy: Path, options: ReadOptions) -> str:
    signal.alarm(SECONDS)
    try:
        return attempt(copy, options)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _peak() -> int:
    """Return the most memory that this process or a child of it has used, in bytes."""
    return 1024 * max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _options(text: str) -> ReadOptions:
    # JSON has lists in place of tuples.
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(text).items()}
    return ReadOptions(**values)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
