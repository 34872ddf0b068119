"""Probabilities and members of a case: what of them is kept, and their maps beside the observed rain."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stormcell.verification.case_study import (
    PIXELS,
    Case,
    Rate,
    axes_at,
    close_up_leads,
    map_grid,
    wettest,
)
from stormcell.verification.figures import (
    INK,
    average,
    credit_height,
    draw_credit,
    line_colour,
    probability_map,
    probability_scale,
    rain_map,
    rain_scale,
)
from stormcell.verification.products import LeadProducts

MEMBERS = 3  # that a report shows


class CloseUp:
    """Probabilities and some members in the square with the most rain, taken lead time by lead time.

    Args:
        observation: Rain rates in mm/h ``(lead, y, x)``.
        thresholds: Thresholds of the probabilities in mm/h.
        pixel_km: Height and width of a pixel.
    """

    def __init__(
        self, observation: Rate, thresholds: tuple[float, ...], pixel_km: tuple[float, float]
    ) -> None:
        self._leads, self._area = close_up_leads(observation), wettest(observation, pixel_km)
        self._position = moderate(thresholds)
        self._threshold = thresholds[self._position]
        self._probabilities: dict[str, list[Rate]] = {}
        self._members: dict[str, list[Rate]] = {}

    def add(self, lead: int, given: Mapping[str, LeadProducts]) -> None:
        """Take what is needed of a lead time; lead times come in order."""
        if lead not in self._leads:
            return
        for name, products in given.items():
            probability = self._probability(products)
            if probability is not None:
                self._probabilities.setdefault(name, []).append(average(probability, PIXELS))
            if products.members is not None:
                some = [average(member[self._area], PIXELS) for member in products.members[:MEMBERS]]
                self._members.setdefault(name, []).append(np.stack(some))

    def added_to(self, case: Case) -> Case:
        """Return the case with probabilities and members."""
        return replace(
            case,
            threshold=self._threshold,
            probabilities={name: np.stack(fields) for name, fields in self._probabilities.items()},
            members={name: np.stack(fields, axis=1) for name, fields in self._members.items()},
        )

    def _probability(self, products: LeadProducts) -> NDArray[np.floating] | None:
        if products.probabilities is not None:
            return np.asarray(products.probabilities[self._position][self._area])
        if products.members is None:
            return None
        members = products.members[:, *self._area]
        share: NDArray[np.floating] = (members >= self._threshold).mean(axis=0)
        return np.asarray(np.where(np.isnan(members).any(axis=0), np.nan, share))


def moderate(thresholds: tuple[float, ...]) -> int:
    """Return the position of the threshold nearest to 1 mm/h.

    Example:
        >>> moderate((0.1, 0.5, 2.0, 5.0))
        1
    """
    return min(range(len(thresholds)), key=lambda k: abs(np.log(thresholds[k])))


def probability_figure(case: Case, titles: Mapping[str, str], *, credit: str | None = None) -> Figure:
    """Draw the observed rain, and the probabilities of every forecaster that gives them, by lead time."""
    names = list(case.probabilities)
    cells = [
        [
            (rain_map, case.close_up.observed[row]),
            *((probability_map, case.probabilities[name][row]) for name in names),
        ]
        for row in range(len(case.close_up.leads))
    ]
    rows = [case.label(lead) for lead in case.close_up.leads]
    headings = [("observed", INK), *((titles[name], _colour(case, name)) for name in names)]
    bottom = 0.27 + credit_height(credit, 9.2)
    figure, width = map_grid(case, cells, rows, headings, foot=bottom + 0.95, title=": probabilities")
    rain_scale(figure, axes_at(figure, 0.95, bottom, width * 0.5, 0.12))
    probability_scale(figure, axes_at(figure, 0.95, bottom + 0.45, width * 0.5, 0.12), case.threshold)
    draw_credit(figure, credit)
    return figure


def members_figure(case: Case, titles: Mapping[str, str], *, credit: str | None = None) -> Figure:
    """Draw observed rain, some members and the single forecast of every ensemble, at the last time shown."""
    last = len(case.close_up.leads) - 1
    cells, rows = [], []
    count = max(len(members) for members in case.members.values())
    for name, members in case.members.items():
        missing = [np.full_like(members[0, last], np.nan)] * (count - len(members))
        fields = [
            case.close_up.observed[last],
            *members[:, last],
            *missing,
            case.close_up.forecasts[name][last],
        ]
        cells.append([(rain_map, rate) for rate in fields])
        rows.append(titles[name])
    headings = [
        ("observed", INK),
        *((f"member {k + 1}", INK) for k in range(count)),
        ("single forecast", INK),
    ]
    bottom = 0.27 + credit_height(credit, 9.2)
    title = f": members for {case.lead(case.close_up.leads[last])}"
    figure, width = map_grid(case, cells, rows, headings, foot=bottom + 0.38, title=title)
    rain_scale(figure, axes_at(figure, 0.95, bottom, width * 0.5, 0.12))
    draw_credit(figure, credit)
    return figure


def _colour(case: Case, name: str) -> str:
    return line_colour(list(case.close_up.forecasts).index(name))
