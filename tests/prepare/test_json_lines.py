"""JSON lines as tables."""

import gzip
from pathlib import Path

import pytest

from textclf_jax.errors import UserError
from textclf_jax.prepare.json_lines import read_json_lines
from textclf_jax.prepare.texts import ReadOptions, read_file


def read(*lines: str):
    table = read_json_lines(Path("a.jsonl"), [line + "\n" for line in lines])
    return table.names, list(table.records), table.notes


def test_keys_are_columns_and_values_stay_as_they_are_written():
    names, records, notes = read(
        '{"text": "a\\nb", "label": 1.50, "n": null}', "", '{"label": true, "text": "c", "tags": ["x", 2], "n": NaN}'
    )
    assert names == ["text", "label", "n", "tags"]
    assert records == [(1, ["a\nb", "1.50", "", ""]), (3, ["c", "true", "NaN", '["x", "2"]'])]
    assert notes == ["keys that not all of the 2 lines have: 'tags' (1)"]


def test_lone_halves_of_surrogates_become_signs_that_can_be_written():
    assert read('{"text": "\\ud83d!"}')[1] == [(1, ["\ufffd!"])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", "line 2: is no object.*jq -c"),
        ("{", "line 2: is no JSON"),
        ('"text"', "line 2: is no object"),
        ('{"text": "a", "text": "b"}', "line 2: has the key 'text' twice"),
        ("[" * 100_000, "line 2: is no JSON"),
    ],
)
def test_faults_are_named(line, message):
    with pytest.raises(UserError, match=message):
        read('{"text": "a"}', line)


def test_files_of_json_lines(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"body": "one", "kind": "x"}\n{"body": "two", "kind": null}\n'))
    file = read_file(path, ReadOptions(text_column="body", label_column="kind"))
    assert [(row.text, row.label, row.line) for row in file.rows] == [("one", "x", 1), ("two", None, 2)]
    with pytest.raises(
        UserError, match=r"has no column 'text'\. It has: 'body', 'kind'\. Choose one with --text-column"
    ):
        read_file(path, ReadOptions())
