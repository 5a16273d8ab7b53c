"""Cells with several labels: read by a separator, and pointed out where none is given."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.prepare.label_sets import JSON, CellReader, as_list, cell_of, find_lists, look_at_separator

PATH = Path("a.csv")


@pytest.mark.parametrize(
    ("separator", "cell", "labels"),
    [
        ("|", "b | a", ("a", "b")),
        ("|", "one", ("one",)),
        ("|", "", None),
        ("|", "||", None),
        ("|", "a||b|", ("a", "b")),
        ("|", "a|a| a ", ("a",)),
        (".*", "a.*b", ("a", "b")),  # no pattern
        ("||", "a|b||c", ("a|b", "c")),
        (" ", "a  b", ("a", "b")),
        ("|", "cafe\u0301|caf\u00e9", ("caf\u00e9",)),
        ("|", "[b]|[a]", ("[a]", "[b]")),
        (JSON, '["b", "a, b", "\\u00e9"]', ("a, b", "b", "é")),
        (JSON, "['b', \"it's\", 'c']", ("b", "c", "it's")),
        (JSON, "[1, 2.50, -3]", ("-3", "1", "2.50")),
        (JSON, "[sport, money]", ("money", "sport")),
        (JSON, "[ 'b' , 'a', ]", ("a", "b")),
        (JSON, "[]", None),
        (JSON, '["  "]', None),
    ],
)
def test_cells(separator, cell, labels):
    assert CellReader(PATH, separator).read(cell, 2) == labels


@pytest.mark.parametrize(
    "cell", ["a", "a|b", "['a' 'b']", "[1 2]", '["a"', '{"a": 1}', "[[1]]", "[" * 9999, f"[{' ' * 9999}?]", "'a'"]
)
def test_what_is_no_list_is_refused(cell):
    assert as_list(cell) is None
    with pytest.raises(UserError, match=r"a\.csv line 7: the label cell .* is no list such as"):
        CellReader(PATH, JSON).read(cell, 7)


@given(st.lists(st.text("ab1é |,[]'\"\\\n\u2028", min_size=1).map(str.strip).filter(bool), unique=True))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_json_and_python_lists_are_read_back(names):
    assert as_list(json.dumps(names)) == names
    assert as_list(json.dumps(names, ensure_ascii=False)) in (names, None)  # None: control characters
    if not any(set(name) & set("'\"\\") or not name.isprintable() for name in names):
        assert as_list(str(names)) == names
    assert as_list(cell_of(names, JSON) or "[]") == names


def test_what_is_odd_about_cells_is_told():
    reader = CellReader(PATH, "|")
    for line, cell in enumerate(["a|b", "a||b", "b|", "a", "b|b"], start=2):
        reader.read(cell, line)
    assert list(reader.notes()) == [
        "label cells that name a label more than once (it counts once): 1 (first: line 6)",
        "label cells that have nothing between two separators, or beside one (skipped): 2 (first: line 3)",
    ]
    spaces = CellReader(PATH, " ")
    spaces.read("a  b", 2)
    assert list(spaces.notes()) == []


def test_lists_that_are_not_to_be_read_as_such_are_refused():
    reader = CellReader(PATH, ",")
    for cell in ["['a', 'b']", "['b']", "[]", "['c', 'a']"]:
        reader.read(cell, 2)
    with pytest.raises(UserError, match=r"a\.csv: most label cells are lists .*: 3 of 4\. Pass --label-separator json"):
        list(reader.notes())
    names = CellReader(PATH, "|")
    for cell in ["[NEWS]", "[SPORT]", "[NEWS]|[SPORT]"]:
        names.read(cell, 2)
    assert list(names.notes()) == []


# --- lists that are not asked for -------------------------------------------------------------------------------


def counts(*labels: str) -> Counter[str]:
    return Counter(labels * 4)


@pytest.mark.parametrize(
    ("labels", "separator", "parts"),
    [
        (("a|b", "b|c", "a|c"), "|", ["a", "b", "c"]),
        (("a", "b", "c", "a;b", "a; c"), ";", ["a", "b", "c"]),
        (("sport", "money", "sport,money", "film", "film, sport"), ",", ["sport", "film", "money"]),
        (("1,5,7", "1,5", "7", "5"), ",", ["1", "5", "7"]),
        (("['a']", "['a', 'b']", "[]"), JSON, ["a", "b"]),
        (('["a", "b"]', '["b"]'), JSON, ["b", "a"]),
    ],
)
def test_lists_are_found(labels, separator, parts):
    found = find_lists(counts(*labels))
    assert found is not None
    assert (found.separator, found.parts) == (separator, parts)
    assert f"pass --label-separator '{separator}'." in str(found)


@pytest.mark.parametrize(
    "labels",
    [
        ("science, technology", "arts, culture", "sport"),
        ("science, technology", "science fiction, fantasy", "technology", "sport"),
        ("Paris, France", "Lyon, France", "Rome, Italy", "Milan, Italy", "Bern"),
        ("1,5", "2,5", "1,0", "2,0", "3,5"),
        ("1,000", "1,500", "2,000", "2,500"),
        ("a|b", "c"),
        ("pos", "neg", "neutral"),
        ("[NEWS]", "[SPORT]"),
        ("news|sport", "blog|food", "forum|cars"),
        (),
    ],
)
def test_no_alarm_at_names_of_one_class(labels):
    assert find_lists(counts(*labels)) is None


def test_a_few_lists_are_no_alarm():
    assert find_lists(Counter({"a": 500, "b": 400, "a|b": 9})) is None
    found = find_lists(Counter({"a": 50, "b": 40, "a|b": 10}))
    assert found is not None
    assert (found.rows, found.example) == (10, "a|b")


def test_a_separator_that_never_occurs():
    assert list(look_at_separator([("a", "b"), ("a",)], "|")) == []
    (note,) = look_at_separator([("a",), ("b",), ()], "|")
    assert "With --label-separator '|' no row to train on has several labels" in note
    with pytest.raises(UserError, match=r"--label-separator '\|' is in no label. In 12 rows .* '; '|';'"):
        list(look_at_separator([("a;b",), ("b;c",), ("a;c",)] * 4, "|"))
