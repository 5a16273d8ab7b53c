"""The session on a GPU: its stages with commands that take no time."""

import json
import sys
import time

import pytest

from benchmarks import report
from benchmarks.bench import new_row
from benchmarks.cases import CASES
from benchmarks.progress import unfinished_path
from scripts import gpu_session
from scripts.gpu_session import Stage, find_device, main, run_session, run_stage


def python(code):
    return [sys.executable, "-S", "-c", code]


def test_a_stage_shows_and_logs_what_it_prints(tmp_path, capsys):
    stage = run_stage("tests", python("print('one'); print('zwei ä')"), tmp_path / "log", 60.0)
    assert (stage.outcome, stage.done) == ("passed", True)
    assert capsys.readouterr().out == (tmp_path / "log").read_text() == "one\nzwei ä\n"


def test_a_stage_that_fails_says_so(tmp_path):
    stage = run_stage("tests", python("raise SystemExit(3)"), tmp_path / "log", 60.0)
    assert (stage.outcome, stage.done) == ("failed: exit code 3", False)


def test_a_stage_is_stopped_with_all_it_started(tmp_path):
    child = "[sys.executable, '-S', '-c', 'import time; time.sleep(300)']"
    sleep = f"import subprocess, sys\nprint('begun', flush=True)\nsubprocess.run({child})"
    before = time.monotonic()
    stage = run_stage("tests", python(sleep), tmp_path / "log", 3.0)
    assert (stage.outcome, stage.done) == ("stopped: it took over 3 s", False)
    # the pipe is closed once nobody holds it
    assert time.monotonic() - before < 200
    assert (tmp_path / "log").read_text() == "begun\n"


def test_a_machine_without_a_gpu_is_told(monkeypatch):
    monkeypatch.setattr(gpu_session, "NAME_DEVICE", "print('cpu|cpu')")
    with pytest.raises(SystemExit, match="no GPU: JAX found cpu cpu"):
        find_device()
    monkeypatch.setattr(gpu_session, "NAME_DEVICE", "raise ImportError('no jax')")
    with pytest.raises(SystemExit, match="no GPU: JAX found ImportError: no jax"):
        find_device()
    monkeypatch.setattr(gpu_session, "NAME_DEVICE", "print('a warning'); print('gpu|NVIDIA H100 80GB HBM3')")
    assert find_device() == "NVIDIA H100 80GB HBM3"


@pytest.fixture
def commands(monkeypatch):
    """Stages that are not run: what they were asked for; the suite measures the rows in `measured`."""
    asked, measured, outcomes = [], {0: 1500.0, 1: 700.0}, {"tests": "passed"}

    def run_stage(name, command, log, limit_seconds):
        asked.append((name, list(command), limit_seconds))
        outcome = outcomes.get(name, "passed")
        if name != "tests":
            notes = {i: {} if ours else {"note": "skipped: no time"} for i, ours in measured.items()}
            rows = [new_row(CASES[i]) | {"ours": ours} | notes[i] for i, ours in measured.items()]
            path = log.with_suffix(".json")
            report.write_results(path if outcome == "passed" else unfinished_path(path), "GPU", rows)
        return Stage(name, outcome, outcome == "passed", 1.0, limit_seconds)

    monkeypatch.setattr(gpu_session, "run_stage", run_stage)
    monkeypatch.setattr(gpu_session, "find_device", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(gpu_session, "code_digest", lambda sources: "this code")
    return asked, measured, outcomes


def outcomes_in(folder, name="session.json"):
    return {stage["name"]: stage["outcome"] for stage in json.loads((folder / name).read_text())["stages"]}


def test_a_session_does_all_within_nine_minutes(commands, tmp_path, capsys):
    asked, *_ = commands
    assert main(["--out", str(tmp_path)]) == 0
    folder = tmp_path / "nvidia-h100-80gb-hbm3"
    assert outcomes_in(folder) == {"tests": "passed", "benchmarks": "passed"}
    (tests, test_command, test_limit), (suite, suite_command, suite_limit) = asked
    assert (tests, suite) == ("tests", "benchmarks")
    assert test_command[:2] == ["env", "TEXTCLF_GPU_TESTS=gpu"]
    assert test_command[3:5] == ["-m", "pytest"]
    assert test_command[-1] == "tests/gpu"
    assert test_limit == gpu_session.TEST_SECONDS
    # neither stage takes time here: in earnest the suite has what the tests leave
    assert 500 < suite_limit <= 540
    minutes = float(suite_command[suite_command.index("--minutes") + 1])
    assert minutes * 60 == pytest.approx(suite_limit - gpu_session.SPARE_SECONDS, abs=1)
    assert suite_command[suite_command.index("--out") + 1] == str(folder / "benchmarks.json")
    assert "mlm-small-16x128: 1,500 tokens/s" in capsys.readouterr().out


def test_what_was_done_is_left_out_and_what_was_not_is_done(commands, tmp_path, capsys):
    asked, measured, _ = commands
    measured[1] = None
    assert main(["--out", str(tmp_path)]) == 0
    folder = tmp_path / "nvidia-h100-80gb-hbm3"
    assert outcomes_in(folder)["benchmarks"] == (
        f"passed: no figures of {CASES[1].row}; the same command goes on with them"
    )
    asked.clear()
    measured[1] = 700.0
    assert main(["--out", str(tmp_path)]) == 0
    assert [name for name, *_ in asked] == ["benchmarks"]
    assert outcomes_in(folder) == {
        "tests": "left out: an earlier session has done it on this code",
        "benchmarks": "passed",
    }
    asked.clear()
    assert main(["--out", str(tmp_path)]) == 0
    assert asked == []


def test_other_code_is_tested_again(commands, tmp_path, monkeypatch):
    asked, *_ = commands
    main(["--out", str(tmp_path)])
    asked.clear()
    monkeypatch.setattr(gpu_session, "code_digest", lambda sources: "other code")
    main(["--out", str(tmp_path)])
    assert [name for name, *_ in asked] == ["tests", "benchmarks"]


def test_failures_are_told_and_the_next_stage_is_run(commands, tmp_path, capsys):
    asked, _, outcomes = commands
    outcomes |= {"tests": "failed: exit code 1", "benchmarks": "stopped: it took over 500 s"}
    assert main(["--out", str(tmp_path)]) == 1
    assert [name for name, *_ in asked] == ["tests", "benchmarks"]
    printed = capsys.readouterr().out
    assert "tests: failed: exit code 1 (1 of 180 s)" in printed
    assert "benchmarks: stopped: it took over 500 s" in printed
    assert "mlm-small-16x128: 1,500 tokens/s" in printed


def test_a_quick_session_measures_alone_and_always(commands, tmp_path):
    asked, *_ = commands
    for _ in range(2):
        assert main(["--quick", "--out", str(tmp_path)]) == 0
    assert [name for name, *_ in asked] == ["quick", "quick"]
    _, command, limit = asked[0]
    assert "--quick" in command
    assert limit <= 60 * gpu_session.QUICK_MINUTES
    assert outcomes_in(tmp_path / "nvidia-h100-80gb-hbm3", "quick-session.json") == {"quick": "passed"}


def test_without_time_a_stage_is_left_out(commands, tmp_path):
    asked, *_ = commands
    stages = run_session(tmp_path, quickly=False, minutes=0.2)
    assert [name for name, *_ in asked] == ["tests"]
    assert stages[1].outcome == "left out: no time was left"


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_no_minutes_are_refused(minutes):
    with pytest.raises(SystemExit):
        main(["--minutes", minutes])
