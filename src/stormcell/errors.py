"""The tree of errors.

    StormcellError
    ├── ArgumentError        (ValueError)           an argument has an invalid value
    │   ├── OutsideGridError                        a place is outside of a radar's grid
    │   └── TooLargeError                           more is asked for than is allowed
    ├── NotOfferedError      (NotImplementedError)  a feature that does not exist
    ├── MissingExtraError    (ImportError)          an optional package is not installed
    ├── InputError           (ValueError)           a file cannot be used
    │   └── FrameRefusedError                       a frame cannot be added to an archive as it is now
    ├── ArchiveError         (ValueError)           an archive does not follow the schema
    ├── FramesError          (ValueError)           frames do not meet a forecaster's needs
    ├── OutputError          (OSError)              a file could not be written
    ├── PublicationError     (ValueError)           a file of a published folder cannot be used
    │   └── NotPublishedError                       what is asked for is not in a published folder
    │       └── PrunedError                         it was there, and has been dropped
    ├── WorkerError          (RuntimeError)         the processes that work on a task were killed or lost
    ├── ModelFileError       (ValueError)           a model file cannot be used
    └── RecipeError          (ValueError)           a recipe has an unknown key or an invalid value

A message is one line that names the thing, what was expected and what was found. Each class also derives from
the built-in error that fits best, so that general code can catch it.
"""


class StormcellError(Exception):
    """The base class of all errors that Stormcell raises deliberately."""


class ArgumentError(StormcellError, ValueError):
    """An argument has an invalid value."""


class OutsideGridError(ArgumentError):
    """A place is outside of a radar's grid.

    Attributes:
        bounds: West, south, east and north of the grid, in degrees.
    """

    def __init__(
        self, message: str, bounds: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    ) -> None:
        super().__init__(message)
        self.bounds = bounds


class TooLargeError(ArgumentError):
    """More is asked for than is allowed."""


class NotOfferedError(StormcellError, NotImplementedError):
    """A feature that does not exist."""


class MissingExtraError(StormcellError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


class InputError(StormcellError, ValueError):
    """A file cannot be used; the message gives the reason."""


class FrameRefusedError(InputError):
    """A frame cannot be added to an archive as the archive is now.

    Attributes:
        replaceable: Whether it could replace the frame that the archive has at its time.
        future: Whether it is dated in the future.
    """

    def __init__(self, message: str, *, replaceable: bool = False, future: bool = False) -> None:
        super().__init__(message)
        self.replaceable = replaceable
        self.future = future


class ArchiveError(StormcellError, ValueError):
    """An archive does not follow the schema."""


class ArchiveChangedError(ArchiveError):
    """An archive was changed so often since it was opened that it must be opened again."""


class FramesError(StormcellError, ValueError):
    """Frames do not meet a forecaster's needs: too few, a gap, another time step or grid."""


class OutputError(StormcellError, OSError):
    """A file could not be written; its old content is intact."""


class PublicationError(StormcellError, ValueError):
    """A file of a published folder cannot be used; the message names it."""


class NotPublishedError(PublicationError):
    """A publication, product or time is not in a published folder."""


class PrunedError(NotPublishedError):
    """A publication or a part of it was in a published folder, and has been dropped."""


class WorkerError(StormcellError, RuntimeError):
    """The processes that worked on a task were killed or lost; what was finished before is intact."""


class ModelFileError(StormcellError, ValueError):
    """A model file cannot be used."""


class RecipeError(StormcellError, ValueError):
    """A recipe has an unknown key or an invalid value."""
