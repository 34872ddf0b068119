"""The one tree of errors.

    StormcellError
    ├── ArgumentError        (ValueError)           an argument has a value it cannot have
    ├── NotOfferedError      (NotImplementedError)  a feature that is not there
    ├── MissingExtraError    (ImportError)          an optional package that is not installed
    ├── InputError           (ValueError)           a file that cannot be used, and why
    ├── ArchiveError         (ValueError)           an archive that is not what its schema says
    ├── FramesError          (ValueError)           frames a forecaster cannot start from
    ├── OutputError          (OSError)              a file that could not be written
    ├── ModelFileError       (ValueError)           a model file that cannot be used
    └── RecipeError          (ValueError)           a recipe with an unknown key or an impossible value

A message is one line: the thing, what was expected, what was found. Each class also derives from
the built-in that a caller who knows nothing of Stormcell would catch.
"""


class StormcellError(Exception):
    """The root: whatever Stormcell raises on purpose."""


class ArgumentError(StormcellError, ValueError):
    """An argument has a value it cannot have."""


class NotOfferedError(StormcellError, NotImplementedError):
    """A feature that is not there."""


class MissingExtraError(StormcellError, ImportError):
    """An optional package that is not installed; the message names the extra that brings it."""


class InputError(StormcellError, ValueError):
    """A file that cannot be used, and why."""


class ArchiveError(StormcellError, ValueError):
    """An archive that is not what its schema says."""


class FramesError(StormcellError, ValueError):
    """Frames that a forecaster cannot start from: too few, a hole, another time step or grid."""


class OutputError(StormcellError, OSError):
    """A file that could not be written; what was there before still is."""


class ModelFileError(StormcellError, ValueError):
    """A model file that cannot be used."""


class RecipeError(StormcellError, ValueError):
    """A recipe with an unknown key or an impossible value."""
