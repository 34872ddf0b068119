"""Products of distributions, collected lead time by lead time, with their place on the map."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from stormcell.forecast.contract import Field, forecast_array
from stormcell.forecast.probabilistic import LeadDistribution
from stormcell.forecast.requested import expect_levels, expect_thresholds


@dataclass(eq=False)
class LeadFields:
    """A product of the distributions of all lead times.

    Attributes:
        product: What is made of a distribution: a field ``(y, x)``, or several with a dimension before.
        coordinate: That dimension, with its values and attributes; None without.
        name: Name of the result.
        attributes: Attributes of the result.
        fields: The fields so far, with room for those that follow; None before the first.
    """

    product: Callable[[LeadDistribution], Field]
    coordinate: tuple[str, Any, dict[str, str]] | None = None
    name: str = "rainfall_rate"
    attributes: Mapping[str, str] | None = None
    fields: Field | None = None

    def put(self, rain: LeadDistribution, number: int, steps: int) -> None:
        """Put a lead time in: its number from 0, and how many there are."""
        made = self.product(rain)
        if self.fields is None:
            self.fields = np.empty((*made.shape[:-2], steps, *made.shape[-2:]), np.float32)
        self.fields[..., number, :, :] = made

    def array(self, frames: xr.DataArray) -> xr.DataArray:
        """Return the fields with the coordinates and attributes of a forecast from ``frames``.

        Its dimensions are time, y and x, after that of the coordinate.
        """
        assert self.fields is not None
        made = forecast_array(self.fields, frames, attrs=self.attributes).rename(self.name)
        if self.coordinate is None:
            return made
        # An ensemble has the same dimensions but the first.
        made = made.drop_vars("realization").rename({"realization": self.coordinate[0]})
        return made.assign_coords({self.coordinate[0]: self.coordinate})


def rates() -> LeadFields:
    """Return the single forecast as a product, in mm/h ``(time, y, x)``."""
    return LeadFields(lambda rain: rain.single())


def probabilities(thresholds: Sequence[float]) -> LeadFields:
    """Return the probabilities of rates at or above thresholds as a product, ``(threshold, time, y, x)``.

    Args:
        thresholds: Rain rates in mm/h, > 0.

    Raises:
        ArgumentError: They are no sequence of such rates.
    """
    asked = expect_thresholds(thresholds)
    return LeadFields(
        lambda rain: rain.probability(asked),
        (
            "threshold",
            np.asarray(asked, np.float64),
            {"long_name": "threshold of the rainfall rate", "units": "kg m-2 h-1"},
        ),
        "rainfall_rate_probability",
        {
            "standard_name": "probability_of_rainfall_rate_above_threshold",
            "long_name": "probability of a rainfall rate at or above the threshold",
            "units": "1",
        },
    )


def quantiles(levels: Sequence[float]) -> LeadFields:
    """Return quantiles of the rain rate as a product, in mm/h ``(quantile, time, y, x)``.

    Args:
        levels: Probabilities of not exceeding the quantile, above 0 and below 1.

    Raises:
        ArgumentError: They are no sequence of such probabilities.
    """
    asked = expect_levels(levels)
    return LeadFields(
        lambda rain: rain.quantile(asked),
        ("quantile", np.asarray(asked, np.float64), {"long_name": "level of the quantile", "units": "1"}),
        "rainfall_rate_quantile",
        {"long_name": "quantile of the rainfall rate"},
    )
