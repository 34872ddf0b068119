"""The live loop: detect radar files, archive them, forecast, publish."""
