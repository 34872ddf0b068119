"""Forecasters, and files of their forecasts."""
