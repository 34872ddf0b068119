"""Errors of verbs: one line, and the exit status."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer

from stormcell.cli.exit_status import NOTHING_DONE
from stormcell.errors import StormcellError

P = ParamSpec("P")


def verb(function: Callable[P, int]) -> Callable[P, None]:
    """Make a verb print an error as one line and exit with its status."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = function(*args, **kwargs)
        except BrokenPipeError:
            raise  # The reader of a pipe has ended, such as «head». Typer exits without a message.
        except (StormcellError, OSError) as error:
            typer.echo(f"stormcell: {' '.join(str(error).split())}", err=True)
            status = NOTHING_DONE
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("stormcell"):
                raise
            typer.echo(
                f'stormcell: {missing.name} is not installed: pip install "stormcell[nowcast]"', err=True
            )
            status = NOTHING_DONE
        raise typer.Exit(status)

    return run
