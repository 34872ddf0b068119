"""The contents of a publication: the observed frames, the forecast, and its products by name."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import archive
from stormcell.data.time_axis import recent_step
from stormcell.errors import FramesError
from stormcell.forecast import export
from stormcell.forecast.contract import Analysis, DescribedForecaster, make_forecast, steps_from
from stormcell.forecast.observed import is_observed
from stormcell.forecast.probabilistic import ProductForecaster, make_products
from stormcell.forecast.resolve import forecaster, latest_run
from stormcell.live.archiving import moment
from stormcell.live.making import SHOWN, Forecast, Wanted
from stormcell.live.plausibility import expect_plausible
from stormcell.published.manifest import EXTRAPOLATION, OBSERVED, RATE, Product
from stormcell.published.reading import Shelf
from stormcell.published.writing import Content

_USUALLY = 0.05  # share of frames
_DAY = np.timedelta64(1, "D")
# Of products, by their first dimension; all of them would make forecast.nc four times as large.
_DECIMALS = {"threshold": 2, "quantile": 3}

Fields = list[tuple[Product, xr.DataArray]]


def content(order: Forecast, rain: xr.DataArray, digest: str) -> Content:
    """Make all that is published.

    Args:
        order: What is to be published.
        rain: Rain rates of the archive in mm/h ``(time, y, x)``.
        digest: Digest of the frames; see :func:`~stormcell.live.archiving.frames_digest`.

    Raises:
        FramesError: The frames do not meet the forecaster's needs, or its forecast cannot be rain.
    """
    issue = moment(order.issue).astype("datetime64[ns]")
    known = rain.sel(time=slice(None, issue))
    if known.sizes["time"] < 2:
        raise FramesError("frames: expected at least 2, from which the time step follows, found 1")
    step = recent_step(known["time"].values)
    attributes = {name: str(value) for name, value in rain.attrs.items() if name in ("source", "license")}
    observed = known.sel(time=_times_to_show(order, known)).load()
    title, products, written = order.name, list[tuple[Product, xr.DataArray]](), list[xr.DataArray]()
    if order.by != "observation":
        chosen = _forecaster(order.by)
        title, written = chosen.title, _forecast(chosen, order, known, step, digest)
        products = _products(written, in_file=not order.preliminary)
    return Content(
        issue=order.issue,
        run=order.run(digest),
        created=order.now,
        model=order.name,
        model_title=title,
        preliminary=order.preliminary,
        degraded=order.degraded,
        step_seconds=int(step / np.timedelta64(1, "s")),
        observed=observed,
        products=products,
        often_observed=_often_observed(order.archive, known["time"].values),
        attributes=attributes,
        # The better forecast, which follows in seconds, has the files; without them, the map is there sooner.
        write_forecast=partial(_write, written, order.wanted.layouts)
        if written and not order.preliminary
        else None,
    )


@lru_cache(maxsize=4)
def _forecaster(by: str) -> DescribedForecaster:
    return forecaster(by)


def _forecast(
    chosen: DescribedForecaster, order: Forecast, known: xr.DataArray, step: np.timedelta64, digest: str
) -> list[xr.DataArray]:
    """Return the forecast, then further products, as variables of ``forecast.nc``."""
    newest = known[-1].load()
    if not is_observed(newest):
        raise FramesError("frames: expected an observed pixel in the newest frame, found none")
    if order.by == "persistence":
        known = _twice(newest, step)
    frames = latest_run(known, chosen, known["time"].values[-1])
    analysis = _analysis(frames, digest, keep=order.preliminary)
    steps = order.wanted.steps or steps_from(chosen, analysis)
    if order.by == EXTRAPOLATION:
        made = [_extrapolated(analysis, steps)]
    else:
        made = _made(chosen, analysis, steps, order.wanted)
    expect_plausible(made[0], newest)
    if order.by not in (EXTRAPOLATION, "persistence"):
        made.append(_extrapolated(analysis, steps).rename("rainfall_rate_extrapolation"))
    if order.degraded is not None:
        made[0].attrs["stormcell_degraded"] = _sentence(order)
    return made


_kept: dict[tuple[str, bytes], Analysis] = {}


def _analysis(frames: xr.DataArray, digest: str, *, keep: bool) -> Analysis:
    """Return the analysis of frames: that of the preliminary forecast, if they are the same.

    Args:
        frames: The frames.
        digest: Digest of the frames.
        keep: Whether the analysis is kept for the forecast that follows.
    """
    key = digest, frames["time"].values.tobytes()
    found = _kept.get(key) or Analysis(frames)
    _kept.clear()
    if keep:
        _kept[key] = found
    return found


def _extrapolated(analysis: Analysis, steps: int) -> xr.DataArray:
    made: xr.DataArray = analysis.once(
        (EXTRAPOLATION, steps), lambda: make_forecast(forecaster(EXTRAPOLATION), analysis, steps)
    )
    return made


def _made(chosen: DescribedForecaster, analysis: Analysis, steps: int, wanted: Wanted) -> list[xr.DataArray]:
    if not isinstance(chosen, ProductForecaster):
        return [make_forecast(chosen, analysis, steps)]
    made = make_products(
        chosen,
        analysis,
        steps,
        members=wanted.members,
        seed=wanted.seed,
        thresholds=wanted.probabilities,
        levels=wanted.quantiles,
    )
    for array in made:
        decimals = _DECIMALS.get(str(array.dims[0]))
        if decimals is not None:
            np.round(array.values, decimals, out=array.values)
    return made


def _twice(newest: xr.DataArray, step: np.timedelta64) -> xr.DataArray:
    """Return a frame and its copy one step before: persistence needs the step, not the frame before."""
    time = newest["time"].values
    return xr.concat([newest.assign_coords(time=time - step), newest], dim="time", coords="minimal")


def _sentence(order: Forecast) -> str:
    assert order.degraded is not None
    return f"{order.degraded.used} instead of {order.degraded.instead_of}: {order.degraded.reason}"


def _products(written: list[xr.DataArray], *, in_file: bool) -> Fields:
    """Return the products that pictures show, each ``(time, y, x)``."""
    found: Fields = []
    for array in written:
        found += _layers(array, str(array.name) if in_file else None)
    return found


def _layers(array: xr.DataArray, variable: str | None) -> Iterator[tuple[Product, xr.DataArray]]:
    name, first = str(array.name), str(array.dims[0])

    def product(called: str, title: str, **what: float) -> Product:
        kind = "probability" if "threshold" in what else "rate"
        return Product.model_validate(
            {"name": called, "title": title, "kind": kind, "times": (), "variable": variable, **what}
        )

    if name == "rainfall_rate_extrapolation":
        yield product(EXTRAPOLATION, "Extrapolation"), array
    elif first == "time":
        yield product(RATE, "Rain rate"), array
    elif first == "realization":
        yield product(RATE, "Mean of the members"), array.mean("realization")
        for k, member in enumerate(array, start=1):
            yield product(f"member-{k}", f"Member {k}", realization=k), member
    elif first == "threshold":
        for rate, field in zip(array["threshold"].values.astype(float), array, strict=True):
            title = f"Probability of {rate:g} mm/h or more"
            yield product(f"above-{float(rate)}", title, threshold=float(rate)), field
    else:
        for level, field in zip(array["quantile"].values.astype(float), array, strict=True):
            called = re.sub(r"\.0$", "", f"p{round(100 * level, 3)}")
            yield product(called, f"{100 * level:g} % quantile", quantile=float(level)), field


def _write(written: list[xr.DataArray], layouts: Sequence[str], path: Path) -> None:
    """Write the forecast as NetCDF, and beside it in other layouts, and its rates as a GeoTIFF."""
    rates, *further = written
    export.write(rates, path, *further)
    for layout in layouts:
        products = () if layout == "pysteps" else further  # pysteps reads nothing but rates
        export.write(rates, path.with_stem(f"{path.stem}-{layout}"), *products, layout=layout)
    single = rates.mean("realization", keep_attrs=True) if "realization" in rates.dims else rates
    export.write(single, path.with_suffix(".tif"))


def _times_to_show(order: Forecast, known: xr.DataArray) -> NDArray[np.datetime64]:
    """Return the times of the observed frames that no publication of an earlier issue has, and the newest.

    So every publication of an issue has the same frames, whenever it is made.
    """
    shelf = Shelf(order.out)
    shown: set[np.datetime64] = set()
    for issue, run in reversed(shelf.publications()):
        manifest = shelf.manifest(issue, run)
        if manifest.issue < order.issue - SHOWN:
            break
        if manifest.issue < order.issue:
            observed = next(product for product in manifest.products if product.name == OBSERVED)
            shown |= {moment(time) for time in observed.times}
    times = known["time"].values.astype("datetime64[s]")
    recent = times[times > moment(order.issue - SHOWN)]
    return np.array([time for time in recent if time not in shown or time == times[-1]], "datetime64[ns]")


def _often_observed(path: str, times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Return where the radar usually observes ``(y, x)``, from the first frame of each hour of a day."""
    recent = times[times > times[-1] - _DAY]
    hours = recent.astype("datetime64[h]")
    firsts = recent[np.unique(hours, return_index=True)[1]]
    masks = [_observed(path, int(time.astype("datetime64[s]").astype(np.int64))) for time in firsts]
    return np.asarray(np.mean(masks, axis=0, dtype=np.float32) >= _USUALLY)


@lru_cache(maxsize=32)
def _observed(path: str, seconds: int) -> NDArray[np.bool_]:
    """Return where a frame is observed ``(y, x)``."""
    frame = archive.rain(archive.open(path)).sel(time=np.datetime64(seconds, "s").astype("datetime64[ns]"))
    mask: NDArray[np.bool_] = np.isfinite(frame.values)
    return mask
