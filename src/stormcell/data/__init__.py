"""Radar data: reading it, keeping it, cutting it up, making it up. No torch here."""
