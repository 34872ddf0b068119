"""The load on the server of forecasts: see ``python -m benchmarks.serving --help``."""
