"""Forecasters, and their forecasts on disk."""
