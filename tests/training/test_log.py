"""Rows of the log where steps are skipped, as their gradient is not finite."""

import math

import numpy as np
import pytest

from tests import tiny
from tests.trained import check_same_run, interrupted, poison, run
from textclf_jax.runs.metrics_files import read_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=40)


def config(data, *, interval=1, accumulation=1):
    """Five steps an epoch, two epochs."""
    return tiny.finetuning(
        data,
        training={"grad_accum_steps": accumulation},
        logging={"log_interval_updates": interval},
        data={"num_length_buckets": 1},
    )


def rows(folder):
    return read_metrics(folder / "metrics/train/metrics.csv")


def test_a_skipped_update_writes_no_row_of_its_own(data, tmp_path, monkeypatch):
    poison(monkeypatch, {3, 6})
    found = rows(run(config(data), tmp_path / "run"))
    assert [row["update"] for row in found] == [1, 2, 3, 5, 6, 8, 9, 10]
    assert [row["train/skipped_steps"] for row in found] == [0, 0, 0, 1, 0, 1, 0, 0]
    assert all(row["train/loss"] > 0 for row in found)


@pytest.mark.parametrize(("interval", "bad", "updates"), [(3, {2, 8}, [3, 6, 9, 10]), (4, {9}, [4, 8, 10])])
def test_the_last_row_comes_whatever_was_skipped(data, tmp_path, monkeypatch, interval, bad, updates):
    poison(monkeypatch, bad)
    found = rows(run(config(data, interval=interval), tmp_path / "run"))
    assert [row["update"] for row in found] == updates
    assert sum(row["train/skipped_steps"] for row in found) == len(bad)
    assert np.isfinite([row["train/loss"] for row in found]).all()


def test_a_last_row_of_nothing_but_skipped_steps_has_no_loss(data, tmp_path, monkeypatch):
    poison(monkeypatch, {8, 9})
    last = rows(run(config(data, interval=4), tmp_path / "run"))[-1]
    assert (last["update"], last["train/skipped_steps"]) == (10, 2)
    assert math.isnan(last["train/loss"])
    assert math.isnan(last["train/accuracy"])


def test_windows_keep_their_steps_and_a_resumed_run_is_the_same(data, tmp_path, monkeypatch):
    """Windows of two steps: one has lost its first, one both, one its last; stopped in the middle of each in turn."""
    poison(monkeypatch, {2, 4, 5, 9})
    settings = config(data, accumulation=2)
    whole = run(settings, tmp_path / "whole")
    found = rows(whole)
    assert [(row["step"], row["update"]) for row in found] == [(2, 1), (4, 2), (8, 4), (10, 5)]
    assert [row["train/skipped_steps"] for row in found] == [0, 1, 2, 1]
    for update in (1, 2, 3):
        stopped = interrupted(settings, tmp_path / "stopped", monkeypatch, at_update=update)
    check_same_run(whole, run(settings, stopped))
