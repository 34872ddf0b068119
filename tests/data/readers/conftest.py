"""The readers, each with the sample file of its format."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import READERS, Reader

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(params=READERS)
def module(request) -> str:
    """Name of the module of a reader. Its sample is written by the module of the same name in samples/.

    That module has ``write(path, request)``, which writes a small complete file, ``CONTRADICTION``, options
    that contradict the sample, and, if the sample cannot be read without options, ``OPTIONS``. A format that
    is recognised by the name of the file too has ``FILE_NAME``.
    """
    return request.param


@pytest.fixture
def reader(module: str) -> Reader:
    return importlib.import_module(f"stormcell.data.readers.{module}")


@pytest.fixture
def samples(module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sample_{module}", SAMPLES / f"{module}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def options(samples: ModuleType) -> ReadOptions:
    return getattr(samples, "OPTIONS", ReadOptions())


@pytest.fixture
def sample(samples: ModuleType, reader: Reader, request, tmp_path) -> Path:
    """A small complete file of the format."""
    path = tmp_path / getattr(samples, "FILE_NAME", f"sample{reader.SUFFIXES[0]}")
    samples.write(path, request)
    return path
