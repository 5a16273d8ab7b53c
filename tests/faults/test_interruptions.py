"""Rows 25, 26 and 30: killed, asked to stop, started twice. What goes on afterwards is bitwise what never stopped."""

import functools
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.faults.harness import COMMANDS, Project, end_of, process, wait_for
from tests.trained import FEATURES, check_same_run, run, saved_steps
from textclf_jax.runs import signals

SAVING_ALWAYS = ("--set", "training.checkpoint_interval_updates=1")
KINDS = ("pretraining", "finetuning")


def changes(kind: str, **training: Any) -> dict[str, Any]:
    sections = FEATURES[kind]
    return {**sections, "training": {**sections["training"], **training}, "data": {"num_length_buckets": 1}}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Callable[..., Path]:
    """The folder of a run that was never stopped, run when it is first asked for."""

    @functools.cache
    def run_whole(kind: str, epochs: int) -> Path:
        build = {"pretraining": tiny.pretraining, "finetuning": tiny.finetuning}[kind]
        return run(build(data, **changes(kind, epochs=epochs)), tmp_path_factory.mktemp("whole"))

    return run_whole


# --- 25: SIGKILL ----------------------------------------------------------------------------------------------


def kill_and_resume(project: Project, kind: str, kills: int, seed: int) -> None:
    """Kills a run at random moments, mostly while it trains and saves, then lets it end."""
    rng, steps, folder = random.Random(seed), [0], project.run_dir(kind)
    for number in range(kills):
        # while it starts; or when it has saved at least once, and is far from its end
        updates, seconds = rng.randint(3, 5), rng.uniform(0.0, 0.05)
        if number % 5 == 4:
            updates, seconds = 0, rng.uniform(0.5, 3.0)
        fault = f"killed:{updates}:{seconds}"
        with process(project.root, COMMANDS[kind], "tiny", *SAVING_ALWAYS, fault=fault) as child:
            code, said = end_of(child)
        assert code == -signal.SIGKILL, said
        names = [path.name for path in (folder / "checkpoints").glob("*")]
        steps.append(max((int(name) for name in names if name.isdigit()), default=0))
    assert steps == sorted(steps)
    assert steps[-1] > 0
    assert f"resuming after step {steps[-1]} of" in project.train(kind)


@pytest.mark.parametrize(
    ("kind", "epochs", "kills"),
    [
        ("pretraining", 8, 2),
        pytest.param("finetuning", 8, 2, marks=pytest.mark.slow),
        pytest.param("pretraining", 16, 5, marks=pytest.mark.slow),
    ],
)
def test_fault_25_sigkill_while_training_and_saving(project, whole, kind, epochs, kills):
    project.add(kind, **changes(kind, epochs=epochs))
    kill_and_resume(project, kind, kills, seed=kills)
    check_same_run(whole(kind, epochs), project.run_dir(kind))
    assert len(saved_steps(project.run_dir(kind))) == 2


# --- 26: SIGTERM and SIGINT -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "number", "code"),
    [
        ("slow_training", signal.SIGTERM, 143),
        ("slow_evaluation", signal.SIGINT, 130),
        ("slow_compilation", signal.SIGTERM, 143),
        ("slow_compilation", signal.SIGINT, 130),
    ],
)
def test_fault_26_signals_save_and_end(project, whole, fault, number, code):
    project.add("pretraining", **changes("pretraining", epochs=8))
    with process(project.root, "pretrain", "tiny", fault=fault) as child:
        wait_for(child, "now")
        child.send_signal(number)
        found, said = end_of(child)  # what is slow would last an hour
    assert (found, "Traceback" in said) == (code, False), said
    if fault == "slow_compilation":
        assert saved_steps(project.run_dir()) == []
        return
    assert "the same command goes on from there" in said
    (step,) = saved_steps(project.run_dir())
    assert step == 7 if fault == "slow_evaluation" else step > 0
    project.train()
    check_same_run(whole("pretraining", 8), project.run_dir())


def test_fault_26_the_grace_is_within_ten_seconds():
    assert signals.GRACE_SECONDS < 10


@pytest.mark.parametrize("fault", ["slow_saving", "slow_compilation_without_grace"])
def test_fault_26_a_second_signal_ends_at_once(project, fault):
    """What it is in would last an hour; the exit code tells the second signal from the first."""
    with process(project.root, "pretrain", "tiny", fault=fault) as child:
        wait_for(child, "now")
        child.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.send_signal(signal.SIGTERM)
        code, _ = end_of(child)
    assert code == 143


# --- 30: two processes ----------------------------------------------------------------------------------------


def test_fault_30_a_second_process_is_refused(project):
    with process(project.root, "pretrain", "tiny", fault="slow_training") as first:
        wait_for(first, "now")
        code, _, err = project.command("pretrain", "tiny")
        assert code == 2
        assert f"another process (pid {first.pid}) is at work on this run" in err
        assert first.poll() is None
        first.kill()
        first.wait()
        said = project.train()  # a killed one leaves no lock behind
    assert (project.run_dir() / "summary.json").exists()
    assert not (project.run_dir() / ".lock").exists()
    assert "another process" not in said
