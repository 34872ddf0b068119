"""How long contenders may learn: minutes that they share, or updates that each has."""

import re
from dataclasses import dataclass
from typing import Self

from stormcell.errors import ArgumentError

_FORM = re.compile(r"(\d+(?:\.\d+)?)(m|u)")


@dataclass(frozen=True)
class Budget:
    """Minutes of training, or updates; one of the two is None.

    Example:
        >>> Budget.parse("2m").each(4)
        Budget(minutes=0.5, updates=None)
        >>> Budget.parse("500u").each(4)
        Budget(minutes=None, updates=500)
    """

    minutes: float | None
    updates: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"2m"`` or ``"500u"``.

        Raises:
            ArgumentError: It is neither, or nothing could be learned in it.
        """
        form = _FORM.fullmatch(text)
        whole = form is not None and (form[2] == "m" or form[1].isdigit())
        if form is None or not whole or float(form[1]) == 0:
            raise ArgumentError(
                f'--budget: expected minutes or updates above zero, "2m" or "500u", found "{text}"'
            )
        return cls(float(form[1]), None) if form[2] == "m" else cls(None, int(form[1]))

    def __str__(self) -> str:
        return f"{self.minutes:g}m" if self.minutes is not None else f"{self.updates}u"

    def each(self, contenders: int) -> Self:
        """What one of the contenders has: its share of the minutes, or all the updates."""
        return self.part(1 / contenders) if self.minutes is not None else self

    def part(self, share: float) -> Self:
        """A share of it, an update at least."""
        if self.minutes is not None:
            return type(self)(self.minutes * share, None)
        assert self.updates is not None
        return type(self)(None, max(1, round(self.updates * share)))

    def progress(self, updates: int, seconds: float) -> float:
        """How much of it is used up, 0 … 1.

        One in updates does not depend on the clock.
        """
        if self.updates is not None:
            return min(1.0, updates / self.updates)
        assert self.minutes is not None
        return min(1.0, seconds / (60 * self.minutes))
