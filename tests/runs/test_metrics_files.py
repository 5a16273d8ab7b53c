"""The CSV files: exact, whole, cut back on resuming. W&B: beside them, never in the way."""

import os
import signal
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from textclf_jax.config.schema import Logging
from textclf_jax.errors import UserError
from textclf_jax.runs import wandb_run
from textclf_jax.runs.metrics_files import CsvFile, RunLogger, read_rows

TRAIN, EVAL = "metrics/train/metrics.csv", "metrics/eval/metrics.csv"


def open_log(run_dir: Path, keep_until_step: int | None = None, **settings) -> RunLogger:
    return RunLogger(run_dir, Logging(**settings), resolved={"seed": 1}, keep_until_step=keep_until_step)


def write_steps(log: RunLogger, steps) -> None:
    """What a run with an evaluation each third step, and a figure that appears late, writes."""
    for step in steps:
        late = {"skipped_updates": 1} if step >= 5 else {}
        log.log("train", {"loss": 1 / step, "lr": 1e-4, **late}, step=step, update=step, epoch=step / 4)
        if step % 3 == 0:
            log.log("eval", {"loss": np.float32(0.1) * step}, step=step, update=step, epoch=step / 4)


def contents(run_dir: Path) -> dict[str, bytes]:
    return {name: (run_dir / name).read_bytes() for name in (TRAIN, EVAL)}


def test_rows_are_exact_and_begin_with_the_position(tmp_path):
    with open_log(tmp_path) as log:
        log.log("train", {"loss": 0.1 + 0.2, "tokens": np.int64(7)}, step=2, update=1, epoch=0.5)
        log.log("train", {"loss": jnp.float32(0.25), "tokens": 8}, step=4, update=2, epoch=1)
        assert (tmp_path / TRAIN).read_text() == (
            "step,update,epoch,train/loss,train/tokens\n2,1,0.5,0.30000000000000004,7\n4,2,1,0.25,8\n"
        ), "a row is in the file at once, before close"


def test_non_finite_values_are_written_as_such(tmp_path):
    with open_log(tmp_path) as log:
        log.log("test", {"a": float("nan"), "b": float("inf"), "c": -np.inf}, step=1, update=1, epoch=1)
    assert (tmp_path / "metrics/test/metrics.csv").read_text().splitlines()[1] == "1,1,1,nan,inf,-inf"


def test_a_new_name_widens_the_header_and_leaves_gaps(tmp_path):
    with open_log(tmp_path) as log:
        for step, metrics in enumerate([{"loss": 1.0}, {"accuracy": 0.5}, {"loss": 2.0, "f1": 0.1}]):
            log.log("eval", metrics, step=step, update=step, epoch=0)
    assert (tmp_path / EVAL).read_text().splitlines() == [
        "step,update,epoch,eval/loss,eval/accuracy,eval/f1",
        "0,0,0,1.0,,",
        "1,1,0,,0.5,",
        "2,2,0,2.0,,0.1",
    ]
    assert read_rows(tmp_path / EVAL)[1] == {"step": 1.0, "update": 1.0, "epoch": 0.0, "eval/accuracy": 0.5}
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("killed_after", range(10))
@pytest.mark.parametrize("checkpoint", [0, 2, 5, 6])
def test_a_resumed_run_has_the_bytes_of_an_unbroken_one(tmp_path, killed_after, checkpoint):
    torn = ("", "7,7,1.", "\x00\x00")[killed_after % 3]
    with open_log(tmp_path / "unbroken") as log:
        write_steps(log, range(1, 10))
    with open_log(tmp_path / "broken") as log:
        write_steps(log, range(1, max(killed_after, checkpoint) + 1))
    for name in (TRAIN, EVAL):
        if (path := tmp_path / "broken" / name).exists():
            path.write_text(path.read_text() + torn)
    with open_log(tmp_path / "broken", keep_until_step=checkpoint) as log:
        write_steps(log, range(checkpoint + 1, 10))
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


def test_a_file_that_ends_in_its_header_is_begun_anew(tmp_path):
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / TRAIN).write_text("step,upd")
    with open_log(tmp_path, keep_until_step=3) as log:
        write_steps(log, [4])
    assert [row["step"] for row in read_rows(tmp_path / TRAIN)] == [4.0]


def test_a_fresh_run_removes_what_an_earlier_one_left(tmp_path):
    for _ in range(2):
        with open_log(tmp_path) as log:
            write_steps(log, range(1, 4))
    assert len(read_rows(tmp_path / TRAIN)) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("a,b\n1,2\n", "line is not the header"), ("step,update,epoch,train/loss\n1,1,0,2.0\nx,1,0\n", "line 3")],
)
def test_a_file_of_something_else_is_not_continued(tmp_path, text, complaint):
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / TRAIN).write_text(text)
    with pytest.raises(UserError, match=complaint):
        open_log(tmp_path, keep_until_step=5)
    assert (tmp_path / TRAIN).read_text() == text


@pytest.mark.parametrize("path", ["../metrics.csv", "/tmp/metrics.csv", "a/../../b.csv", "config.yaml", "linked/m.csv"])
def test_paths_stay_inside_the_run_folder(tmp_path, path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"logging\.csv_eval_metrics_path.*inside the run folder"):
        open_log(tmp_path / "run", csv_eval_metrics_path=path)


@pytest.mark.parametrize("path", [TRAIN, "metrics/./train/metrics.csv", "metrics/train/throughput.csv"])
def test_two_files_of_one_name_are_refused(tmp_path, path):
    with pytest.raises(UserError, match="already used by"):
        open_log(tmp_path, csv_test_metrics_path=path)


def test_throughput_goes_to_its_own_file(tmp_path):
    with open_log(tmp_path) as log:
        log.log_throughput({"tokens_per_second": 10.5}, step=1, update=1, epoch=0)
    assert (tmp_path / "metrics/train/throughput.csv").read_text().splitlines() == [
        "step,update,epoch,throughput/tokens_per_second",
        "1,1,0,10.5",
    ]
    assert not (tmp_path / TRAIN).exists()


def test_a_full_disk_names_the_file(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "m.csv").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"m\.csv: a row could not be written \(No space left"):
        CsvFile(tmp_path / "m.csv").append({"step": 1})


# --- W&B ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_to_close(no_account, monkeypatch):
    """A machine without an account of W&B, and where closing is quick."""
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 6.0)


def logged_with_wandb(run_dir: Path, break_it=lambda log: None) -> float:
    """Logs six steps, breaks W&B in between; returns the seconds that took."""
    start = time.monotonic()
    with open_log(run_dir, use_wandb=True) as log:
        write_steps(log, range(1, 4))
        break_it(log)
        write_steps(log, range(4, 7))
    assert [row["step"] for row in read_rows(run_dir / TRAIN)] == [1, 2, 3, 4, 5, 6]
    return time.monotonic() - start


def the_one_warning(capfd) -> str:
    out, err = capfd.readouterr()
    (line,) = (out + err).splitlines()
    assert line.startswith("warning: W&B: ")
    assert "CSV files have every metric" in line
    return line


@pytest.mark.usefixtures("quick_to_close")
def test_wandb_without_a_key_warns_and_never_asks(tmp_path, capfd):
    assert logged_with_wandb(tmp_path / "run") < 10
    assert "wandb login" in the_one_warning(capfd)


@pytest.mark.usefixtures("quick_to_close")
def test_wandb_unreachable_costs_a_bounded_delay(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1.0)
    assert logged_with_wandb(tmp_path / "run") < 2.5
    assert "did not finish within 1 s" in the_one_warning(capfd)


@pytest.mark.usefixtures("quick_to_close")
@pytest.mark.parametrize(
    ("number", "complaint"), [(signal.SIGKILL, "ended unexpectedly"), (signal.SIGSTOP, "did not finish within 1 s")]
)
def test_wandb_that_dies_or_hangs_is_left_behind(tmp_path, capfd, monkeypatch, number, complaint):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1.0)
    assert logged_with_wandb(tmp_path / "run", lambda log: os.kill(log._wandb._process.pid, number)) < 2.5
    assert complaint in the_one_warning(capfd)


@pytest.mark.usefixtures("quick_to_close")
def test_wandb_offline_has_the_rows_and_a_resumed_run_keeps_its_id(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged_with_wandb(tmp_path)
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"eval/loss" in record.read_bytes()
    assert capfd.readouterr() == ("", "")
    run_id = (tmp_path / "wandb/run_id").read_text()
    assert run_id.strip() in record.name
    monkeypatch.setattr("textclf_jax.runs.metrics_files.WandbRun", lambda init: given.append(init))
    given = []
    open_log(tmp_path, use_wandb=True, keep_until_step=3)
    open_log(tmp_path, use_wandb=True)
    assert [init["id"] == run_id.strip() for init in given] == [True, False]
    assert [init["resume"] for init in given] == ["allow", None]
