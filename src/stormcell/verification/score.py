"""The description of a score: its axes, its formula, and how the report shows it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stormcell.verification.totals import Totals, Values


@dataclass(frozen=True)
class Score:
    """A score, or a count that scores are based on.

    Attributes:
        title: Heading of tables.
        symbol: Short name in figures.
        axes: Names of its axes; the first is ``lead``.
        best: The best value: the highest, the lowest, or one; None for a count.
        compute: Function of a tally that returns the values along the axes.
        unit: Unit of the score; empty for a ratio.
        drawn: Keys along each axis but ``lead`` for which the report has a curve, if those are scored;
            no keys for all. None: the report has no curve.
        shown: Whether it is a column of the report's tables; if not, it is only in ``scores.json``.
        probabilistic: Whether the report shows it only if a forecaster gives probabilities or members.
        digits: Decimals in the report's tables.
    """

    title: str
    symbol: str
    axes: tuple[str, ...]
    best: Literal["highest", "lowest", "one"] | None
    compute: Callable[[Totals], Values]
    unit: str = ""
    drawn: tuple[tuple[str, ...], ...] | None = None
    shown: bool = True
    probabilistic: bool = False
    digits: int = 3

    def text(self, value: float) -> str:
        """Return a value as text."""
        return f"{value:.{self.digits}f}"

    @property
    def group(self) -> str:
        """Heading under which scores are shown together: those with only a lead time share a table."""
        if len(self.axes) > 1:
            return f"{self.title}, {self.unit}" if self.unit else self.title
        return f"Errors, {self.unit}" if self.unit else self.title

    def rank(self, value: float) -> float:
        """Return a number that is greater for a better value."""
        if self.best == "one":  # twice as much is as bad as half as much
            return -abs(math.log(value)) if value > 0 else -math.inf
        return value if self.best == "highest" else -value


def probabilistic(
    title: str,
    symbol: str,
    axes: tuple[str, ...],
    best: Literal["highest", "lowest", "one"] | None,
    compute: Callable[[Totals], Values],
    unit: str = "",
    drawn: tuple[tuple[str, ...], ...] | None = None,
    digits: int = 3,
) -> Score:
    """Return a score of probabilities or members; without a best value, tables do not show it."""
    shown = best is not None
    return Score(title, symbol, axes, best, compute, unit, drawn, shown, probabilistic=True, digits=digits)
