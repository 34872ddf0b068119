"""The messages and sections of a GRIB2 file, with all lengths checked.

The numbers of a section are read at the octets that WMO's Manual on Codes (No. 306, FM 92) gives. ecCodes
reads them too, but ends the process or runs forever for about 2 % of damaged headers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stormcell.errors import InputError

_START, _END = b"GRIB", b"7777"
_FIRST_SECTION = 16
_SECTION_HEAD = 5
# Identification, local use (optional), grid, product, packing, bitmap, data.
_ORDER = (1, 2, 3, 4, 5, 6, 7)
_SHORTEST = {1: 21, 3: 14, 4: 9, 5: 11, 6: 6, 7: 5}


class Section:
    """A section of a message, whose numbers are found by octets, counted from 1 as WMO does.

    Args:
        number: Number of the section, for messages.
        content: Its octets.

    Example:
        >>> section = Section(3, bytes([0, 5, 0x80, 0x02]))
        >>> section.unsigned(1, 2), section.signed(3, 2)
        (5, -2)
    """

    def __init__(self, number: int, content: memoryview | bytes) -> None:
        self.number = number
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def unsigned(self, octet: int, size: int = 1) -> int:
        """Return the unsigned number of ``size`` octets that begins at ``octet``.

        Raises:
            InputError: The section is shorter.
        """
        if octet - 1 + size > len(self.content):
            raise InputError(
                f"section {self.number}: expected octet {octet + size - 1}, found {len(self.content)} octets"
            )
        return int.from_bytes(self.content[octet - 1 : octet - 1 + size], "big")

    def signed(self, octet: int, size: int) -> int:
        """Return a number whose highest bit is its sign, as GRIB2 stores it.

        Raises:
            InputError: The section is shorter.
        """
        value, sign = self.unsigned(octet, size), 1 << (8 * size - 1)
        return sign - value if value & sign else value

    def missing(self, octet: int, size: int) -> bool:
        """Whether all bits of a number are set, which means that it is missing."""
        return self.unsigned(octet, size) == (1 << 8 * size) - 1


@dataclass(frozen=True)
class Message:
    """One field.

    Attributes:
        discipline: WMO's discipline: 0 meteorology, 209 MRMS.
        sections: Sections 1 and 3 to 7 by their number; the local section 2 is left out.
    """

    discipline: int
    sections: Mapping[int, Section]


def messages(contents: bytes) -> Iterator[Message]:
    """Yield the messages of a file. Text before and between them, such as a bulletin's heading, is skipped.

    Raises:
        InputError: The file has no message, one of edition 1, or a damaged one.
    """
    at = contents.find(_START)
    if at < 0:
        raise InputError("expected a message that begins with GRIB, found none")
    while at >= 0:
        if len(contents) < at + _FIRST_SECTION:
            raise InputError(f"expected {_FIRST_SECTION} octets of a message, found {len(contents) - at}")
        if contents[at + 7] != 2:
            raise InputError(f"expected GRIB edition 2, found edition {contents[at + 7]}")
        length = int.from_bytes(contents[at + 8 : at + 16], "big")
        end = at + length
        if end > len(contents) or contents[end - 4 : end] != _END:
            raise InputError(f"expected a message of {length} octets that ends with 7777, found another end")
        yield Message(contents[at + 6], _sections(memoryview(contents)[at : end - len(_END)]))
        at = contents.find(_START, end)


def _sections(message: memoryview) -> dict[int, Section]:
    found: dict[int, Section] = {}
    at, last = _FIRST_SECTION, 0
    while at < len(message):
        length = int.from_bytes(message[at : at + 4], "big")
        if len(message) - at < _SECTION_HEAD or not _SECTION_HEAD <= length <= len(message) - at:
            raise InputError(f"expected a section of at most {len(message) - at} octets, found {length}")
        number = message[at + 4]
        if number not in _ORDER:
            raise InputError(f"expected sections 1 to 7, found section {number}")
        if number <= last:
            raise InputError(f"expected one field in a message, found section {number} after {last}")
        found[number] = Section(number, message[at : at + length])
        at, last = at + length, number
    for number, shortest in _SHORTEST.items():
        if number not in found or len(found[number]) < shortest:
            length = len(found[number]) if number in found else 0
            raise InputError(f"section {number}: expected at least {shortest} octets, found {length}")
    return found
