"""The documentation's Python and commands run, and what it says of verbs, arguments and equations is so.

``python tests/test_docs.py`` writes the verbs' help, and the recipe, into docs/verbs.md as they are now.
"""

import ast
import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from stormcell.cli import app
from stormcell.errors import NotOfferedError
from stormcell.nn import ConvLSTM2d, ConvLSTMCell2d
from stormcell.training.recipes import Recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}

# Code, and, where text follows at once, what it prints.
CODE = re.compile(r"^```(python|sh)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
# What is written by this file: a verb's help, or the recipe.
WRITTEN = re.compile(
    r'(^```\w+ title="(?:stormcell ?(?P<verb>\w*) --help|recipe)"\n)(.*?)(^```$)', re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if "```python" in text])
def test_what_a_page_shows_is_what_happens(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page}
    for found in CODE.finditer(PAGES[page]):
        language, code, printed = found.groups()
        line = PAGES[page].count("\n", 0, found.start(2))
        capsys.readouterr()
        if language == "python":
            # The empty lines make a traceback name the line of the page.
            exec(compile("\n" * line + code, f"docs/{page}.md", "exec"), names)
        else:
            run_commands(code)
        if printed is not None:
            assert capsys.readouterr().out == printed, f"docs/{page}.md, line {line}"


def run_commands(code: str) -> None:
    for command in code.replace("\\\n", " ").splitlines():
        name, *words = shlex.split(command)
        assert name == "stormcell"
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{command}\n{done.output}"


def rewritten(page: str) -> str:
    """The page with help and recipe as they are now."""

    def now(found: re.Match[str]) -> str:
        verb = found["verb"]
        return found[1] + (recipe() if verb is None else help_of(verb)) + found[4]

    return WRITTEN.sub(now, page)


def help_of(verb: str) -> str:
    # A process of its own, with nothing in its environment that would colour or widen what it prints.
    code = "from stormcell.cli import app; app(prog_name='stormcell')"
    words = [sys.executable, "-c", code, *([verb] if verb else []), "--help"]
    environment = {"COLUMNS": "80", "PYTHONUTF8": "1"}
    said = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    return "\n".join(line.rstrip() for line in said.strip().splitlines()) + "\n"


def recipe() -> str:
    """Every key of a recipe with its default and, from the docstring, its meaning: YAML."""
    meanings = dict(re.findall(r"^    (\w+): (.+)$", inspect.getdoc(Recipe), re.MULTILINE))
    defaults = {key: f"{key}: {json.dumps(value)}" for key, value in Recipe().model_dump().items()}
    width = max(map(len, defaults.values()))
    return "".join(f"{default:{width}}  # {meanings[key]}\n" for key, default in defaults.items())


def test_verbs_and_recipe_are_shown_as_they_are():
    shown = [found["verb"] for found in WRITTEN.finditer(PAGES["verbs"])]
    verbs = list(get_command(app).commands)
    verbs.insert(verbs.index("train") + 1, None)  # the recipe
    assert shown == ["", *verbs]
    assert rewritten(PAGES["verbs"]) == PAGES["verbs"], "run: python tests/test_docs.py"


def test_the_equations_are_those_of_the_layers():
    (shown,) = re.findall(r"^```text\n(i = .*?)^```$", PAGES["layers"], re.MULTILINE | re.DOTALL)
    assert textwrap.indent(shown, " " * 4) in inspect.getdoc(ConvLSTMCell2d)


def test_what_is_not_offered_is_what_the_page_says():
    table = PAGES["layers"].split("### What is not offered")[1].split("```")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.+)` \|$", table, re.MULTILINE)
    only = {name: ast.literal_eval(value) for name, value in rows}
    arguments = inspect.signature(ConvLSTM2d).parameters
    assert only == {name: arguments[name].default for name in arguments if refuses_all_but_one(name)}


def refuses_all_but_one(argument: str) -> bool:
    try:
        ConvLSTM2d(**{"in_channels": 1, "hidden_channels": 1, "kernel_size": 1, argument: "no such value"})
    except NotOfferedError:
        return True
    except (ValueError, TypeError, RuntimeError):
        pass
    return False


def test_the_site_builds_and_needs_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason='the site is built with pip install "stormcell[docs]"')
    # Not --quiet: what is not logged is not counted as a warning.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r"<(?:script|img|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//")
    for page in tmp_path.rglob("*.html"):
        assert not fetched.search(page.read_text("utf-8")), page


if __name__ == "__main__":
    page = ROOT / "docs" / "verbs.md"
    page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
