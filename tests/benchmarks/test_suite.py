"""The suite with tiny models: what it does with failures and a missing peer; one case with both sides."""

import pytest

from benchmarks import cases, rounds, suite
from benchmarks.bench import Bench, new_row
from benchmarks.cases import Case
from benchmarks.suite import measure
from benchmarks.worker import WorkerFailed

TINY = Case("tiny", "training", "tiny", 2, 16, median_length=10, spread=0.3, rows=32, rounds=2)


@pytest.fixture
def short_rounds(monkeypatch):
    monkeypatch.setitem(rounds.ROUND_SECONDS, "cpu", 0.05)


def test_both_sides_train(tmp_path, short_rounds, monkeypatch):
    pytest.importorskip("transformers")
    for name in ("float32 compiled", "bfloat16 autocast compiled"):
        monkeypatch.delitem(cases.PEER_MODES, name)
    with Bench("cpu", tmp_path / "bench") as bench:
        row = measure(bench, TINY)
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer"])
    assert 0 < row["limit_share"] < 1
    assert 0 < row["padding_waste"] < 1
    assert min(row["peak_mb"], row["peer_peak_mb"]) > 50
    assert row["peer_mode"] in cases.PEER_MODES
    assert "note" not in row


def test_our_figures_do_not_need_the_peer(tmp_path, short_rounds):
    with Bench("cpu", tmp_path / "bench", has_peer=False) as bench:
        row = measure(bench, TINY)
    assert row["ours"] > 0
    assert (row["peer"], row["ratio"]) == (None, None)
    assert row["note"] == "no peer: transformers is not installed"


def test_a_failure_leaves_an_empty_row_with_a_note(tmp_path, monkeypatch):
    def fail(bench, case, *, with_peer):
        raise WorkerFailed("take died: out of memory")

    monkeypatch.setattr(suite, "measure_rounds", fail)
    row = measure(Bench("cpu", tmp_path / "bench"), TINY)
    assert (row["ours"], row["note"]) == (None, "failed: take died: out of memory")


def test_another_row_may_lend_its_peer(tmp_path, monkeypatch):
    asked = []

    def measured(bench, case, *, with_peer):
        asked.append(with_peer)
        return new_row(case) | {"ours": 30.0}

    monkeypatch.setattr(suite, "measure_rounds", measured)
    lender = new_row(TINY) | {"row": "exact", "peer": 10.0, "peer_peak_mb": 7.0, "peer_mode": "float32"}
    row = measure(Bench("cpu", tmp_path / "bench"), TINY, lender)
    assert (row["ratio"], row["peer_peak_mb"], row["note"]) == (3.0, 7.0, "the peer's figures are exact's")
    assert row["peer_mode"] == "float32"
    assert asked == [False]
