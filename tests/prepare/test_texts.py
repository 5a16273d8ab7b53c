"""Reading rows of text."""

import csv
import gzip
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions, read_file, refuse_unused


def rows_of(tmp_path, raw, name="a.csv", **options):
    path = tmp_path / name
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return [(row.text, row.label, row.line) for row in read_file(path, ReadOptions(**options)).rows]


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
        (b"\xff\xfe", "has no rows"),
        (gzip.compress(b"", mtime=0), "has no rows"),
        ("text,label\na,1\nb\n", r"line 3: has 1 field, but the header has 2 \(text, label\)"),
        ("text,label\na,1\nb,c,2\n", "line 3: has 3 fields"),
        ("text\na\n\nb\n", "line 3: is blank, in the middle of a table of one column: leave it out, or write"),
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
    refused(tmp_path, "text", "neither .csv, .tsv, .jsonl nor .txt", "a.json")
    refused(tmp_path, "text", "neither .csv, .tsv, .jsonl nor .txt", "a.gz")


def test_encodings_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nwéird,1\n".encode("utf-16"))
    file = read_file(path, ReadOptions())
    assert ([row.text for row in file.rows], file.notes) == (["wéird"], ["it is UTF-16, as its byte order mark tells"])
    path.write_bytes("text,label\nwéird,1\n".encode("utf-16-le"))
    refused(tmp_path, path.read_bytes(), "UTF-16LE without a byte order mark, name it, for example --encoding UTF-16LE")
    assert rows_of(tmp_path, path.read_bytes(), encoding="utf-16-le") == [("wéird", "1", 2)]
    raw = "text,label\nwéird,1\n".encode("cp1252")
    refused(tmp_path, raw, "line 2: byte 2 is not UTF-8.*--encoding WINDOWS-1252")
    assert rows_of(tmp_path, raw, encoding="Windows-1252") == [("wéird", "1", 2)]
    path.write_text("text,label\nwéird,1\n", encoding="utf-8")
    assert "it is valid UTF-8 too" in read_file(path, ReadOptions(encoding="cp1252")).notes[0]


def test_carriage_returns_in_txt(tmp_path):
    assert [text for text, _, _ in rows_of(tmp_path, "one\rtwo\r\rthree\r", "a.txt")] == ["one", "two", "", "three"]
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\rthree\nfour\n")
    file = read_file(path, ReadOptions())
    assert [row.text for row in file.rows] == ["one", "two\rthree", "four"]
    said = "1 carriage returns (\\r) within lines are spaces (first: line 2). If they end lines, write a new file: "
    assert file.notes == [f"{said}tr '\\r' '\\n' < a.txt"]
    zipped = tmp_path / "b c.txt.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read_file(zipped, ReadOptions()).notes == [f"{said}gzip -dc 'b c.txt.gz' | tr '\\r' '\\n'"]


@pytest.mark.parametrize(
    ("names", "unused"),
    [
        (["a.csv"], {"text_unit": "line"}),
        (["a.txt", "b.TXT.gz"], {"text_column": "text", "label_column": "b", "quoting": "auto", "delimiter": ","}),
        ([], {"text_column": "t", "delimiter": ",", "quoting": "on", "encoding": "utf-8", "text_unit": "line"}),
        (["a.txt", "b.TSV"], {}),
        (["a.jsonl.gz", "a.txt"], {"quoting": "on", "delimiter": ","}),
        (["a.parquet"], {"quoting": "on", "delimiter": ",", "encoding": "utf-8", "text_unit": "line"}),
    ],
)
def test_options_that_no_file_has_a_use_for_are_refused(names, unused):
    paths = [Path(name) for name in names]
    given = {"text_column": "t", "label_column": "l", "quoting": "off", "delimiter": ",", "encoding": "latin-1"}
    given = {"text_unit": "document", **given, **unused}
    for name, value in given.items():
        options = ReadOptions(**{name: value})
        if name in unused or not paths:
            with pytest.raises(UserError, match=f"--{name.replace('_', '-')} says how .*files are read.* leave it out"):
                refuse_unused(options, paths)
        else:
            refuse_unused(options, paths)
    refuse_unused(ReadOptions(), paths)


def test_labels_that_are_not_needed(tmp_path):
    path = tmp_path / "a.csv"
    for raw in ("text,label,label\na,b,c\n", "text\na\n"):
        path.write_text(raw)
        assert read_file(path, ReadOptions(label_column="kind"), needs_labels=False).rows[0].label is None
        with pytest.raises(UserError, match="--label-column"):
            read_file(path, ReadOptions(label_column="kind"))
    assert rows_of(tmp_path, "text,label\na, \nb,x\n") == [("a", None, 2), ("b", "x", 3)]


FIELDS = st.text(st.sampled_from("ab ,;\t|\"'\n\r\\é中\u2028\x85\u0301\ufeff"), max_size=12)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])


def check_read(raw: bytes, suffix: str, expected: list[str], records: list[list[str]]) -> None:
    """Checks that a table is read as it was written, or refused with a flag or command that helps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(raw)
        file, said = None, ""
        try:
            file = read_file(path, ReadOptions(), keep_records=True)
        except UserError as error:
            said = str(error)
    if file is None:
        event("refused")
        assert any(remedy in said for remedy in ("--quoting", "--delimiter", "tr ", "fields")), said
        return
    assert [row.text for row in file.rows] == expected
    assert file.records == records


@given(
    names=st.permutations(["id", "text", "label"]),
    rows=st.lists(st.tuples(FIELDS, FIELDS, st.sampled_from(["x", "y", "a b"])), min_size=1, max_size=4),
    delimiter=st.sampled_from(",;\t|"),
    suffix=st.sampled_from([".csv", ".tsv"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=ENCODINGS,
)
@settings(deadline=None, derandomize=True, max_examples=30)
def test_strangers_written_by_csv(names, rows, delimiter, suffix, quoting, encoding):
    """Every dialect: fields with delimiters, quotation marks, line breaks."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    records = [[dict(zip(("id", "text", "label"), row, strict=True))[name] for name in names] for row in rows]
    writer.writerows([names, *records])
    check_read(stream.getvalue().encode(encoding), suffix, [text.strip() for _, text, _ in rows], records)


@given(
    texts=st.lists(st.sampled_from(['"Oh', "she said", 'no"', 'a "b" c', 'it"', "", " é "]), min_size=1, max_size=12),
    delimiter=st.sampled_from("\t,"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=ENCODINGS,
)
@settings(deadline=None, derandomize=True, max_examples=30)
def test_strangers_written_plainly(texts, delimiter, end, encoding):
    """Quotation marks that are plain characters never join rows."""
    records = [[text, "xy"[i % 2]] for i, text in enumerate(texts)]
    raw = "".join(delimiter.join(record) + end for record in [["text", "label"], *records])
    check_read(raw.encode(encoding), ".tsv", [text.strip() for text in texts], records)


def test_blank_lines_between_rows_are_skipped_and_counted(tmp_path):
    path = tmp_path / "a.csv"
    for raw, lines in (
        ("text,label\n\none,a\n\n  \ntwo,b\n\n", [3, 6]),
        ('\r\ntext,label\r\none,a\r\n\r\n"two\r\n\r\nthree",b\r\n\r\n', [3, 5]),
    ):
        path.write_bytes(raw.encode())
        file = read_file(path, ReadOptions())
        assert [row.line for row in file.rows] == lines
        assert [row.label for row in file.rows] == ["a", "b"]
        (note,) = (note for note in file.notes if "blank" in note)
        number = 3 if lines == [3, 6] else 2
        assert note == f"{number} blank lines between rows were skipped (first: line {2 if number == 3 else 1})"
    assert rows_of(tmp_path, "text\na\n \nb\n\n") == [("a", None, 2), ("", None, 3), ("b", None, 4)]
    assert rows_of(tmp_path, 'text\na\n""\nb\n')[1] == ("", None, 3)
    assert rows_of(tmp_path, "text\tlabel\na\tx\n\t\nb\ty\n", "a.tsv")[1] == ("", None, 3)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    st.lists(st.tuples(st.text(st.sampled_from('ab ,"\n'), max_size=6), st.sampled_from("xy")), min_size=1, max_size=5),
    st.lists(st.integers(0, 2), min_size=5, max_size=5),
)
def test_strangers_blank_lines_change_nothing_but_line_numbers(rows, gaps):
    with tempfile.TemporaryDirectory() as folder:
        read = []
        for extra in ([0] * 5, gaps):
            stream = io.StringIO(newline="")
            for row, gap in zip([("text", "label"), *rows], [*extra, 0], strict=False):
                csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(row)
                stream.write("\n" * gap)
            Path(folder, "a.csv").write_text(stream.getvalue())
            file = read_file(Path(folder, "a.csv"), ReadOptions())
            read.append([(row.text, row.label) for row in file.rows])
        assert read[0] == read[1] == [(text.strip(), label) for text, label in rows]
        between = sum(gaps[: len(rows)])
        assert bool(between) == any(note.startswith(f"{between} blank line") for note in file.notes)


def test_a_name_that_promises_gzip_is_told(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_text("text,label\none,a\n")
    assert read_file(path, ReadOptions()).notes == [
        "its name ends in .gz, but it is not compressed: it was read as plain text"
    ]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_file(path, ReadOptions()).notes == []
