"""Columns that look like labels."""

import pytest

from textclf_jax.prepare.label_columns import Columns


def likely(names: list[str], rows: list[list[str]]) -> list[str]:
    columns = Columns(names, 0)
    for row in rows:
        columns.add(row)
    return columns.like_labels()


@pytest.mark.parametrize("name", ["Label", "CLASS", "category_id", "airlineSentiment", "y", "gold label", "target"])
def test_by_name(name):
    assert likely(["text", "id", name], [["a", "1", "x"]]) == [name]


def test_by_few_repeated_values():
    rows = [[f"text {i}", str(i), "ham" if i % 3 else "eggs", "en" if i % 2 else "de", "same"] for i in range(40)]
    assert likely(["text", "number", "Kategorie", "lang", "constant"], rows) == ["Kategorie"]
    assert likely(["text", "number", "Kategorie", "lang", "constant"], rows[:10]) == []


def test_texts_and_other_columns_are_none():
    assert likely(["class text", "title", "date"], [[f"a {i}", f"b {i}", f"2020-01-{i % 28}"] for i in range(90)]) == []
    assert likely(["text", "note"], [["a", "long " * 20 + str(i % 2)] for i in range(40)]) == []
