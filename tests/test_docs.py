"""The documentation is current: its code and commands run, and its tables agree with the code.

``python tests/test_docs.py`` rewrites the help texts and the recipe in docs/verbs.md.
"""

import ast
import functools
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from stormcell import nn
from stormcell.cli.main import app
from stormcell.nn import foreign
from stormcell.nn.conv_gru import GRU
from stormcell.nn.conv_lstm import LSTM
from stormcell.nn.conv_lstm_cell import LSTMCell
from stormcell.training.recipes import Recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}

# Code, and the output shown directly below it, if any.
CODE = re.compile(r"^```(python|sh)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
# The parts that this file writes: a verb's help, or the recipe.
WRITTEN = re.compile(
    r'(^```\w+ title="(?:stormcell ?(?P<verb>\w*) --help|recipe)"\n)(.*?)(^```$)', re.MULTILINE | re.DOTALL
)
# A table: its heading and its rows.
TABLE = re.compile(r"^\|(.+)\|\n\|(?:[ :-]+\|)+\n((?:\|.*\|\n)+)", re.MULTILINE)


@pytest.mark.filterwarnings(
    # Keras 3.15 calls __array__ without the argument that numpy 2 passes.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # PyTorch 2.13's ONNX exporter uses a class that PyTorch has deprecated.
    "ignore:.*LeafSpec.* is deprecated:FutureWarning",
)
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if "```python" in text])
def test_docs_page_code_prints_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Keras reads and writes a configuration file: not the user's.
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    names = {"__name__": page}
    for found in CODE.finditer(PAGES[page]):
        language, code, printed = found.groups()
        line = PAGES[page].count("\n", 0, found.start(2))
        capsys.readouterr()
        if language == "python":
            # The empty lines make a traceback give the line of the page.
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
    """Return the page with the current help and recipe."""

    def now(found: re.Match[str]) -> str:
        verb = found["verb"]
        return found[1] + (recipe() if verb is None else help_of(verb)) + found[4]

    return WRITTEN.sub(now, page)


def help_of(verb: str) -> str:
    # A separate process, whose environment neither colours nor widens the output.
    code = "from stormcell.cli.main import app; app(prog_name='stormcell')"
    words = [sys.executable, "-c", code, *([verb] if verb else []), "--help"]
    environment = {"COLUMNS": "80", "PYTHONUTF8": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    said = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    return "\n".join(line.rstrip() for line in said.strip().splitlines()) + "\n"


def recipe() -> str:
    """Return every key of a recipe with its default, and its meaning from the docstring, as YAML."""
    meanings = dict(re.findall(r"^    (\w+): (.+)$", inspect.getdoc(Recipe), re.MULTILINE))
    defaults = {key: f"{key}: {json.dumps(value)}" for key, value in Recipe().model_dump().items()}
    width = max(map(len, defaults.values()))
    return "".join(f"{default:{width}}  # {meanings[key]}\n" for key, default in defaults.items())


def test_docs_verbs_page_shows_current_help_and_recipe():
    shown = [found["verb"] for found in WRITTEN.finditer(PAGES["verbs"])]
    verbs = list(get_command(app).commands)
    verbs.insert(verbs.index("train") + 1, None)  # the recipe
    assert shown == ["", *verbs]
    assert rewritten(PAGES["verbs"]) == PAGES["verbs"], "run: python tests/test_docs.py"


def tables(page: str, *heading: str) -> list[list[list[str]]]:
    """Return the tables of a page whose headings begin with these words, as rows of cells."""
    found = []
    for match in TABLE.finditer(PAGES[page]):
        first, *rows = ([cell.strip() for cell in line.split("|")] for line in _lines(match))
        if tuple(first[: len(heading)]) == heading:
            found.append(rows)
    return found


def _lines(table: re.Match[str]) -> list[str]:
    return [table[1], *(line.strip("|") for line in table[2].splitlines())]


def default(cell: str) -> object:
    return ast.literal_eval(cell.strip("`")) if cell else inspect.Parameter.empty


def arguments(function) -> dict[str, object]:
    """Return the defaults by name, without self and without keywords that are passed on."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}


def options(stack) -> set[str]:
    """Return the options that a stack passes on to its cells."""
    (typed,) = get_args(get_type_hints(stack.__init__)["options"])
    return set(get_type_hints(typed))


STACKS = {"L": nn.ConvLSTM2d, "G": nn.ConvGRU2d, "T": nn.TrajGRU2d, "P": nn.PeepholeLSTM}


@pytest.mark.parametrize("cell", [nn.ConvLSTMCell2d, nn.ConvGRUCell2d, nn.TrajGRUCell2d])
def test_docs_layers_page_shows_the_equations_of_the_docstrings(cell):
    shown = re.findall(r"^```text\n(\w = .*?)^```$", PAGES["layers"], re.MULTILINE | re.DOTALL)
    said = inspect.getdoc(cell)
    assert sum(textwrap.indent(equations, " " * 4) in said for equations in shown) == 1
    assert len(shown) == 3


@pytest.mark.parametrize("letter", STACKS)
def test_docs_layers_page_lists_the_arguments_of_a_stack(letter):
    (first, *_) = tables("layers", "argument", "default")
    said = {name.strip("`"): default(value) for name, value, _ in first}
    if letter == "P":
        del said["kernel_size"]
    assert list(said.items()) == list(arguments(STACKS[letter]).items())


@pytest.mark.parametrize("letter", STACKS)
def test_docs_layers_page_lists_the_options_of_a_cell(letter):
    ((*rows,),) = tables("layers", "argument", "default", "of")
    said = {
        name.strip("`"): default(value)
        for names, value, of, _ in rows
        for name in names.split(", ")
        if letter in of.split()
    }
    stack = STACKS[letter]
    known = arguments(LSTMCell if letter == "P" else stack.cell)
    assert said == {name: known[name] for name in options(stack)}
    if letter != "P":  # the cell of PeepholeLSTM takes its options as a stack does
        assert said.keys() == known.keys() - {"in_channels", "hidden_channels", "kernel_size", "bias"}


@pytest.mark.parametrize("stack", [LSTM, GRU])
def test_docs_layers_page_lists_the_arguments_of_a_call(stack):
    last = tables("layers", "argument", "default")[-1]
    said = {name.strip("`"): default(value) for name, value, _ in last}
    assert list(said.items()) == list(arguments(stack.forward).items())


CELLS = [
    (nn.ConvLSTMCell2d, {"proj_channels": 4, "norm": "layer", "forget_bias": 0.0}),
    (nn.ConvGRUCell2d, {"norm": "group"}),
    (nn.TrajGRUCell2d, {"num_flows": 6, "flow_channels": 7, "flow_kernel_size": (1, 5)}),
]


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_docs_layers_page_lists_the_parameters_of_a_cell(number):
    kind, given = CELLS[number]
    cell = kind(2, 3, (3, 5), **given)
    sizes = {"C_in": 2, "C": 3, "k": (3, 5), "P": 4, "L": 6, "F": 7, "f": (1, 5)}
    said = {}
    for name, shape, _, starts in tables("layers", "parameter", "shape")[number]:
        product = re.sub(r"(\d)([A-Z])", r"\1*\2", shape.split("`")[1].replace("·", "*"))
        said[name.strip("`")] = eval(product, sizes), starts.split(";")[0]
    assert {name: shape for name, (shape, _) in said.items()} == {
        name: tuple(parameter.shape) for name, parameter in cell.named_parameters()
    }
    for name, (_, starts) in said.items():
        parameter = getattr(cell, name)
        if starts in ("zero", "one"):
            assert torch.equal(parameter, torch.full_like(parameter, starts == "one"))
        else:
            assert parameter.unique().numel() == parameter.numel()


def test_docs_reference_lists_all_layers_and_importers():
    shown = re.findall(r"^::: stormcell\.nn\.([\w.]+)$", PAGES["reference"], re.MULTILINE)
    layers = [name for name, value in vars(nn).items() if inspect.isclass(value)]
    importers = [f"foreign.{name}" for name, value in vars(foreign).items() if inspect.isfunction(value)]
    assert sorted(shown) == sorted(layers + importers)


def test_docs_coming_from_replacements_can_be_built():
    ((*rows,),) = tables("coming-from", "from", "their code", "Stormcell")
    for *_, here in rows:
        assert isinstance(eval(here.strip("`"), vars(nn)), torch.nn.Module), here


def test_docs_features_page_names_an_existing_test_for_every_tick():
    ticked = [row[0] for rows in tables("features", "", "Stormcell") for row in rows if row[1] in ("✓", "R")]
    behind = {
        row[0]: re.findall(r"`(.+?)`", row[1])
        for rows in tables("features", "feature", "test")
        for row in rows
    }
    assert len(ticked) == len(set(ticked))
    assert sorted(ticked) == sorted(behind)
    for feature, tests in behind.items():
        assert tests, feature
        for test in tests:
            assert re.fullmatch(r"[\w/]+\.py::test_\w+", test), f"{feature}: {test}"
            file, _, name = test.partition("::")
            assert name in functions(ROOT / "tests" / file), f"{feature}: {test}"


@functools.cache
def functions(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def test_docs_site_builds_and_loads_nothing_from_other_sites(tmp_path):
    pytest.importorskip("mkdocs", reason='the site is built with pip install "stormcell[docs]"')
    # Without --quiet: a message that is not logged does not count as a warning.
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    # A canonical link names the page's own address, and is not fetched.
    fetched = re.compile(
        r"<(?:script|img|link(?! rel=\"canonical\"))\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//"
    )
    for page in tmp_path.rglob("*.html"):
        assert not fetched.search(page.read_text("utf-8")), page


if __name__ == "__main__":
    page = ROOT / "docs" / "verbs.md"
    page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
