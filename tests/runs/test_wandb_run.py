"""W&B stands beside the CSV files, never in the way: it may lack an account, hang or die."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.logs import TRAIN, open_log, write_steps
from textclf_jax.runs import wandb_run
from textclf_jax.runs.metrics_files import read_metrics


@pytest.fixture
def waits(no_account, monkeypatch) -> list[float]:
    """The limits, in seconds, of all waits for a process, on a machine without an account of W&B."""
    limits, wait = [], subprocess.Popen.wait

    def noting_wait(process, timeout=None):
        if timeout is not None:
            limits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noting_wait)
    # for those that end by themselves, however busy the machine is
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 600.0)
    return limits


def logged_with_wandb(run_dir: Path, break_it: Callable[[int], None] = lambda pid: None) -> int:
    """Logs six steps, breaks W&B's process in between; returns the exit status of that."""
    with open_log(run_dir, use_wandb=True) as log:
        (sink,) = log._sinks
        assert isinstance(sink, wandb_run.WandbRun)
        process = sink._process
        write_steps(log, range(1, 4))
        break_it(process.pid)
        write_steps(log, range(4, 7))
    assert [row["step"] for row in read_metrics(run_dir / TRAIN)] == [1, 2, 3, 4, 5, 6]
    assert process.returncode is not None
    return process.returncode


def the_one_warning(capfd) -> str:
    out, err = capfd.readouterr()
    (line,) = (out + err).splitlines()
    assert line.startswith("warning: W&B: ")
    assert "CSV files have every metric" in line
    return line


def test_without_a_key_it_warns_and_never_asks(waits, tmp_path, capfd):
    assert logged_with_wandb(tmp_path / "run") == wandb_run.EXPLAINED
    assert waits == [600.0]
    assert "wandb login" in the_one_warning(capfd)


def test_an_unreachable_server_costs_a_bounded_delay(waits, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1.0)
    assert logged_with_wandb(tmp_path / "run") == -signal.SIGKILL
    assert waits == [1.0]
    assert "did not finish within 1 s" in the_one_warning(capfd)


@pytest.mark.parametrize(
    ("number", "complaint"), [(signal.SIGKILL, "ended unexpectedly"), (signal.SIGSTOP, "did not finish within 1 s")]
)
def test_a_process_that_dies_or_hangs_is_left_behind(waits, tmp_path, capfd, monkeypatch, number, complaint):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1.0)
    assert logged_with_wandb(tmp_path / "run", lambda pid: os.kill(pid, number)) == -signal.SIGKILL
    assert waits == [1.0]
    assert complaint in the_one_warning(capfd)


@pytest.mark.usefixtures("waits")
def test_an_offline_run_has_the_rows_and_its_id(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert logged_with_wandb(tmp_path) == 0
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"eval/loss" in record.read_bytes()
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "wandb/run_id").read_text().strip() in record.name
