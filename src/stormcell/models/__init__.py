"""Networks that forecast frames from frames."""

from stormcell.models.encoder_forecaster import EncoderForecaster as EncoderForecaster
