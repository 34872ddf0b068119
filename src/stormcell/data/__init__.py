"""Radar files, archives, splits and generated radar, without torch."""
