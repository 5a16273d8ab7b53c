"""Reading rows of text."""

import gzip

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions, read_rows


def rows_of(tmp_path, raw, name="a.csv", **options):
    path = tmp_path / name
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return [(row.text, row.label, row.line) for row in read_rows(path, ReadOptions(**options))]


def refused(tmp_path, raw, message, name="a.csv", **options):
    with pytest.raises(UserError, match=message) as caught:
        rows_of(tmp_path, raw, name, **options)
    assert str(tmp_path / name) in str(caught.value)


def test_quotes_line_breaks_and_line_numbers(tmp_path):
    raw = 'label,text,id\r\npos,"He said ""no"",\nthen left",1\r\nneg, plain 🦄 ,2\r\n\r\n'
    expected = [('He said "no",\nthen left', "pos", 2), ("plain 🦄", "neg", 4)]
    assert rows_of(tmp_path, raw) == expected
    assert rows_of(tmp_path, b"\xef\xbb\xbf" + raw.encode()) == expected
    assert rows_of(tmp_path, gzip.compress(raw.encode()), "a.CSV.gz") == expected


def test_columns(tmp_path):
    raw = "body,class,label\nhello,a,b\n"
    assert rows_of(tmp_path, raw, text_column="body") == [("hello", "b", 2)]
    assert rows_of(tmp_path, raw, text_column="body", label_column="class") == [("hello", "a", 2)]
    assert rows_of(tmp_path, "text\nhello\n") == [("hello", None, 2)]
    refused(tmp_path, raw, "no column 'text'. Its first line names: 'body', 'class', 'label'. .*--text-column")
    refused(tmp_path, raw, "no column 'kind'.*--label-column", text_column="body", label_column="kind")
    refused(tmp_path, "text,text\na,b\n", "several columns 'text'")


def test_tabs_and_plain_quotation_marks(tmp_path):
    raw = 'text\tlabel\n"odd" one\t1\nan "unclosed\t0\n'
    expected = [('"odd" one', "1", 2), ('an "unclosed', "0", 3)]
    assert rows_of(tmp_path, raw, "a.tsv", quoting="off") == rows_of(tmp_path, raw, "a.tsv") == expected
    refused(tmp_path, raw, "line 2: this row is not well-formed.*--quoting off", "a.tsv", quoting="on")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("text,label\n", "has no rows"),
        ("", "is empty"),
        ("text,label\na,1\nb\n", r"line 3: has 1 fields, but the header has 2 \(text, label\)"),
        ("text,label\na,1\nb,c,2\n", "line 3: has 3 fields"),
        ("text,label\na,1\n\nb,2\n", "line 3: is blank, in the middle"),
        ('text,label\na,1\n"b,2\nc,3,4\n', "line 3: this row is not well-formed.*line 4: has 3 fields"),
        (b"text\na\n\xff\n", "line 3: byte 1 is not UTF-8"),
        (b"text\na\0b\n", "line 2: has a NUL byte"),
        (bytes(range(256)), "NUL byte"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, raw, message):
    refused(tmp_path, raw, message)


def test_very_long_field(tmp_path):
    assert len(rows_of(tmp_path, "text\n" + "word " * 100_000 + "\n")[0][0]) == 499_999


TXT = "One line\nand one more.\n\nSecond\n   \nthird\n\n\nOther document\n"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("line", [(1, "One line"), (2, "and one more."), (3, ""), (4, "Second")]),
        ("paragraph", [(1, "One line and one more."), (4, "Second"), (6, "third"), (9, "Other document")]),
        ("document", [(1, "One line and one more.\n\nSecond\n\nthird"), (9, "Other document")]),
    ],
)
def test_units_of_txt(tmp_path, unit, expected):
    rows = rows_of(tmp_path, TXT, "a.txt", text_unit=unit)
    assert [(line, text) for text, _, line in rows][:4] == expected
    assert rows == rows_of(tmp_path, TXT.replace("\n", "\r\n"), "a.txt", text_unit=unit)
    assert {label for _, label, _ in rows} == {None}


def test_unknown_endings(tmp_path):
    refused(tmp_path, "text", "neither .csv, .tsv nor .txt", "a.json")
    refused(tmp_path, "text", "neither .csv, .tsv nor .txt", "a.gz")
