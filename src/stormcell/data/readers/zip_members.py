"""A check of the members of a zip file, which may unpack to more than the file says."""

import copy
import zipfile
from pathlib import Path

from stormcell.data.readers.inflating import DEFLATE_RATIO
from stormcell.data.readers.remembered import remembered
from stormcell.errors import InputError

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HARMLESS = 2**26  # what unpacks to less needs no check
_PART = 2**20


def expect_known_methods(file: zipfile.ZipFile) -> None:
    """Check that the members are stored or deflated, because Python unpacks the others without a bound.

    Raises:
        InputError: A member is compressed in another way.
    """
    for member in file.infolist():
        if member.compress_type not in _METHODS:
            raise InputError(
                f"{member.filename[:80]}: expected a member that is stored or deflated, found method "
                f"{member.compress_type}"
            )


def expect_sound_members(path: Path) -> None:
    """Check that the members of a zip file unpack to the sizes that it says. The answer is remembered.

    Raises:
        InputError: A member unpacks to more, or is compressed in another way than deflate.
    """
    if problem := _problem_in(path):
        raise InputError(problem)


@remembered
def _problem_in(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as file:
            expect_known_methods(file)
            for member in file.infolist():
                if member.compress_size * DEFLATE_RATIO <= _HARMLESS or not member.compress_type:
                    continue
                # A member that may be longer than it says: of the true one, Python cuts the rest off.
                longer = copy.copy(member)
                longer.file_size += 1
                del longer.CRC
                found = 0
                with file.open(longer) as stream:
                    while part := stream.read(_PART):
                        found += len(part)
                if found > member.file_size:
                    return f"{member.filename[:80]}: expected {member.file_size} bytes, found more"
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError) as error:
        return f"expected a complete zip file: {error}"
    except InputError as error:
        return str(error)
    return None
