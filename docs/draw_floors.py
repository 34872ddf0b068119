"""Draw docs/images/floors.svg: the rooms of the package, floor by floor, and which room imports which.

``python docs/draw_floors.py`` redraws it. The floors are those of the import contract in pyproject.toml, the
descriptions are the first lines of the rooms' docstrings, and the arcs are the imports in the code. Rooms on
the two lowest floors may be imported everywhere; arcs to them are left out.
"""

import ast
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "floors.svg"
SOURCE = ROOT / "src" / "stormcell"

ROW, BOX, GAP = 58, 44, 14  # pixels
LEFT, WIDTH, RIGHT = 16, 640, 260
COLOURS = ("#1764ab", "#d1495b", "#b07a10", "#3a8f6b", "#7b5aa6", "#68727c", "#a0522d", "#0e7f90")


def floors() -> list[list[str]]:
    """Return the rooms of each floor, the top floor first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def description(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = SOURCE / room / "__init__.py"
    path = path if path.exists() else SOURCE / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0].replace("``", "")


def imports() -> list[tuple[str, str]]:
    """Return the pairs (room, room that it imports)."""
    graph = grimp.build_graph("stormcell", cache_dir=None)
    rooms = [room for floor in floors() for room in floor]
    pairs = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ends = [name.split(".")[1] if "." in name else "" for name in (module, imported)]
            if ends[0] != ends[1] and ends[0] in rooms and ends[1] in rooms[:-2]:
                pairs.add((ends[0], ends[1]))
    return sorted(pairs, key=lambda pair: (rooms.index(pair[0]), rooms.index(pair[1])))


def draw() -> str:
    """Return the picture as SVG."""
    rooms = [room for floor in floors() for room in floor]
    middle = {}  # of each room's box, in pixels from the top
    boxes = []
    top = GAP
    for floor in floors():
        for room in floor:
            middle[room] = top + BOX // 2
            boxes += [
                f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{BOX}" rx="5" '
                f'fill="#f4f6f8" stroke="{colour(rooms, room)}"/>',
                f'<text x="{LEFT + 12}" y="{top + 19}" class="room">{room}</text>',
                f'<text x="{LEFT + 12}" y="{top + 36}">{escape(description(room))}</text>',
            ]
            top += BOX + 4
        top += GAP - 4
    pairs = imports()
    arcs = [arc(middle[a], middle[b], rooms.index(b) - rooms.index(a), colour(rooms, a)) for a, b in pairs]
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{top}" '
                f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {top}" font-family="sans-serif" font-size="12.5">',
                "<title>The rooms of the stormcell package and the imports between them</title>",
                "<style>.room { font-weight: bold; font-size: 14px }",
                "path { fill: none; stroke-width: 1.6 }</style>",
                '<rect width="100%" height="100%" fill="white"/>',
                *boxes,
                *arcs,
                "</svg>",
            ]
        )
        + "\n"
    )


def colour(rooms: list[str], room: str) -> str:
    """Return the colour of a room and of its imports."""
    return COLOURS[rooms.index(room) % len(COLOURS)]


def arc(start: int, end: int, distance: int, stroke: str) -> str:
    """Return an arc from a room's box down to the box of a room that it imports."""
    x, reach = LEFT + WIDTH, 24 + 25 * distance
    return (
        f'<path d="M {x} {start} C {x + reach} {start + 6}, {x + reach} {end - 14}, {x + 7} {end - 4}" '
        f'stroke="{stroke}"/>'
        f'<path d="M {x + 9} {end - 8} L {x + 2} {end - 4} L {x + 10} {end}" stroke="{stroke}"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
