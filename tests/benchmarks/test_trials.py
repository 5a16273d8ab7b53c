"""Trials of the peer's modes, with workers that only pretend to measure, and with the peer itself."""

import dataclasses
import json
import shutil
from typing import Any

import pytest

from benchmarks import cases, report, trials, waits
from benchmarks.bench import Bench, new_row
from benchmarks.cases import PEER_MODES, Case
from benchmarks.suite import measure
from benchmarks.synthetic import write_data
from benchmarks.trials import TRIAL_LIMIT_SECONDS, fastest_mode
from benchmarks.worker import WorkerFailed

TINY = Case("tiny", "training", "tiny", 2, 16, median_length=10, spread=0.3, rows=32, rounds=2)
SPEEDS = {
    "float32": 10.0,
    "bfloat16 autocast": 20.0,
    "float32 compiled": 15.0,
    "bfloat16 autocast compiled": 40.0,
}
OUR_SPEED = 100.0


class StubWorker:
    """Answers at the speed of its mode, tokens a second; an error as speed is raised by the first work."""

    def __init__(self, bench: "StubBench"):
        self.bench = bench
        self.speed: Any = OUR_SPEED

    def __enter__(self):
        self.bench.alive.append(self)
        self.bench.alive_at_starts.append(len(self.bench.alive))
        return self

    def __exit__(self, *_):
        self.bench.alive.remove(self)

    def work(self) -> float:
        if isinstance(self.speed, WorkerFailed):
            raise self.speed
        return self.speed

    def ask(self, do, *, timeout_seconds=300.0, mode=None, count=1, **_):
        if mode:
            self.bench.asked.append(mode)
            self.speed = self.bench.speeds[mode]
        if do == "take":
            self.bench.limits.append(timeout_seconds)
            return {"seconds": float(count), "tokens": self.work() * count}
        if do == "epoch":
            (self.bench.folder / "data" / "run").mkdir(exist_ok=True)
            return {"seconds": 2.0, "tokens": 2 * self.work(), "compile_seconds": 0.5, "padding_waste": 0, "flops": 1}
        return {"start": {}, "limit": {"limit": 1e9}, "memory": {"peak_mb": 5.0}}[do]


@dataclasses.dataclass(frozen=True)
class StubBench(Bench):
    """Starts stubs; records modes asked for, time limits, the stubs alive and, at each start, how many there were."""

    has_peer: bool = True
    speeds: dict = dataclasses.field(default_factory=lambda: dict(SPEEDS))
    asked: list = dataclasses.field(default_factory=list)
    limits: list = dataclasses.field(default_factory=list)
    alive: list = dataclasses.field(default_factory=list)
    alive_at_starts: list = dataclasses.field(default_factory=list)

    def ours(self, name="ours"):
        return StubWorker(self)

    def peer(self, name="peer"):
        return StubWorker(self)


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
    assert bench.limits[0] == TRIAL_LIMIT_SECONDS
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
    for name in ("bfloat16 autocast", "bfloat16 autocast compiled"):
        monkeypatch.delitem(cases.PEER_MODES, name)
    bench, row = Bench("cpu", tmp_path), new_row(TINY)
    write_data(TINY, tmp_path / "data")
    assert fastest_mode(bench, TINY, row) == "float32"
    assert "the peer's trial failed in float32 compiled: take: " in row["note"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_peer_in_all_its_modes(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(trials, "TRIAL_LIMIT_SECONDS", 300.0)  # this machine may be busy
    bench, row = Bench("cpu", tmp_path), new_row(TINY)
    write_data(TINY, tmp_path / "data")
    assert fastest_mode(bench, TINY, row) in PEER_MODES
    assert "note" not in row
