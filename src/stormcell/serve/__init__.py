"""The server of a published folder: the map, values at points and areas, files. Needs no torch."""
