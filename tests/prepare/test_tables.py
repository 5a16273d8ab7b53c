"""Delimiters, line ends and columns of tables."""

from pathlib import Path

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.tables import find_column, read_table


def read(text: str, default: str = ",", delimiter: str | None = None, column: str = "text"):
    """Column names, records and notes."""
    lines = text.splitlines(keepends=True) if "\r" not in text else [line + "\n" for line in text.split("\n")[:-1]]
    table = read_table(Path("a.csv"), lines or [text], (column, "--text-column"), delimiter, default, "auto")
    return table.names, list(table.records), table.notes


EXPECTED = (["text", "label"], [(2, ["a", "1"])])


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("default", [",", "\t"])
def test_delimiters_are_found(delimiter, default):
    names, records, notes = read(f"text{delimiter}label\na{delimiter}1\n", default)
    assert (names, records) == EXPECTED
    assert bool(notes) == (delimiter != default)
    assert all("--delimiter decides" in note for note in notes)


def test_the_line_of_excel_names_the_delimiter():
    assert read("sep=;\ntext;label\na, b;1\n")[:2] == (["text", "label"], [(3, ["a, b", "1"])])
    assert read('"sep=^"\r\ntext^label\r\na^1\r\n')[1] == [(3, ["a", "1"])]


def test_other_delimiters_are_named():
    assert read("text:label\na:1\n", delimiter=":")[:2] == EXPECTED
    with pytest.raises(UserError, match=r"Its first line names: 'text:label'\. .*--delimiter"):
        read("text:label\na:1\n")
    with pytest.raises(UserError, match="comma or semicolon: say which with --delimiter"):
        read("a,text,b;text;c\n1,2,3;4;5\n", "\t")


def test_a_delimiter_in_a_name_changes_nothing():
    assert read("text,a;b\nx,1\n")[0] == ["text", "a;b"]
    assert read("id;text,more;label\n1;a,b;2\n", column="text,more")[0] == ["id", "text,more", "label"]


def test_carriage_returns_that_end_lines():
    assert read("text,label\ra,1\rb,2\r\n")[1] == [(2, ["a", "1"]), (3, ["b", "2"])]
    assert read("text,label\r\r\na,1\r\r\n")[:2] == EXPECTED
    names, records, notes = read('"text","label"\r"a\rb","1"\r\n')
    assert (names, records) == (["text", "label"], [(2, ["a\rb", "1"])])
    assert "lines end with a carriage return (\\r)" in notes


def test_carriage_returns_within_texts():
    _, records, notes = read('text,label\nline one\rline two,1\n"a\rb",2\n')
    assert records == [(2, ["line one\rline two", "1"]), (3, ["a\rb", "2"])]
    assert notes == ["2 lines have a carriage return (\\r) in them, which is kept within its text (first: line 2)"]
    for text in ("text,label\na,1\rb,2\n", "text\na\rb\n"):
        with pytest.raises(UserError, match=r"line 2: .*tr '\\r' '\\n' < a.csv.*tr '\\r' ' ' < a.csv"):
            read(text)


def test_names_of_columns():
    """Names that look the same are the same, however their accents are made up."""
    assert find_column(Path("a.csv"), ["e\u0301te\u0301", "b"], "été", "--flag") == 0
    with pytest.raises(UserError, match="Did you mean --flag 'Text'"):
        find_column(Path("a.csv"), ["Text", "b"], "text", "--flag")
    with pytest.raises(UserError, match="several columns 'été'"):
        find_column(Path("a.csv"), ["e\u0301te\u0301", "été"], "été", "--flag")
    with pytest.raises(UserError) as caught:
        find_column(Path("a.csv"), [f"column {i}" for i in range(10_000)], "text", "--flag")
    assert len(str(caught.value)) < 1000
