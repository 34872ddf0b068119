"""Evaluations: the tallies of several forecasters at the same issue times."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.data.splits import Block
from stormcell.data.time_axis import Times
from stormcell.errors import ArgumentError
from stormcell.forecast.contract import DescribedForecaster, Forecaster
from stormcell.verification import intervals
from stormcell.verification.axes import Axes
from stormcell.verification.bootstrap import Resampling, Unit
from stormcell.verification.case_study import Case
from stormcell.verification.scores import to_dict
from stormcell.verification.tally import Tally

STRICT = "the observation and the forecasts of all compared forecasters are defined"
AS_DRY = "the observation is defined; an undefined forecast counts as dry"
OVERLAP = "overlap_with_training"


@dataclass(frozen=True)
class Description:
    """A forecaster's description of itself, as far as it has one.

    Attributes:
        title: Name for figures and tables.
        digest: SHA-256 of its model file; None for other forecasters.
        blocks: First and last time of the blocks train, validation and test, for each archive that it learned
            from; empty if it was not trained.
        seed: Seed of the members that it was asked for; None if it was not asked.
    """

    title: str
    digest: str | None = None
    blocks: tuple[Mapping[str, tuple[str, str]], ...] = ()
    seed: int | None = None

    @classmethod
    def of(cls, name: str, forecaster: Forecaster) -> "Description":
        """Return a forecaster's description; only its name if it does not describe itself."""
        if not isinstance(forecaster, DescribedForecaster):
            return cls(name)
        blocks = tuple(
            {block: (str(start), str(end)) for block, (start, end) in one.items()}
            for one in forecaster.blocks
        )
        return cls(forecaster.title, getattr(forecaster, "digest", None), blocks)


@dataclass(frozen=True)
class Evaluation:
    """Tallies of forecasters at the same issue times and under the same masks.

    Tallies have all lead times for which there is an observation. Scores count those within ``periods``, so
    that evaluations of two adjacent periods add up to the evaluation of both.

    Attributes:
        strict: By forecaster, the tally where the observation and all forecasts are defined.
        as_dry: By forecaster, the tally where the observation is defined, and undefined forecasts are dry.
        described: By forecaster, its description.
        periods: Periods to score, in time order; none for all times.
        case: The issue time that is followed by the most rain.
        data: Digest of the grid and the source of the data.
        credit: Source and license of the data.
        notes: Remarks for readers of the report.
    """

    strict: Mapping[str, Tally]
    as_dry: Mapping[str, Tally]
    described: Mapping[str, Description]
    case: Case
    periods: tuple[Block, ...] = ()
    data: str = ""
    credit: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def sum(cls, evaluations: "Sequence[Evaluation]") -> "Evaluation":
        """Add evaluations of the same forecasters at different issue times, at least one, in any order.

        Raises:
            ArgumentError: The forecasters or their settings differ, or an issue time is in two of them.
        """
        first = evaluations[0]
        for other in evaluations[1:]:
            if list(first.described.items()) != list(other.described.items()):
                expected, found = (", ".join(map(_named, one.described.items())) for one in (first, other))
                raise ArgumentError(f"evaluation: expected forecasters {expected}; found {found}")
            if (first.data, first.credit) != (other.data, other.credit):
                sources = [f"{one.credit} ({one.data})" for one in (first, other)]
                raise ArgumentError(
                    f"evaluation: expected one grid and source of data, found {' and '.join(sources)}"
                )
        notes = dict.fromkeys(note for one in evaluations for note in one.notes)
        return replace(
            first,
            strict={name: Tally.sum([one.strict[name] for one in evaluations]) for name in first.strict},
            as_dry={name: Tally.sum([one.as_dry[name] for one in evaluations]) for name in first.as_dry},
            case=max((one.case for one in evaluations), key=Case.rank),
            periods=_joined([one.periods for one in evaluations], first.axes),
            notes=tuple(notes),
        )

    def __add__(self, other: "Evaluation") -> "Evaluation":
        return Evaluation.sum([self, other])

    @property
    def axes(self) -> Axes:
        """The axes of the first forecaster; only members and distribution can differ among forecasters."""
        return next(iter(self.strict.values())).axes

    @property
    def issue_times(self) -> Times:
        """Issue times, ascending."""
        return next(iter(self.strict.values())).issue_times

    @property
    def valid_times(self) -> Times:
        """Valid times ``(issue, lead)``."""
        leads = [round(lead * 60e9) for lead in self.axes.lead_minutes]  # nanoseconds
        return np.asarray(self.issue_times[:, None] + np.array(leads, "timedelta64[ns]"))

    @property
    def titles(self) -> dict[str, str]:
        """Names for figures and tables, by forecaster, all different."""
        return labels({name: description.title for name, description in self.described.items()})

    def counted(self) -> NDArray[np.bool_]:
        """Return the lead times of every issue time that are scored, boolean ``(issue, lead)``."""
        valid = self.valid_times
        counted = np.full(valid.shape, not self.periods)
        for period in self.periods:
            counted |= period.contains(valid)
        return counted

    def overlaps(self) -> dict[str, str]:
        """Return a note for each forecaster whose training used times that are scored."""
        present = next(iter(self.as_dry.values())).rows["forecasts"] > 0
        times = self.valid_times[self.counted() & present]
        notes = {}
        for name, description in self.described.items():
            found = [
                f"{block} block {Block(*blocks[block])}"
                for blocks in description.blocks
                for block in ("train", "validation")
                if block in blocks and Block(*blocks[block]).contains(times).any()
            ]
            if found:
                notes[name] = (
                    f"The training of {name} used times that are scored here: "
                    f"{' and '.join(dict.fromkeys(found))}."
                )
        return notes

    def to_scores(
        self, *, reference: str | None = None, resampled: Unit = "block"
    ) -> dict[str, dict[str, Any]]:
        """Return the content of ``scores.json``: by forecaster, scores by lead time, None if undefined.

        ``undefined_as_dry`` has the same scores under the other mask; ``about`` has the masks, the period and
        the forecaster's title; ``intervals`` and ``against_reference`` are described in
        :func:`~stormcell.verification.intervals.with_intervals`.

        Args:
            reference: Name of the forecaster to compare the others with; None for no comparison.
            resampled: Unit that is drawn for the intervals; see
                :class:`~stormcell.verification.bootstrap.Resampling`.

        Raises:
            ArgumentError: The reference is not one of the forecasters.
        """
        if reference is not None and reference not in self.strict:
            raise ArgumentError(f"reference: expected one of {', '.join(self.strict)}, found {reference}")
        times = [str(np.datetime_as_string(time, unit="s")) for time in self.issue_times]
        about = {
            "mask": STRICT,
            "undefined_as_dry_mask": AS_DRY,
            "first_issue_time": times[0] if times else None,
            "last_issue_time": times[-1] if times else None,
            "n_issue_times": len(times),
            "pixel_km": self.axes.pixel_km,
            "fss_window_pixels": {f"{scale:g}km": window for scale, window in self.axes.windows},
            "area_pixels": {f"{size:g}km": width for size, width in self.axes.areas},
        }
        counted, overlaps, titles = self.counted(), self.overlaps(), self.titles
        strict = {name: tally.where(counted) for name, tally in self.strict.items()}
        resampling = Resampling.of(self.issue_times, self.axes, unit=resampled)
        limits = intervals.with_intervals(strict, resampling, reference)
        about["intervals"] = intervals.about(resampling)
        return {
            name: {
                **to_dict(tally),
                **limits[name],
                "undefined_as_dry": to_dict(self.as_dry[name].where(counted)),
                "about": about
                | {
                    "title": titles[name],
                    "members": tally.axes.members,
                    "seed": self.described[name].seed,
                }
                | ({OVERLAP: overlaps[name]} if name in overlaps else {})
                | ({"notes": list(self.notes)} if self.notes else {}),
            }
            for name, tally in strict.items()
        }


def labels(titles: Mapping[str, str]) -> dict[str, str]:
    """Return names of forecasters for figures and tables, all different.

    Args:
        titles: Titles of forecasters, by their names, which are paths for model files.

    Returns:
        The title; of several model files with one title, also their folder, which is their run. If these are
        not all different, the names themselves.

    Example:
        >>> labels({"runs/a/model.safetensors": "ConvLSTM", "sprog": "S-PROG"})
        {'runs/a/model.safetensors': 'ConvLSTM', 'sprog': 'S-PROG'}
        >>> list(labels({"a/model.safetensors": "ConvLSTM", "b/model.safetensors": "ConvLSTM"}).values())
        ['ConvLSTM a', 'ConvLSTM b']
    """
    shared = Counter(titles.values())
    found = {
        name: f"{title} {PurePath(name).parent.name}".rstrip() if shared[title] > 1 else title
        for name, title in titles.items()
    }
    return found if len(set(found.values())) == len(titles) else {name: name for name in titles}


def _joined(groups: Sequence[tuple[Block, ...]], axes: Axes) -> tuple[Block, ...]:
    """Return all periods in time order, with those joined that are no more than a time step apart."""
    if not all(groups):
        return ()
    step = np.timedelta64(round(axes.lead_minutes[0] * 60), "s")
    joined: list[Block] = []
    for block in sorted({block for group in groups for block in group}, key=lambda one: one.start):
        if joined and np.datetime64(block.start) <= np.datetime64(joined[-1].end) + step:
            joined[-1] = Block(joined[-1].start, max(joined[-1].end, block.end))
        else:
            joined.append(block)
    return tuple(joined)


def _named(item: tuple[str, Description]) -> str:
    name, description = item
    known = [description.digest[:8]] if description.digest else []
    known += [f"seed {description.seed}"] if description.seed is not None else []
    return f"{name} ({', '.join(known)})" if known else name
