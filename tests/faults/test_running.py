"""Rows 32 to 34: numbers that are not finite, memory that does not suffice, W&B that does not answer."""

import os
import re
import shutil
import signal
import subprocess

import jax
import numpy as np
import pytest

from tests import tiny
from tests.faults.harness import end_of, process
from tests.trained import last_state, poison, read_column, run, saved_steps
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.runs import logger, wandb_run
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runtime.device import explained_exhaustion, training_with_less_memory
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


def test_fault_32_each_remedy_that_is_named_works(project, monkeypatch):
    """Starting over with a lower rate; and a new experiment that goes on where this one was sound."""
    with monkeypatch.context() as patch:
        patch.setattr(log, "MAX_SKIPPED_IN_A_ROW", 2)
        poison(patch, range(8, 99))
        err = project.command("pretrain", "tiny")[2]
    lower = "training.learning_rate=1e-3"
    remedy = "Lower training.learning_rate (0.003) or lower training.max_grad_norm (1), and start over with --fresh"
    assert remedy in err
    code, _, refusal = project.command("pretrain", "tiny", "--set", lower)
    assert (code, "start over with --fresh" in refusal) == (2, True)
    keys = re.findall(r"training\.resume\.\w+=[^ ]+(?=[ .])", err.rstrip().removesuffix(".") + " ")
    assert [key.split("=")[0] for key in keys] == ["training.resume.path", "training.resume.weights_only"]
    project.add("pretraining", "next")
    assert "after step 7 of now 14" in project.train("pretraining", "--set", lower, *keys, name="next")
    project.train("pretraining", "--fresh", "--set", lower)


def test_fault_32_finetuning_is_told_to_start_over_alone(project, monkeypatch):
    monkeypatch.setattr(log, "MAX_SKIPPED_IN_A_ROW", 2)
    poison(monkeypatch, range(99))
    err = project.command("finetune", "tiny", "--set", "training.max_grad_norm=0")[2]
    assert err.rstrip().endswith("or set training.max_grad_norm to 1, and start over with --fresh.")


def test_fault_32_a_model_that_is_not_finite_is_never_the_best(project, monkeypatch):
    """Weights of 1e30 after the second epoch: the loss overflows where the gradient is not looked at."""
    original = Evaluator.outcome

    def evaluate(self, variables, data, **options):
        outcome = original(self, variables, data, **options)
        evaluated.append(outcome)
        return outcome if len(evaluated) == 1 else outcome._replace(sums={**outcome.sums, "loss": float("nan")})

    evaluated = []
    monkeypatch.setattr(Evaluator, "outcome", evaluate)
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
    less = ("--set", "training.batch_size=4", "training.grad_accum_steps=2")
    assert project.command("pretrain", "tiny", *less)[0] == 2
    shutil.copytree(project.run_dir(), project.run_dir(name="other"))
    assert "resuming after step 7" in project.train()
    project.train("pretraining", "--fresh", *less, name="other")
    project.train("pretraining", "--fresh", "--set", "architecture.max_sequence_length=12", name="other")


def test_fault_33_only_what_may_change_is_advised(project):
    """Weights to start from fix the sizes of the model, and with learned positions its length."""
    fixed = tiny.finetuning(
        project.root / "data",
        architecture=tiny.architecture(pos_encoding="learned"),
        training={"batch_size": 1},
        pretrained_experiment={"path": "experiments/pretraining/tiny"},
    )
    free = tiny.finetuning(project.root / "data", training={"batch_size": 1})
    with pytest.raises(UserError, match=r"\(MemoryError\)\. Take a smaller model to start from; then start over"):
        raise_within(fixed)
    with pytest.raises(
        UserError, match=r"\)\. Lower architecture\.max_sequence_length .*, or make the model smaller; then"
    ):
        raise_within(free)


def raise_within(config):
    with explained_exhaustion(training_with_less_memory(config)):
        raise MemoryError


def test_fault_33_out_of_memory_for_real(project):
    """Two million rows, all but fifty of them empty, in an address space of 8 GB."""
    limited = ["sh", "-c", 'ulimit -v 8000000 && exec "$0" "$@"']
    flags = ("--set", "training.batch_size=2000000", "data.packing=false")
    with process(project.root, "pretrain", "tiny", *flags, before=limited) as child:
        code, said = end_of(child)
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


@pytest.fixture(scope="module")
def rows_without(data, tmp_path_factory) -> bytes:
    """The rows that the run logs without W&B."""
    config = tiny.pretraining(data, data={"num_length_buckets": 1}, logging={"log_interval_updates": 1})
    return (run(config, tmp_path_factory.mktemp("run")) / "metrics/train/metrics.csv").read_bytes()


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize(
    ("fault", "environment", "warning"),
    [
        ("unreachable", {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "did not finish within"),
        ("no key", {}, "wandb login"),
        ("dying", {"WANDB_MODE": "offline"}, "ended unexpectedly"),
    ],
)
def test_fault_34_wandb_never_stands_in_the_way(project, rows_without, monkeypatch, fault, environment, warning):
    """All that is waited for is the end of its process, once, and that for 10 s at most."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if fault == "dying":
        monkeypatch.setattr(logger, "WandbRun", dying)
    assert wandb_run.FINISH_SECONDS + 2 * wandb_run.JOIN_SECONDS < 10
    limit = 2.0 if fault == "unreachable" else 600.0  # a process that ends by itself may take its time here
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", limit)
    limits, wait = [], subprocess.Popen.wait

    def noting_wait(process, timeout=None):
        if timeout is not None and "wandb_run" in str(process.args):
            limits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noting_wait)
    said = project.train("pretraining", *EVERY_UPDATE, "logging.use_wandb=true")
    assert limits == [limit]
    assert "warning: W&B: " in said
    assert warning in said
    assert (project.run_dir() / "metrics/train/metrics.csv").read_bytes() == rows_without
