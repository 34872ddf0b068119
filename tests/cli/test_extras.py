import pytest

from stormcell.cli.extras import needing_serve
from stormcell.errors import MissingExtraError


def missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_missing_package_names_the_extra_that_brings_it():
    expected = r'^serve: fastapi is not installed: pip install "stormcell\[serve\]"$'
    with pytest.raises(MissingExtraError, match=expected), needing_serve("serve"):
        missing("fastapi")


def test_missing_module_of_stormcell_is_no_missing_extra():
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'stormcell\.nowhere'$"),
        needing_serve("live"),
    ):
        missing("stormcell.nowhere")
