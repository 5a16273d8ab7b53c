"""Whether quotation marks enclose fields, as the file tells."""

from pathlib import Path
from typing import Literal

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.quoting import Malformed, Survey, quotes_enclose, split_records


def speech(count: int, delimiter: str = "\t") -> list[str]:
    """Direct speech of three sentences, a sentence and its label a line."""
    sentences = [('"I am tired {}.', 0), ("I want to go home {}.", 1), ('Nobody listens {}."', 0), ("He left {}.", 1)]
    rows = [f"{text.format(i)}{delimiter}{label}\n" for i in range(count) for text, label in sentences]
    return [f"text{delimiter}label\n", *rows]


def decide(lines: list[str], delimiter: str = ",", quoting: Literal["auto", "on"] = "auto"):
    return quotes_enclose(Path("a.csv"), Survey.of(lines, 0, delimiter), quoting)


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_marks_that_would_join_rows_are_plain(delimiter):
    """What looks like 20 well-formed rows are 40: the second half of each joined row is a row by itself."""
    lines = speech(10, delimiter)
    survey = Survey.of(lines, 0, delimiter)
    assert (survey.enclosing.rows, survey.plain.rows, survey.joined) == (20, 40, 10)
    enclose, note = decide(lines, delimiter)
    assert not enclose
    assert "from line 2 on, and 40 rows would be 20" in note
    assert decide(lines, delimiter, "on") == (True, decide(lines, delimiter, "on")[1])
    assert "line 2" in decide(lines, delimiter, "on")[1]


@pytest.mark.parametrize(
    "text",
    [
        'text,label\n"one, two\nthree",a\nfour,b\n',  # a space after a comma that ends no field
        'text,label\n"one\n\ntwo",a\n',
        'text,label\n"one,two\nthree",a\n"four,five",b\n"six ""7""",b\n',  # the first row alone could be two
        '"text","label"\n"one, two\nthree","a"\n"four, five\nsix","a"\n',  # all fields enclosed
        'text\n"one, two\nthree"\nfour\n',
        'text\n"one\n\ntwo"\nfour\n',
        'label\ttext\na\t"one\ntwo"\n',
    ],
)
def test_line_breaks_within_fields_are_kept(text):
    delimiter = "\t" if "\t" in text else ","
    enclose, note = decide(lines_of(text), delimiter)
    assert enclose
    assert "line breaks within quotation marks (first: line" in note


def test_marks_within_lines_are_no_matter():
    assert decide(lines_of('text,label\n"one",a\nit is "two",b\n"a, b",a\n')) == (True, "")


@pytest.mark.parametrize(
    "text",
    [
        'text\n"one\ntwo"\nthree\n',
        'text, label\n"one, a\ntwo", a\n',
        'text,label\n"one,a\ntwo",a\n',
        "".join(speech(1, ",")),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text):
    with pytest.raises(
        UserError, match=r"--quoting on\), the file has \d rows.*--quoting off\), it is \d rows"
    ) as caught:
        decide(lines_of(text))
    assert "a.csv line 2" in str(caught.value)
    assert decide(lines_of(text), quoting="on")[0]


def test_a_stray_delimiter_does_not_make_joined_rows_sound():
    lines = speech(10)
    lines[2] = "I want\tto go home 0.\t1\n"  # within the first joined row
    with pytest.raises(UserError, match=r"20 rows.*not well-formed \(line 3: has 3 fields"):
        decide(lines, "\t")


def test_a_mark_that_swallows_rows_is_refused():
    """It closes where a later text has a mark too; elsewhere in the file marks enclose fields."""
    rows = ['"one, two",a\n'] * 9
    lines = ["text,label\n", *rows, '"never closed,b\n', "three,a\n", "four,b\n", 'a last",a\n', *rows[:4]]
    with pytest.raises(UserError, match=r"line 11: .*the file has 14 rows.*line 2: has 3 fields.*mend that line"):
        decide(lines)
    assert decide(lines, quoting="on")[0]


def test_marks_after_a_space_enclose_nothing_and_that_is_said():
    note = "2 fields keep their quotation marks, since a space stands before the first (line 2)"
    assert decide(lines_of('text, label\na, "x"\n"b, c", "y"\n')) == (True, note)
    with pytest.raises(UserError, match=r"line 2: has 3 fields.*a quotation mark after a space encloses nothing"):
        decide(lines_of('label, text\na, "b, c"\n'))


def test_marks_that_never_close_are_plain():
    enclose, note = decide(lines_of('text,label\nan "odd" one,a\n"never,b\nlast,a\n'))
    assert not enclose
    assert "line 3: this row is not well-formed: it opens a quotation mark that never closes" in note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('text,label\n"a, b",1\n"c" d,1\n', "line 3: .*more text after a closing.*as plain .*line 2: has 3 fields"),
        ('text,label\n"a ""b""",1\n"c" d,1\n', "line 3: .*pass|line 3: .*--quoting off"),
        ('"text","label"\n"a","1"\n"c" d,"1"\n', "line 3: .*--quoting off"),
        ('text,label\n"a \\"b\\" c",1\n', "line 2: .*a backslash before it means nothing"),
    ],
)
def test_damaged_rows_among_enclosed_ones_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        decide(lines_of(text))


def test_records_and_their_lines():
    lines = lines_of('a,b\n"x\ny",1\nz,2\n\n')
    assert list(split_records(lines, 0, ",", enclose=True)) == [
        (0, 1, ["a", "b"], lines[:1]),
        (1, 3, ["x\ny", "1"], lines[1:3]),
        (3, 4, ["z", "2"], lines[3:4]),
    ]
    with pytest.raises(Malformed, match=r"line 2: has 1 field, but the header has 2 \(a, b\)"):
        list(split_records(lines, 0, ",", enclose=False))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'text,label\n"a \\"b\\", c",pos\n',
            'a backslash before it means nothing: write "" for each \\\\" in the file',
        ),
        ('id, text, label\n1, "a, b", pos\n', "encloses nothing: remove the spaces before the marks"),
        ("text,label\na, b,pos\n", r"if a text has commas in it, enclose it in .*, or separate fields by tabs \(tsv\)"),
        (
            "text\tlabel\na\tb\tpos\n",
            "if a text has tabs in it, enclose it in quotation marks, or write them as spaces",
        ),
    ],
)
def test_what_helps_is_said(text, message):
    delimiter = "\t" if "\t" in text else ","
    records = split_records(lines_of(text), 0, delimiter, enclose=True)
    with pytest.raises((UserError, Malformed), match=message):
        list(records if '"' not in text else [decide(lines_of(text), delimiter)])


def test_a_space_within_an_enclosed_field_stands_before_no_mark():
    assert decide(lines_of('text,label\n" ""x"" ",a\n"a, b",b\n')) == (True, "")


def test_joined_rows_with_blank_lines_are_not_decided_by_chance():
    lines = [line for row in speech(10) for line in (row, "\n")]
    with pytest.raises(UserError, match=r"--quoting on.*--quoting off"):
        decide(lines, "\t")
