"""The suite of a GPU, with workers that pretend: who is started, in which order, and what is kept when it stops."""

import functools
import json
import threading
from types import SimpleNamespace

import pytest

from benchmarks import bench, progress, suite, waits
from benchmarks.cases import GPU_QUICK, GPU_SUITE
from benchmarks.suite import run_suite
from tests.benchmarks.stubs import Machine, MachineWorker
from textclf_jax.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(bench, "Worker", machine.worker)
    monkeypatch.setattr(suite, "time", SimpleNamespace(monotonic=machine.monotonic))
    monkeypatch.setattr(suite, "write_data", lambda case, folder: folder.mkdir())
    monkeypatch.setattr(waits, "generate_pretraining", lambda *_, **__: None)
    monkeypatch.setattr(waits, "time_to_first_update", lambda *_: 1.0)
    monkeypatch.setattr(suite, "Bench", functools.partial(bench.Bench, has_peer=True))
    monkeypatch.setattr(progress, "code_digest", lambda: "this code")
    return machine


@pytest.fixture
def run(tmp_path):
    """Runs the suite; its results go to `rows.json`."""

    def run(rows=None, *, quickly=False, minutes: float = 1000.0):
        return run_suite(rows, quickly=quickly, minutes=minutes, path_for=lambda device: tmp_path / "rows.json")

    return run


def rows_in(path):
    return [row["row"] for row in json.loads(path.read_text())["rows"]]


def test_one_gauge_and_one_peer_serve_all_rows(machine, run, tmp_path):
    device, rows = run()
    assert device == "Test GPU"
    assert [row["row"] for row in rows] == rows_in(tmp_path / "rows.json") == list(GPU_SUITE)
    # an epoch and a start-up of the peer are those of a new process
    assert [log for side, log in machine.started if side == "peer"] == ["peer", "peer-0", "peer"]
    ours = [log for side, log in machine.started if side == "ours"]
    assert ours.count("gauge") == 1
    # the first row finds none, each later one the worker that was started while the sides of the row before compiled
    assert ours[1:3] == ["ours", "after-mlm-base-64x512"]
    assert len(ours) == 1 + len([row for row in GPU_SUITE if "startup" not in row]) + 1
    assert len(machine.started) - machine.ended == 0


def test_rows_say_what_a_gpu_is_asked_for(machine, run):
    rows = {row["row"]: row for row in run()[1]}
    base = rows["mlm-base-64x512"]
    assert (base["ours"], base["peer"], base["ratio"]) == (300.0, 100.0, 3.0)
    assert base["peer_mode"] in ("bfloat16 autocast", "bfloat16 autocast compiled")
    assert (base["mfu"], base["limit_share"]) == (0.5, 0.625)
    assert base["idle"] == 0.01
    assert base["batch_wait"] == pytest.approx(0.01)
    million = rows["prediction-1m-texts"]
    assert (million["texts"], million["seconds"]) == (100, pytest.approx(10.0))
    assert rows["long-2x16384-lsh"]["note"] == "the peer's figures are long-2x16384-mha's"
    assert rows["loader-64x512"]["times_training"] == 1.0


def test_the_quick_rows_are_few(machine, run):
    assert [row["row"] for row in run(quickly=True)[1]] == list(GPU_QUICK)
    assert sum(side == "peer" for side, _ in machine.started) == 1


def test_an_interrupted_suite_goes_on_where_it_was(machine, run, tmp_path, capsys):
    machine.stops_at = GPU_SUITE[3]
    with pytest.raises(KeyboardInterrupt):
        run()
    assert rows_in(tmp_path / "rows.unfinished") == list(GPU_SUITE[:3])
    assert not (tmp_path / "rows.json").exists()
    assert len(machine.started) == machine.ended
    machine.stops_at, machine.asked = "", []
    _, rows = run()
    assert "going on: 3 of 14 rows are in" in capsys.readouterr().out
    assert machine.asked[0] == GPU_SUITE[3]
    assert not set(machine.asked) & set(GPU_SUITE[:3])
    assert [row["row"] for row in rows] == rows_in(tmp_path / "rows.json") == list(GPU_SUITE)
    assert not (tmp_path / "rows.unfinished").exists()


def test_what_has_no_time_is_skipped_and_measured_by_the_next_run(machine, run, tmp_path, capsys):
    _, rows = run(minutes=3.0)
    measured = [row["row"] for row in rows if row["ours"]]
    assert 2 <= len(measured) < len(GPU_SUITE)
    assert measured == list(GPU_SUITE[: len(measured)])
    assert {row["note"] for row in rows if not row["ours"]} == {"skipped: 3 minutes (--minutes) were not enough"}
    assert machine.clock < 3 * 60 + 25
    assert rows_in(tmp_path / "rows.unfinished") == measured
    assert rows_in(tmp_path / "rows.json") == list(GPU_SUITE)
    assert "the same command measures those alone" in capsys.readouterr().out
    machine.asked = []
    _, rows = run()
    assert all(row["ours"] for row in rows)
    assert not set(machine.asked) & set(measured)
    assert not (tmp_path / "rows.unfinished").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [("code", "other code or other rows"), ("quick", "other code or other rows"), ("versions", "other versions")],
)
def test_rows_of_something_else_are_not_taken_over(machine, run, tmp_path, monkeypatch, capsys, change, words):
    machine.stops_at = GPU_SUITE[2]
    with pytest.raises(KeyboardInterrupt):
        run(",".join(GPU_QUICK))
    machine.stops_at, machine.asked = "", []
    if change == "code":
        monkeypatch.setattr(progress, "code_digest", lambda: "other code")
    if change == "versions":
        content = json.loads((tmp_path / "rows.unfinished").read_text())
        content["versions"]["jax"] = "0.1"
        (tmp_path / "rows.unfinished").write_text(json.dumps(content))
    run(",".join(GPU_QUICK), quickly=change == "quick")
    assert f"is of {words}" in capsys.readouterr().out
    assert machine.asked == list(GPU_QUICK)


def test_a_peer_that_fails_is_replaced(machine, run):
    machine.fails_at = "mlm-small-64x512"
    rows = {row["row"]: row for row in run(",".join(GPU_SUITE[:5]))[1]}
    failed = rows["mlm-small-64x512"]
    assert (failed["ours"], failed["peer"]) == (300.0, None)
    assert failed["note"] == "no peer: start died: out of memory"
    assert rows["mlm-small-16x128"]["ratio"] == 3.0
    # one that the two trials lost each, and one for the rows after
    assert sum(side == "peer" for side, _ in machine.started) == 3


def test_both_sides_compile_at_the_same_time(machine, run, monkeypatch):
    """Each start waits for the other side's: one after the other, neither would come to an end."""
    together, start, waited = threading.Barrier(2, timeout=20), MachineWorker.start, set()

    def waiting_start(worker, case, folder, mode=None):
        if worker.side not in waited:
            waited.add(worker.side)
            together.wait()
        return start(worker, case, folder, mode)

    monkeypatch.setattr(MachineWorker, "start", waiting_start)
    _, (row,) = run("mlm-base-64x512")
    assert row["ratio"] == 3.0


def test_a_file_of_something_else_is_refused_before_anything_is_measured(machine, run, tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(UserError, match="no results of"):
        run()
    assert machine.asked == []
