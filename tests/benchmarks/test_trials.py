"""Trials of the peer's modes, with workers that only pretend to measure, and with the peer itself."""

import dataclasses
import json
import shutil

import pytest

from benchmarks import cases, report, waits
from benchmarks.bench import Bench, new_row
from benchmarks.cases import PEER_MODES, Case
from benchmarks.suite import measure
from benchmarks.synthetic import write_data
from benchmarks.trials import TRIAL_LIMIT_SECONDS, fastest_mode
from benchmarks.worker import WorkerFailed
from tests.benchmarks.stubs import OUR_SPEED, SPEEDS, StubBench

TINY = Case("tiny", "training", "tiny", 2, 16, median_length=10, spread=0.3, rows=32, rounds=2)


@pytest.fixture
def bench(tmp_path):
    return StubBench("cpu", tmp_path / "bench")


@pytest.mark.parametrize("fastest", SPEEDS)
def test_the_fastest_mode_is_chosen(bench, fastest):
    bench.speeds[fastest] = 50.0
    row = new_row(TINY)
    assert fastest_mode(bench, TINY, row) == fastest
    assert bench.asked == list(PEER_MODES)
    assert "note" not in row
    assert bench.limits[0] == TRIAL_LIMIT_SECONDS["cpu"]
    assert (bench.alive, max(bench.alive_at_starts)) == ([], 1)


def test_a_gpu_has_modes_of_its_own(tmp_path):
    bench = StubBench("gpu", tmp_path)
    assert fastest_mode(bench, TINY, new_row(TINY)) == "bfloat16 autocast compiled"
    assert bench.asked == ["bfloat16 autocast", "bfloat16 autocast compiled"]


def test_modes_that_fail_are_passed_over(bench):
    for name in ("bfloat16 autocast", "bfloat16 autocast compiled"):
        bench.speeds[name] = WorkerFailed("take took over 90 s: it printed nothing")
    row = measure(bench, TINY)
    assert (row["peer"], row["peer_mode"], row["ratio"]) == (15.0, "float32 compiled", OUR_SPEED / 15)
    assert row["note"] == (
        "the peer's trial failed in bfloat16 autocast, bfloat16 autocast compiled: "
        "take took over 90 s: it printed nothing"
    )
    assert bench.alive == []


def test_where_none_works_there_is_no_peer(bench):
    bench.speeds.update(dict.fromkeys(SPEEDS, WorkerFailed("take: OSError: no")))
    row = measure(bench, TINY)
    assert (row["ours"], row["peer"], row["peer_mode"]) == (OUR_SPEED, None, None)
    assert row["note"] == "no peer: take: OSError: no"


def test_the_mode_is_in_row_json_and_table(bench, tmp_path):
    row = measure(bench, TINY)
    assert (row["peer"], row["peer_mode"]) == (40.0, "bfloat16 autocast compiled")
    report.write_results(tmp_path / "x.json", "CPU", [row])
    assert json.loads((tmp_path / "x.json").read_text())["rows"][0]["peer_mode"] == "bfloat16 autocast compiled"
    (line,) = [line for line in report.table(tmp_path).splitlines() if line.startswith("| tiny |")]
    assert line.endswith("| bfloat16 autocast compiled |")


def test_an_epoch_is_not_compiled(bench):
    row = measure(bench, dataclasses.replace(TINY, measure="epoch", rounds=1))
    assert (row["peer"], row["peer_mode"]) == (20.0, "bfloat16 autocast")
    assert bench.asked == ["float32", "bfloat16 autocast", "bfloat16 autocast"]


def test_start_up_is_plain(bench, monkeypatch):
    monkeypatch.setattr(waits, "generate_pretraining", lambda *_, **__: None)
    monkeypatch.setattr(waits, "time_to_first_update", lambda *_: 1.0)
    row = measure(bench, dataclasses.replace(TINY, measure="startup", rounds=1))
    assert row["peer_mode"] == "float32"
    assert bench.asked == ["float32"]


def test_a_loader_computes_in_no_mode(bench):
    row = measure(bench, dataclasses.replace(TINY, measure="loader"))
    assert (row["peer"], row["peer_mode"]) == (10.0, None)
    assert bench.asked == ["float32"]


def test_the_peer_without_a_compiler(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setitem(TRIAL_LIMIT_SECONDS, "cpu", 300.0)  # this machine may be busy
    for name in ("bfloat16 autocast", "bfloat16 autocast compiled"):
        monkeypatch.delitem(cases.PEER_MODES, name)
    bench, row = Bench("cpu", tmp_path), new_row(TINY)
    write_data(TINY, tmp_path / "data")
    assert fastest_mode(bench, TINY, row) == "float32"
    assert "the peer's trial failed in float32 compiled: take: " in row["note"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_peer_with_a_compiler(tmp_path, monkeypatch):
    """Compiled in the mode that takes most; not compiled, both precisions are in test_suite.py."""
    pytest.importorskip("transformers")
    for name in ("bfloat16 autocast", "float32 compiled"):
        monkeypatch.delitem(cases.PEER_MODES, name)
    monkeypatch.setitem(TRIAL_LIMIT_SECONDS, "cpu", 300.0)  # this machine may be busy
    bench, row = Bench("cpu", tmp_path), new_row(TINY)
    write_data(TINY, tmp_path / "data")
    assert fastest_mode(bench, TINY, row) in PEER_MODES
    assert "note" not in row
