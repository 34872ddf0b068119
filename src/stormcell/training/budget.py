"""The budget of a training: minutes, updates, or both."""

import re
from dataclasses import dataclass
from typing import Self

from stormcell.errors import ArgumentError

_FORM = re.compile(r"(\d+(?:\.\d+)?)(m|u)")


@dataclass(frozen=True)
class Budget:
    """Minutes of training, updates, or both; with both, the training ends at the first limit it reaches.

    Attributes:
        minutes: Limit in minutes; None for no such limit.
        updates: Limit in updates; None for no such limit.

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
            ArgumentError: The text is neither, or the number is zero.
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
        """Return the budget of one contender: its share of the minutes, or all updates."""
        return self.part(1 / contenders) if self.minutes is not None else self

    def part(self, share: float) -> Self:
        """Return a share of the budget, at least one update."""
        if self.minutes is not None:
            return type(self)(self.minutes * share, None)
        assert self.updates is not None
        return type(self)(None, max(1, round(self.updates * share)))

    def progress(self, updates: int, seconds: float) -> float:
        """Return the spent share of the updates if they are limited, else of the minutes, 0 … 1.

        The learning rate follows it. With a limit in updates it does not depend on the clock.
        """
        if self.updates is not None:
            return min(1.0, updates / self.updates)
        assert self.minutes is not None
        return min(1.0, seconds / (60 * self.minutes))

    def spent(self, updates: int, seconds: float) -> bool:
        """Return whether a limit is reached."""
        out_of_time = self.minutes is not None and seconds >= 60 * self.minutes
        return out_of_time or self.progress(updates, seconds) >= 1
