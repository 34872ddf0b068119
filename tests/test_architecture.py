"""docs/architecture.md is current: its picture is drawn from the code, and its links exist."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def test_architecture_picture_is_what_the_code_draws():
    path = ROOT / "docs" / "draw_floors.py"
    spec = importlib.util.spec_from_file_location("draw_floors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PICTURE.read_text("utf-8") == module.draw(), "run: python docs/draw_floors.py"


def test_architecture_links_into_the_code_exist():
    links = re.findall(r"\]\(\.\./((?:src|tests|benchmarks)/[^)#]+)", PAGE.read_text("utf-8"))
    for target in links:
        assert (ROOT / target).exists(), target
