"""Plain words: phrases that readers stumble over do not come back, and one word has one meaning.

The glossary in CONTRIBUTING.md has the words to use.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "src").rglob("*.[ch]"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TEMPLATES = sorted((ROOT / "src").rglob("*.html"))
MODULES = sorted((ROOT / "src" / "stormcell").rglob("*.py"))

# A phrase that must not occur, and what to write instead.
BANNED = {
    r"\b[Tt]old\b": "given",
    r"\b[Oo]f which\b": "whose",
    r"\bso many\b": "a number, or up to",
    r"\beach way\b|\beither way\b": "in each direction",
    r"\bwho(?:ever)?\b[^.?!\n]*\bdo(?:es)? not\b": "the subject by its name",
    r"\b[Ww]hoever\b": "the subject by its name",
    r"\bkeep(?:ing|s)? silent\b": "return NaN",
    r"\bthere (?:is|are) none\b|\bis none\b|\bare none\b": "not found, missing",
    r"\bnone of th(?:em|ese|ose|eirs)\b": "not one of them, or a number",
    r"\beveryone\b|\bnobody\b": "the subject by its name",
    r"\blets? travel\b|\bcarried along\b": "moved along the motion field",
    r"\bgoes on\b|\bgo on\b": "continues, resumes",
    r"\bbut for\b|\bsave for\b": "except",
    r"\bby itself\b": "alone",
    r"\bas made\b": "initially",
    r"\bfrom there on\b|\bfrom then on\b": "from that value on",
    r"\bholds? (?:it|them|that) against\b|\bheld against\b": "compare with",
    r"\bspeaks? of\b": "name, describe",
    r"\bthat is no\b|\bwhich is no\b": "is not a",
    r"\bbe it\b": "whether",
    r"\bgo(?:es|ing)? on with\b|\bgone on with\b|\bwent on with\b": "resume, continue",
    r"\btakes? [\d.]+ (?:to [\d.]+ )?times as long\b|\btimes as long\b": "N times faster",
    r"\bset apart\b|\btells? apart\b|\btold apart\b|\bapart from\b": "distinguish, except",
}

# Words with two meanings, by the name that was used for both.
ONE_MEANING = ["Run", "Batch", "Baseline", "Rain", "Layout", "Cell", "Gates", "Compiled"]


def lines(path: Path) -> Iterator[tuple[int, str]]:
    return enumerate(path.read_text("utf-8").splitlines(), 1)


@pytest.mark.parametrize("phrase", BANNED)
def test_words_banned_phrase_does_not_occur(phrase):
    pattern = re.compile(phrase)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*SOURCE, *PAGES, *TEMPLATES]
        for number, line in lines(path)
        if pattern.search(line)
    ]
    assert not found, f"write instead: {BANNED[phrase]}\n" + "\n".join(found)


def docstrings() -> Iterator[tuple[Path, int, str]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield path, getattr(node, "lineno", 1), text


def test_words_docstring_does_not_begin_with_a_clause():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path, line, text in docstrings()
        if re.match(r"(What|How|Where|When|Who|Whoever|Why)\b", text)
    ]
    assert not found, "begin with a verb or a noun\n" + "\n".join(found)


def test_words_class_name_has_one_meaning():
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.lstrip("_") in ONE_MEANING
    )
    assert not [name for name, count in names.items() if count > 1]


def test_words_module_name_has_one_meaning():
    # A recurrence has the same parts as the others, and a verb may be named like what it calls.
    counted = [
        path.stem
        for path in MODULES
        if path.stem != "__init__" and "ops" not in path.parts and "cli" not in path.parts
    ]
    assert not [name for name, count in Counter(counted).items() if count > 1]


def test_words_source_file_is_short_or_says_why():
    for path in SOURCE:
        text = path.read_text("utf-8")
        if len(text.splitlines()) > 300:
            assert "One file, because" in text[:1500], f"{path.relative_to(ROOT)} has over 300 lines"
