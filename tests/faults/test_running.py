"""Rows 32 to 34: numbers that are not finite, memory that does not suffice, W&B that does not answer."""

import os
import signal
import time

import jax
import numpy as np
import pytest

from tests.faults.harness import end_of, process
from tests.trained import last_state, poison, read_column, saved_steps
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.runs import logger, wandb_run
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.training import log, loop

EVERY_UPDATE = ("--set", "logging.log_interval_updates=1")


# --- 32: not finite -------------------------------------------------------------------------------------------


def test_fault_32_a_poisoned_gradient_is_skipped_and_counted(project, monkeypatch):
    poison(monkeypatch, {3, 9})
    project.train("pretraining", *EVERY_UPDATE)
    skipped = read_column(project.run_dir(), "train/skipped_steps")
    assert sum(skipped) == 2
    assert np.isfinite(read_column(project.run_dir(), "train/loss")).all()
    assert all(np.isfinite(value).all() for value in last_state(project.run_dir()).values())


def test_fault_32_too_many_in_a_row_stop_the_run(project, monkeypatch):
    monkeypatch.setattr(log, "MAX_SKIPPED_IN_A_ROW", 4)
    poison(monkeypatch, range(8, 99))
    code, _, err = project.command("pretrain", "tiny")
    assert code == 2
    assert "not finite 4 times in a row, up to step 12 (epoch 2, batch 5)" in err
    assert saved_steps(project.run_dir()) == [7]


def test_fault_32_a_model_that_is_not_finite_is_never_the_best(project, monkeypatch):
    """Weights of 1e30 after the second epoch: the loss overflows where the gradient is not looked at."""
    original = Evaluator.__call__

    def evaluate(self, variables, data):
        metrics = original(self, variables, data)
        evaluated.append(metrics)
        return metrics if len(evaluated) == 1 else {**metrics, "loss": float("nan")}

    evaluated = []
    monkeypatch.setattr(Evaluator, "__call__", evaluate)
    project.train()
    assert load_model(project.run_dir() / "model.ckpt").metadata["step"] == 7
    assert np.isnan(read_column(project.run_dir(), "eval/loss")[1])


# --- 33: out of memory ----------------------------------------------------------------------------------------

ADVICE = ("out of memory", "training.batch_size (", "training.grad_accum_steps (1)", "max_sequence_length (24)")


def test_fault_33_out_of_memory_in_a_step(project, monkeypatch):
    """After the first checkpoint; that is sound, and the run goes on from it where there is memory again."""
    original = loop.TrainingLoop.after_step

    def after_step(self, state, batch):
        original(self, state, batch)
        if batch.step >= 9:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "after_step", after_step)
        code, _, err = project.command("pretrain", "tiny")
    assert code == 2
    for words in ADVICE:
        assert words in err
    assert "resuming after step 7" in project.train()


def test_fault_33_out_of_memory_for_real(project):
    """Two million rows, all but fifty of them empty, in an address space of 8 GB."""
    limited = ["sh", "-c", 'ulimit -v 8000000 && exec "$0" "$@"']
    flags = ("--set", "training.batch_size=2000000", "data.packing=false")
    with process(project.root, "pretrain", "tiny", *flags, before=limited) as child:
        code, said, _ = end_of(child)
    assert code == 2, said
    for words in ADVICE:
        assert words in said
    assert "Traceback" not in said


# --- 34: W&B --------------------------------------------------------------------------------------------------


def dying(init):
    """A W&B process that is killed as soon as it runs."""
    run = wandb_run.WandbRun(init)
    os.kill(run._process.pid, signal.SIGKILL)
    return run


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize(
    ("fault", "environment", "warning"),
    [
        ("unreachable", {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "did not finish within"),
        ("no key", {}, "wandb login"),
        ("dying", {"WANDB_MODE": "offline"}, "ended unexpectedly"),
    ],
)
def test_fault_34_wandb_never_stands_in_the_way(project, monkeypatch, fault, environment, warning):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if fault == "dying":
        monkeypatch.setattr(logger, "WandbRun", dying)
    project.train("pretraining", *EVERY_UPDATE)  # compiles
    start = time.monotonic()
    project.train("pretraining", "--fresh", *EVERY_UPDATE)
    without = time.monotonic() - start
    rows = (project.run_dir() / "metrics/train/metrics.csv").read_bytes()
    start = time.monotonic()
    said = project.train("pretraining", "--fresh", *EVERY_UPDATE, "logging.use_wandb=true")
    assert time.monotonic() - start < without + 10
    assert "warning: W&B: " in said
    assert warning in said
    assert (project.run_dir() / "metrics/train/metrics.csv").read_bytes() == rows
