"""How rain moves, and rain moved: NumPy, SciPy and OpenCV only."""
