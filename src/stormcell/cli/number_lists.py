"""Numbers on the command line, separated by commas."""

from stormcell.errors import ArgumentError


def numbers(option: str, text: str | None, expected: str, low: float, high: float) -> list[float]:
    """Return the numbers of an option, separated by commas, in ascending order; none if it is not given.

    Raises:
        ArgumentError: One is not a number between ``low`` and ``high``.
    """
    if text is None:
        return []
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(low < number < high for number in found):
        raise ArgumentError(f'{option}: expected {expected}, separated by commas, found "{text}"')
    return sorted(set(found))
