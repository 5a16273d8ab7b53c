"""Graphs drawn as SVG."""

import re
from itertools import combinations

import pytest

from scripts.docs_site.graph_picture import graph_picture
from tests.test_docs import ARCHITECTURE, ARROW

ROOMS = re.findall(r"```mermaid\n(.*?)^```", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
BOX = re.compile(r'<rect x="([-\d]+)" y="([-\d]+)" width="(\d+)" height="(\d+)" rx="4"/><text [^>]*>(\w+)</text>')
CURVE = re.compile(r'd="M([-\d]+) ([-\d]+) .*?([-\d]+) ([-\d]+)" marker-end')


def boxes(picture):
    return {name: tuple(map(int, numbers)) for *numbers, name in BOX.findall(picture)}


def box_at(x, y, found):
    """The box that has a point on its edge, to some pixels."""
    (name,) = [n for n, (x0, y0, w, h) in found.items() if x0 <= x <= x0 + w and y0 - 3 <= y <= y0 + h + 3]
    return name


@pytest.mark.parametrize("text", [ROOMS, "graph BT\n  b --> a\n  c --> b\n  c --> a\n"])
def test_each_arrow_leads_up_from_box_to_box(text):
    picture = graph_picture(text)
    found = boxes(picture)
    drawn = [
        (box_at(x0, y0, found), box_at(x1, y1, found))
        for x0, y0, x1, y1 in (map(int, ends) for ends in CURVE.findall(picture))
    ]
    assert sorted(drawn) == sorted(ARROW.findall(text))
    assert all(found[start][1] > found[end][1] for start, end in drawn)


def test_boxes_neither_overlap_nor_leave_the_picture():
    picture = graph_picture(ROOMS)
    found = boxes(picture)
    assert set(found) == {name for arrow in ARROW.findall(ROOMS) for name in arrow}
    left, top, width, height = map(int, re.findall(r'viewBox="([-\d]+) (\d+) (\d+) (\d+)"', picture)[0])
    for x, y, w, h in found.values():
        assert left <= x <= x + w <= left + width
        assert top <= y <= y + h <= top + height
    for (x, y, w, _), (x1, y1, w1, _) in combinations(found.values(), 2):
        assert y != y1 or x + w < x1 or x1 + w1 < x


@pytest.mark.parametrize("text", ["graph BT\n", "graph BT\n  a --> b\n  a -.-> c\n"])
def test_what_it_cannot_draw_is_an_error(text):
    with pytest.raises(ValueError, match="arrows alone"):
        graph_picture(text)
