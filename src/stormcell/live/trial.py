"""A trial of a forecaster on the newest frames of an archive."""

from stormcell.data import archive
from stormcell.data.archive_files import ROOT
from stormcell.data.archive_folder import files_of
from stormcell.data.object_store import location
from stormcell.errors import FramesError, ModelFileError
from stormcell.forecast.contract import Analysis, DescribedForecaster, make_forecast
from stormcell.forecast.observed import is_observed
from stormcell.forecast.resolve import latest_run
from stormcell.live.plausibility import expect_plausible

_STEPS = 2


def forecast_of_newest(chosen: DescribedForecaster, path: str) -> None:
    """Forecast the newest frames, if the archive exists and has the frames that the forecaster needs.

    Raises:
        ModelFileError: The forecast cannot be rain.
    """
    if not files_of(location(path)).exists(ROOT):
        return
    rain = archive.rain(archive.open(path))
    run = latest_run(rain, chosen, rain["time"].values[-1])
    if run.sizes["time"] < max(chosen.needs.frames, 2) or not is_observed(run[-1]):
        return
    try:
        expect_plausible(make_forecast(chosen, Analysis(run), _STEPS), run[-1])
    except FramesError as error:
        raise ModelFileError(f"{chosen.title}: {error}") from None
