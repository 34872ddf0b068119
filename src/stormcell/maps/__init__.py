"""Maps without torch: levels, palettes, Web Mercator, indexed pictures and tiles."""
