"""``python -m stormcell``, and the entry point of the ``stormcell`` command."""

import sys


def main() -> None:
    """Run the command line; without its packages, name the extra that brings them."""
    try:
        from stormcell.cli.main import app
        from stormcell.cli.output import never_fail
    except ModuleNotFoundError as missing:
        print(
            f'stormcell: {missing.name} is not installed: pip install "stormcell[nowcast]"', file=sys.stderr
        )
        sys.exit(2)  # nothing done
    never_fail()
    app(prog_name="stormcell")


if __name__ == "__main__":
    main()
