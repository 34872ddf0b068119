"""The motion field of rain, and advection along it. Needs NumPy, SciPy and OpenCV only."""
