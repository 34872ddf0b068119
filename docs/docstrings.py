"""Convert docstrings, which are written for Python's help, to Markdown. mkdocs.yml uses this extension."""

import importlib
import inspect
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):`(?:~[\w.]*\.)?([\w.]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)
_CELLS = ("LSTMCell", "ConvGRUCell", "TrajGRUCell2d")  # their docstrings list the options
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_SEVERAL = re.compile(r"^ {4}(\w+(?:,\s+\w+)+):(.*(?:\n {5,}.*)*)", re.MULTILINE)


class AsMarkdown(griffe.Extension):
    """Rewrites the docstring of every object before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn roles into code and ``::`` into a colon, and give each argument a separate line."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            text = _EXAMPLE.sub("Examples:", _LITERAL_BLOCK.sub(":", text))
            obj.docstring.value = _SEVERAL.sub(_one_each, text)

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Show the options of a cell in its signature, as ``help()`` does."""
        if func.name != "__init__" or func.parent is None or func.parent.name not in _CELLS:
            return
        cell = getattr(importlib.import_module(func.module.path), func.parent.name)
        del func.parameters["options"]
        for name, option in inspect.signature(cell).parameters.items():
            if option.kind is option.KEYWORD_ONLY:
                func.parameters.add(
                    griffe.Parameter(
                        name,
                        annotation=inspect.formatannotation(option.annotation),
                        kind=griffe.ParameterKind.keyword_only,
                        default=repr(option.default),
                    )
                )


def _one_each(arguments: re.Match[str]) -> str:
    names, what = arguments.groups()
    return "\n".join(f"    {name}:{what}" for name in re.split(r",\s+", names))
