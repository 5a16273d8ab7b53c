"""Parquet files: with pyarrow where it is installed, and what is said where it is not."""

import datetime
import re
import sys

import pytest

from textclf_jax.errors import UserError
from textclf_jax.extras import install_line
from textclf_jax.prepare.texts import ReadOptions, read_file


def test_without_pyarrow_the_message_names_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=rf"a\.parquet: .* needs pyarrow.*{re.escape(install_line('parquet'))}"):
        read_file(path, ReadOptions())


def test_a_table_is_read_as_its_csv_would_be(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    columns = {
        "text": ["a, b", None, "c\nd"],
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
        "n": [1, None, 3],
        "score": [0.5, float("nan"), 2.0],
        "when": [datetime.date(2026, 1, 2)] * 3,
        "tags": [["p", "q"], [], None],
    }
    parquet.write_table(pa.table(columns), path)
    file = read_file(path, ReadOptions(), keep_records=True)
    assert [(row.text, row.label, row.line) for row in file.rows] == [("a, b", "x", 1), ("", "y", 2), ("c\nd", "x", 3)]
    assert file.records[0] == ["a, b", "x", "1", "0.5", "2026-01-02", '["p", "q"]']
    assert file.records[1][2:] == ["", "", "2026-01-02", "[]"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read as parquet"):
        read_file(path, ReadOptions())
    parquet.write_table(pa.table({"text": [b"\xff"]}), path)
    with pytest.raises(UserError, match="'text' holds bytes"):
        read_file(path, ReadOptions())
