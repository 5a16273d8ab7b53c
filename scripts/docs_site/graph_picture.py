"""Draws a Mermaid graph of arrows `above --> below` as SVG: the site's theme would load Mermaid from a network.

The usual way in layers (Sugiyama et al. 1981): each box lies one layer below the lowest one that it points to, arrows
that pass a layer get a place in it, and the order within layers is improved by the mean of neighbours.
"""

import re
from collections import defaultdict
from itertools import pairwise

ARROW = re.compile(r"^ *(\w+) --> (\w+) *$", re.MULTILINE)
SWEEPS = 24
LAYER_HEIGHT, BOX_HEIGHT = 62, 26
LETTER_WIDTH, PADDING, GAP, PASSING_WIDTH = 7.6, 16, 18, 12
Place = str | tuple[str, str, int]  # a box, or an arrow where it passes a layer


def graph_picture(text: str) -> str:
    """Gives the SVG of a graph whose arrows point up.

    Raises:
      ValueError: there is no arrow, or a line is none.
    """
    arrows = ARROW.findall(text)
    if not arrows or len(arrows) != len(text.strip().splitlines()) - 1:
        raise ValueError("a graph has a first line and then arrows alone: name --> name")
    layer = _layers(arrows)
    rows, paths = _rows(arrows, layer)
    links = [pair for path in paths for pair in pairwise(path)]
    rows = _ordered(rows, links)
    x = _straightened(rows, links)
    return _svg(rows, paths, x, layer)


def _layers(arrows: list[tuple[str, str]]) -> dict[str, int]:
    """The layer of each box, from the top: the most arrows in a row that lead up from it."""
    targets: dict[str, list[str]] = defaultdict(list)
    for start, end in arrows:
        targets[start].append(end)
    layer: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in layer:
            layer[name] = 1 + max((depth(end) for end in targets.get(name, ())), default=-1)
        return layer[name]

    for start, _ in arrows:
        depth(start)
    return layer


def _rows(arrows: list[tuple[str, str]], layer: dict[str, int]) -> tuple[list[list[Place]], list[list[Place]]]:
    """What lies in each layer, and the places of each arrow from its upper end on."""
    rows: list[list[Place]] = [[] for _ in range(max(layer.values()) + 1)]
    for name, depth in layer.items():
        rows[depth].append(name)
    paths: list[list[Place]] = []
    for start, end in arrows:
        passed: list[Place] = [(start, end, depth) for depth in range(layer[end] + 1, layer[start])]
        for place, depth in zip(passed, range(layer[end] + 1, layer[start]), strict=True):
            rows[depth].append(place)
        paths.append([end, *passed, start])
    return rows, paths


def _neighbours(links: list[tuple[Place, Place]], *, upper: bool) -> dict[Place, list[Place]]:
    found: dict[Place, list[Place]] = defaultdict(list)
    for above, below in links:
        found[below if upper else above].append(above if upper else below)
    return found


def _ordered(rows: list[list[Place]], links: list[tuple[Place, Place]]) -> list[list[Place]]:
    """The rows in the order with the fewest crossings that some sweeps find."""
    best, fewest = rows, _crossings(rows, links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = _neighbours(links, upper=down)
        place = {name: i for row in rows for i, name in enumerate(row)}
        rows = [list(row) for row in rows]
        for row in rows if down else reversed(rows):
            means = {n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else place[n] for n in row}
            row.sort(key=means.__getitem__)
            place |= {name: i for i, name in enumerate(row)}
        if (crossings := _crossings(rows, links)) < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: list[list[Place]], links: list[tuple[Place, Place]]) -> int:
    place = {name: (depth, i) for depth, row in enumerate(rows) for i, name in enumerate(row)}
    by_layer: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for above, below in links:
        by_layer[place[above][0]].append((place[above][1], place[below][1]))
    pairs = ((a, b) for ends in by_layer.values() for i, a in enumerate(ends) for b in ends[:i])
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in pairs)


def _width(place: Place) -> float:
    return len(place) * LETTER_WIDTH + PADDING if isinstance(place, str) else PASSING_WIDTH


def _straightened(rows: list[list[Place]], links: list[tuple[Place, Place]]) -> dict[Place, float]:
    """The middle of each place: near those of its neighbours, without two in a row that overlap."""
    x: dict[Place, float] = {}
    for row in rows:
        middle = -sum(_width(place) + GAP for place in row) / 2
        for place in row:
            x[place] = middle + _width(place) / 2
            middle += _width(place) + GAP
    both = _neighbours(links, upper=True), _neighbours(links, upper=False)
    for _ in range(SWEEPS):
        for row in rows:
            near = {n: both[0][n] + both[1][n] for n in row}
            wished = [sum(x[m] for m in near[n]) / len(near[n]) if near[n] else x[n] for n in row]
            x |= dict(zip(row, _apart(row, wished), strict=True))
    return x


def _apart(row: list[Place], wished: list[float]) -> list[float]:
    """The places nearest to those wished for, in least squares, that keep the order and do not overlap."""
    offset, offsets = 0.0, []
    for i, place in enumerate(row):
        offset += (_width(row[i - 1]) + _width(place)) / 2 + GAP if i else 0.0
        offsets.append(offset)
    # pools of neighbours that touch: the sum of what they wish for, and how many they are
    pools: list[tuple[float, int]] = []
    for wish, offset in zip(wished, offsets, strict=True):
        pool = (wish - offset, 1)
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1])
        pools.append(pool)
    bases = [total / count for total, count in pools for _ in range(count)]
    return [base + offset for base, offset in zip(bases, offsets, strict=True)]


def _svg(rows: list[list[Place]], paths: list[list[Place]], x: dict[Place, float], layer: dict[str, int]) -> str:
    left = min(x[place] - _width(place) / 2 for row in rows for place in row) - 4
    right = max(x[place] + _width(place) / 2 for row in rows for place in row) + 4
    y = {place: 20 + depth * LAYER_HEIGHT for depth, row in enumerate(rows) for place in row}
    height = 40 + (len(rows) - 1) * LAYER_HEIGHT
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {right - left:.0f} {height}" '
        'role="img" aria-label="A graph: each arrow leads from a box to one above it">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    for path in paths:
        points = [(x[place], float(y[place])) for place in reversed(path)]
        points[0] = (points[0][0], points[0][1] - BOX_HEIGHT / 2)
        points[-1] = (points[-1][0], points[-1][1] + BOX_HEIGHT / 2 + 2)
        curve = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
        for (x0, y0), (x1, y1) in pairwise(points):
            bend = (y0 - y1) / 2
            curve += f" C{x0:.0f} {y0 - bend:.0f} {x1:.0f} {y1 + bend:.0f} {x1:.0f} {y1:.0f}"
        parts.append(f'<path class="arrow" d="{curve}" marker-end="url(#arrow)"/>')
    for name in layer:
        box = (
            f'x="{x[name] - _width(name) / 2:.0f}" y="{y[name] - BOX_HEIGHT / 2:.0f}" '
            f'width="{_width(name):.0f}" height="{BOX_HEIGHT}"'
        )
        parts.append(f'<rect {box} rx="4"/><text x="{x[name]:.0f}" y="{y[name] + 4:.0f}">{name}</text>')
    return "\n".join([*parts, "</svg>"])
