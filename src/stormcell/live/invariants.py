"""Invariants: sentences that are true of a published folder at every moment, and their checks."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.errors import StormcellError
from stormcell.live.archiving import moment
from stormcell.maps.levels import MISSING
from stormcell.published.alerts import Alert
from stormcell.published.manifest import CELLS, OBSERVED, Latest, Manifest
from stormcell.published.reading import Shelf

MONOTONE = "issue times never go back"
ONCE = "nothing is published twice"
WHOLE = "every manifest has its files"
BLIND = "nothing is dry that was not observed"
ALL_CLEAR = "no all-clear is given while nothing is observed"
NOTHING_LOST = "every frame is in the archive, with the rates that came first"
INVARIANTS = (MONOTONE, ONCE, WHOLE, BLIND, ALL_CLEAR, NOTHING_LOST)


class Watch:
    """Looks at a published folder again and again, and remembers what is wrong.

    Args:
        out: The published folder.

    Attributes:
        found: By invariant, the first sentence on what breaks it.
        publications: Number of changes of ``latest.json``.
    """

    def __init__(self, out: Path) -> None:
        self.found: dict[str, str] = {}
        self.publications = 0
        self._out, self._shelf = out, Shelf(out)
        self._last: Latest | None = None
        self._named: set[str] = set()
        self._alarmed: set[str] = set()  # rules that are pending or raised, or were until they became unknown

    def look(self) -> None:
        """Check the folder as it is now."""
        try:
            latest = self._shelf.latest()
            if latest is None:
                return
            manifest = self._shelf.manifest(*latest.folder.split("-"))
            alerts = self._shelf.alerts()
        except StormcellError as error:
            self._break(WHOLE, str(error))
            return
        if self._last is not None and latest.issue < self._last.issue:
            self._break(MONOTONE, f"{latest.folder} follows {self._last.folder}")
        if self._last is None or latest.folder != self._last.folder:
            self.publications += 1
            if latest.folder in self._named:
                self._break(ONCE, f"{latest.folder} is published again")
            self._named.add(latest.folder)
            self._check_files(manifest)
        self._last = latest
        for alert in () if alerts is None else alerts.alerts:
            self._check_alert(alert, manifest)

    def check_blindness(self, rain: xr.DataArray) -> None:
        """Compare the observed frames of all publications with an archive's.

        Args:
            rain: Rain rates in mm/h ``(time, y, x)``.
        """
        for issue, run in self._shelf.publications():
            manifest = self._shelf.manifest(issue, run)
            if not (self._out / manifest.folder / CELLS).exists():
                continue  # dropped, because it is old
            cells = self._shelf.cells(manifest)
            product = next(one for one in manifest.products if one.name == OBSERVED)
            seen = True
            for layer, time in enumerate(product.times, start=product.first_layer or 0):
                missing = np.isnan(rain.sel(time=moment(time).astype("datetime64[ns]")).values)
                if not np.array_equal(cells[..., layer] == MISSING, missing):
                    self._break(BLIND, f"{manifest.folder}: the frame of {time} has other blind pixels")
                seen = not missing.all()
            forecast = [one.name for one in manifest.products if one.name != OBSERVED]
            if not seen and forecast:
                self._break(BLIND, f"{manifest.folder}: {forecast[0]} is forecast from a blind frame")

    def check_archive(self, kept: xr.DataArray, fed: xr.DataArray, blind: Iterable[datetime]) -> None:
        """Compare an archive with the frames that were fed.

        Args:
            kept: Rain rates of the archive in mm/h ``(time, y, x)``.
            fed: Rain rates that were fed.
            blind: Times of the frames that were fed without an observed pixel.
        """
        if not np.array_equal(kept["time"].values, fed["time"].values):
            lost = np.setxor1d(kept["time"].values, fed["time"].values)
            self._break(NOTHING_LOST, f"{len(lost)} frames differ, the first of {lost[0]}")
            return
        unseen = {moment(time) for time in blind}
        for frame, expected in zip(kept, fed, strict=True):
            time = frame["time"].values.astype("datetime64[s]")
            values = np.full_like(expected.values, np.nan) if time in unseen else expected.values
            if not np.allclose(frame.values, values, rtol=1e-5, atol=0, equal_nan=True):
                self._break(NOTHING_LOST, f"the frame of {time} has other rates")

    def _check_alert(self, alert: Alert, newest: Manifest) -> None:
        if alert.is_open or alert.state == "pending":
            self._alarmed.add(alert.rule)
        elif alert.state == "idle" and alert.rule in self._alarmed:
            self._alarmed.discard(alert.rule)
            if newest.observed_share == 0:
                self._break(ALL_CLEAR, f"{newest.folder}: the rule {alert.rule} is idle in a blind frame")

    def _check_files(self, manifest: Manifest) -> None:
        for name, file in manifest.files.items():
            path = self._out / manifest.folder / name
            if not path.is_file() or path.stat().st_size != file.bytes:
                self._break(WHOLE, f"{manifest.folder}: {name} is missing or has another size")

    def _break(self, invariant: str, sentence: str) -> None:
        self.found.setdefault(invariant, sentence)
