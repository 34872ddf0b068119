"""The layers' speed beside every other way to compute the same. Nothing is timed that was not shown equal."""
