"""Coasts and borders of the world from TopoJSON, simplified and cut into cells of 20 degrees.

A browser loads only the cells around the radar. A cell holds rings to fill, ``land``, and lines, ``borders``.
Each is a flat list of whole numbers, longitude and latitude in units of ``1 / SCALE`` degrees: a point, then
differences. Neighbouring cells overlap by a little, so that no seam shows between them.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import hypot

SIZE = 20
SCALE = 500
TOLERANCE = 0.006  # degrees; less than a pixel of a 1 km grid
SMALLEST = 0.02  # degrees; smaller islands are left out
OVERLAP = 0.02

Point = tuple[float, float]
Line = list[Point]
Box = tuple[float, float, float, float]


def cells(atlas: dict) -> dict[str, dict[str, list[list[int]]]]:
    """Cut a world atlas into cells.

    Args:
        atlas: A TopoJSON topology with the objects ``land`` and ``countries``.

    Returns:
        By name of the cell, ``{west}_{south}`` in degrees: its land and its borders.
    """
    arcs = [_simplified(arc) for arc in _decoded(atlas)]
    rings = [_joined(ring, arcs) for polygon in _polygons(atlas, "land") for ring in polygon]
    rings = [ring for ring in rings if _size(_extent(ring)) > SMALLEST]
    uses = Counter(
        index if index >= 0 else ~index
        for polygon in _polygons(atlas, "countries")
        for ring in polygon
        for index in ring
    )
    borders = [arcs[index] for index, count in uses.items() if count > 1]
    found = {}
    for west in range(-180, 180, SIZE):
        for south in range(-90, 90, SIZE):
            box = (west - OVERLAP, south - OVERLAP, west + SIZE + OVERLAP, south + SIZE + OVERLAP)
            near = [_ring_in(ring, box) for ring in rings if _meet(_extent(ring), box)]
            land = [_packed(ring) for ring in near if len(ring) > 2]
            lines = [
                _packed(part) for line in borders if _meet(_extent(line), box) for part in _line_in(line, box)
            ]
            if land:
                found[f"{west}_{south}"] = {"land": land, "borders": lines}
    return found


def _decoded(atlas: dict) -> Iterator[Line]:
    (scale_x, scale_y), (left, bottom) = atlas["transform"]["scale"], atlas["transform"]["translate"]
    for arc in atlas["arcs"]:
        x = y = 0
        line = []
        for step_x, step_y in arc:
            x, y = x + step_x, y + step_y
            line.append((x * scale_x + left, y * scale_y + bottom))
        yield line


def _polygons(atlas: dict, name: str) -> Iterator[list[list[int]]]:
    for geometry in atlas["objects"][name]["geometries"]:
        yield from [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry.get("arcs", [])


def _joined(ring: list[int], arcs: list[Line]) -> Line:
    """Join the arcs of a ring; ``~n`` is arc n backwards, and arcs share their ends."""
    line: Line = []
    for index in ring:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        line += arc[1:] if line else arc
    return line[:-1]


def _simplified(line: Line) -> Line:
    """Drop points by the rule of Douglas and Peucker. Both ends stay, so that arcs still meet."""
    keep = {0, len(line) - 1}
    open_parts = [(0, len(line) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        far, index = max(
            ((_distance(line[i], line[first], line[last]), i) for i in range(first + 1, last)), default=(0, 0)
        )
        if far > TOLERANCE:
            keep.add(index)
            open_parts += [(first, index), (index, last)]
    return [line[index] for index in sorted(keep)]


def _distance(point: Point, start: Point, end: Point) -> float:
    """Return the distance of a point from a straight line, or from its start where the line is a point."""
    (x, y), (x0, y0), (x1, y1) = point, start, end
    length = hypot(x1 - x0, y1 - y0)
    if not length:
        return hypot(x - x0, y - y0)
    return abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length


def _extent(line: Line) -> Box:
    xs, ys = zip(*line, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _size(box: Box) -> float:
    west, south, east, north = box
    return max(east - west, north - south)


def _meet(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _sides(box: Box) -> list[tuple[int, float, int]]:
    """Return the axis, the place and the inner direction of a box's four sides."""
    west, south, east, north = box
    return [(0, west, 1), (1, south, 1), (0, east, -1), (1, north, -1)]


def _ring_in(ring: Line, box: Box) -> Line:
    """Clip a ring by the rule of Sutherland and Hodgman. It may run along the box's sides."""
    for axis, place, sign in _sides(box):
        clipped: Line = []
        for start, end in pairwise([*ring[-1:], *ring]):
            was_in, is_in = (sign * (point[axis] - place) >= 0 for point in (start, end))
            if was_in != is_in:
                clipped.append(_crossing(start, end, axis, place))
            if is_in:
                clipped.append(end)
        ring = clipped
    return ring


def _line_in(line: Line, box: Box) -> list[Line]:
    """Clip a line: its parts inside a box."""
    parts = [line]
    for axis, place, sign in _sides(box):
        clipped: list[Line] = []
        for part in parts:
            piece: Line = []
            for start, end in pairwise(part):
                was_in, is_in = (sign * (point[axis] - place) >= 0 for point in (start, end))
                if was_in and not piece:
                    piece.append(start)
                if was_in != is_in:
                    piece.append(_crossing(start, end, axis, place))
                if is_in:
                    piece.append(end)
                elif piece:
                    clipped.append(piece)
                    piece = []
            clipped += [piece] if piece else []
        parts = clipped
    return [part for part in parts if len(part) > 1]


def _crossing(start: Point, end: Point, axis: int, place: float) -> Point:
    share = (place - start[axis]) / (end[axis] - start[axis])
    return tuple(place if a == axis else start[a] + share * (end[a] - start[a]) for a in (0, 1))  # type: ignore[return-value]


def _packed(line: Line) -> list[int]:
    points = [(round(x * SCALE), round(y * SCALE)) for x, y in line]
    packed = list(points[0])
    for (x0, y0), (x1, y1) in pairwise(points):
        if (x0, y0) != (x1, y1):
            packed += [x1 - x0, y1 - y0]
    return packed
