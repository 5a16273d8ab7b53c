"""The record of a run: exact, complete at any time, and after a kill the same bytes as without one."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.runs.logs import EVAL, TRAIN, open_log, write_steps
from textclf_jax.runs.metrics_files import read_metrics


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


def test_a_fresh_run_removes_what_an_earlier_one_left(tmp_path):
    for _ in range(2):
        with open_log(tmp_path) as log:
            write_steps(log, range(1, 4))
    assert len(read_metrics(tmp_path / TRAIN)) == 3


def test_throughput_goes_to_its_own_file(tmp_path):
    with open_log(tmp_path) as log:
        log.log_throughput({"tokens_per_second": 10.5}, step=1, update=1, epoch=0)
    assert (tmp_path / "metrics/train/throughput.csv").read_text().splitlines() == [
        "step,update,epoch,throughput/tokens_per_second",
        "1,1,0,10.5",
    ]
    assert not (tmp_path / TRAIN).exists()


@pytest.mark.usefixtures("no_account")
def test_a_resumed_run_keeps_its_wandb_id(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("textclf_jax.runs.logger.WandbRun", given.append)
    open_log(tmp_path, use_wandb=True)
    run_id = (tmp_path / "wandb/run_id").read_text().strip()
    open_log(tmp_path, use_wandb=True, keep_until_step=3)
    open_log(tmp_path, use_wandb=True)
    assert [init["id"] == run_id for init in given] == [True, True, False]
    assert [init["resume"] for init in given] == [None, "allow", None]
