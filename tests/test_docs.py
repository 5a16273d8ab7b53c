"""What the pages say about the code: links, files and names exist, and the picture of the rooms is true."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_import_directions import ALLOWED

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
# a changelog names what no longer is
HISTORY = {"CHANGELOG.md"}
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LIVING = [page for page in PAGES if page.name not in HISTORY]

LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"`([\w/]+\.py)(?:::([\w.]+))?`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"^ +(\w+) --> (\w+)$", re.MULTILINE)


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The links of a page to files or headings that do not exist."""
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def defined(file: Path) -> set[str]:
    """The functions, classes and methods of a module, methods as Class.method."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
    return names


def unknown_names(text: str) -> list[str]:
    """Files and names of code, as `file.py` or `file.py::name`, that do not exist."""
    unknown = []
    for path, name in NAME.findall(text):
        files = [folder / path for folder in (ROOT / "textclf_jax", ROOT) if (folder / path).is_file()]
        if not files or (name and name not in defined(files[0])):
            unknown.append(f"{path}::{name}")
    return unknown


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", LIVING, ids=label)
def test_named_code_exists(page):
    assert unknown_names(page.read_text(encoding="utf-8")) == []


def test_the_picture_of_the_rooms_is_that_of_the_imports():
    """It shows each import that does not follow from two others."""
    drawn: dict[str, set[str]] = {room: set() for room in ALLOWED if room}
    for above, below in ARROW.findall(ARCHITECTURE.read_text(encoding="utf-8")):
        drawn[above].add(below)

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(below) for below in ALLOWED[room]))

    for room, below in drawn.items():
        implied = {other for other in ALLOWED[room] if any(other in reached(b) for b in ALLOWED[room] - {other})}
        assert below == ALLOWED[room] - implied, room


def test_the_table_of_rooms_has_all_of_them():
    rooms = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rooms == [room for room in ALLOWED if room]


def test_the_checks_see_what_they_look_for(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title: one + two\n[a](#a-title-one--two) [b](#no) [c](page.md#no) [d](gone.md) [e](https://x)\n"
    )
    assert broken_links(page) == ["#no", "page.md#no", "gone.md"]
    known = "`training/fit.py::fit` `data/collate.py::Bucketed.epoch` `tests/test_docs.py` "
    assert unknown_names(known + "`training/fit.py::fat` `data/collate.py::Bucketed.fit` `gone.py`") == [
        "training/fit.py::fat",
        "data/collate.py::Bucketed.fit",
        "gone.py::",
    ]
