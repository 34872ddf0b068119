"""``python -m stormcell``, and the entry point of ``stormcell``."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from stormcell.cli.main import app
    except ModuleNotFoundError as missing:
        print(
            f'stormcell: {missing.name} is not installed: pip install "stormcell[nowcast]"', file=sys.stderr
        )
        sys.exit(2)  # nothing done
    app()


if __name__ == "__main__":
    main()
