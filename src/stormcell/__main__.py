"""``python -m stormcell``, and the entry point of ``stormcell``."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from stormcell.cli import app
    except ModuleNotFoundError as missing:
        sys.exit(f'stormcell: {missing.name} is not installed: pip install "stormcell[nowcast]"')
    app()


if __name__ == "__main__":
    main()
