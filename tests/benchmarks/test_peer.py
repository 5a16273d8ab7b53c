"""The peer's session, which on a GPU does one row after the other."""

import dataclasses

import pytest

from benchmarks.cases import Case
from benchmarks.synthetic import write_data

TINY = Case("tiny", "training", "tiny", 2, 16, median_length=10, spread=0.3, rows=32)
PLAIN, AUTOCAST = "float32", "bfloat16 autocast"


def test_a_session_starts_anew_for_other_work_alone(tmp_path):
    pytest.importorskip("transformers")
    from benchmarks.peer import Session

    write_data(TINY, tmp_path / "data")
    session, case, folder = Session(), dataclasses.asdict(TINY), str(tmp_path / "data")
    assert session.clear() == {}
    session.start(case, folder, PLAIN)
    tokens, model = session.take(2)["tokens"], session.model
    assert tokens > 0
    session.start(case, folder, PLAIN)
    assert session.model is model
    session.start(case, folder, AUTOCAST)
    assert session.model is not model
    session.clear()
    assert vars(session) == {}
    session.start(case, folder, PLAIN)
    assert session.take(2)["tokens"] == tokens
