"""YAML 1.2 scalars, refused constructs, and line numbers."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.config.yaml_reader import MAX_BYTES, MAX_DEPTH, Unreadable, read_document, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("on", "on"),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("Null", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ('"null"', "null"),
        ("[1, on]", [1, "on"]),
        ("{a: 1.0}", {"a": 1.0}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    result = read_value(text)
    assert result == value
    assert type(result) is type(value)


def test_nan_is_a_number():
    assert math.isnan(read_value(".nan"))


def test_keys_stay_text_and_know_their_lines():
    document = read_document(b"# first\non: 1\n2:\n  null: {deep: 3}\n  list:\n  - a\n")
    assert document.data == {"on": 1, "2": {"null": {"deep": 3}, "list": ["a"]}}
    assert document.lines == {
        ("on",): 2,
        ("2",): 3,
        ("2", "null"): 4,
        ("2", "null", "deep"): 4,
        ("2", "list"): 5,
        ("2", "list", "0"): 6,
    }


def test_spans_cover_the_values():
    text = 'a: 1   # one\nb: "x y"\nc:\nd: {e: plain words}\n'
    spans = read_document(text.encode()).spans
    assert {path: text[start:end] for path, (start, end) in spans.items()} == {
        ("a",): "1",
        ("b",): '"x y"',
        ("c",): "",
        ("d", "e"): "plain words",
    }


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), 3, "first on line 1"),
        ("s:\n  k: 1\n  k: 2\n", ("s", "k"), 3, "first on line 2"),
        ("a: &x 1\n", ("a",), 1, "anchor &x"),
        ("a: *x\n", ("a",), 1, "alias *x"),
        ("a: 1\n<<: {b: 2}\n", ("<<",), 2, "merge key"),
        ("a: !!str 1\n", ("a",), 1, "tag"),
        ("a: !x 1\n", ("a",), 1, "tag"),
        ("a: |\n  x\n  y\n", ("a",), 1, "control characters"),
        ('a: "\\0"\n', ("a",), 1, "control characters"),
        ('a: "\\ud800"\n', ("a",), 1, "control characters"),
        ("a: " + "9" * 5000, ("a",), 1, "too large"),
        ("a: 0x" + "f" * 5000, ("a",), 1, "too large"),
    ],
)
def test_what_is_refused_is_collected_with_its_line(text, path, line, words):
    (problem,) = read_document(text.encode()).problems
    assert (problem.path, problem.line) == (path, line)
    assert words in problem.message


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", None, "empty"),
        (b"# only a comment\n", None, "empty"),
        (b"- 1\n", 1, "a list of 1"),
        (b"just words\n", 1, "the string"),
        (b"a: 1\n---\nb: 2\n", 2, "second document"),
        (b"a: [1, 2\n", 2, "not valid YAML"),
        (b"a: b: c\n", 1, "not valid YAML"),
        (b"a:\n\tb: 1\n", 2, "tab"),
        (b"a: 1\nb: \xff\n", 2, "0xff"),
        (b"a: 1\nb: \x00\n", 2, "U+0000"),
        (b"? [1]\n: 2\n", 1, "plain word"),
        (b'a: "\\UFFFFFFFF"\n', None, "not valid YAML"),
        (b"[" * 100_000, 1, f"more than {MAX_DEPTH} deep"),
        (b"a: " + b"{a: " * (MAX_DEPTH + 1), 1, f"more than {MAX_DEPTH} deep"),
        (b"a: " + b"x" * MAX_BYTES, None, "too many"),
    ],
)
def test_what_ends_the_reading(content, line, words):
    with pytest.raises(Unreadable) as caught:
        read_document(content)
    assert caught.value.problem.line == line
    assert words in caught.value.problem.message


def test_alias_bomb_stays_small():
    """Aliases are refused where they stand, never expanded."""
    rows = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 10)]
    document = read_document("\n".join(["l0: &l0 [x]", *rows]).encode())
    assert len(document.problems) == 10 + 9 * 9


YAML_LIKE = st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`# \n\t\\x01.~"), max_size=60).map(str.encode)


@settings(deadline=None)
@given(st.binary(max_size=80) | YAML_LIKE)
def test_any_bytes_are_read_or_refused(content):
    with suppress(Unreadable):
        assert isinstance(read_document(content).data, dict)
