"""Rows 25, 26 and 30: killed, asked to stop, started twice. What goes on afterwards is bitwise what never stopped."""

import random
import signal
import time

import pytest

from tests import tiny
from tests.faults.harness import COMMANDS, Project, end_of, process, wait_for
from tests.runs import check_same_run, saved_steps

# all that a resumed run must repeat: accumulation and dropout in both; random features redrawn; layers frozen at first
FEATURES = {
    "pretraining": {
        "training": {"grad_accum_steps": 3},
        "architecture": tiny.architecture(attention={"kind": "favor", "favor": {"redraw_interval": 5}}),
    },
    "finetuning": {
        "training": {"grad_accum_steps": 2, "freeze_epochs": 3, "freeze_n_layers": 1, "freeze_embeddings": True},
        "architecture": tiny.architecture(attention={"kind": "lsh", "lsh": {"chunk_size": 8}}),
    },
}
SAVING_ALWAYS = ("--set", "training.checkpoint_interval_updates=1")


def whole_run(project: Project, kind: str, **training) -> None:
    """Adds a run called whole and one called tiny that are the same, and runs the first to its end."""
    changes = {**FEATURES[kind], "training": {**FEATURES[kind]["training"], **training}}
    changes["data"] = {"num_length_buckets": 1}
    for name in ("whole", "tiny"):
        project.add(kind, name, **changes)
    # the name is the same, so that nothing but the folder differs
    config = project.run_dir(kind, "whole") / "config.yaml"
    config.write_text(config.read_text().replace("whole", "tiny"))
    project.train(kind, name="whole")


# --- 25: SIGKILL ----------------------------------------------------------------------------------------------


def kill_and_resume(project: Project, kind: str, kills: int, seed: int) -> None:
    """Kills a run at random moments, mostly while it trains and saves, then lets it end."""
    rng, steps = random.Random(seed), [0]
    for number in range(kills):
        with process(project.root, COMMANDS[kind], "tiny", *SAVING_ALWAYS) as child:
            if number % 5 == 4:
                time.sleep(rng.uniform(0.5, 3.0))  # while it starts
            else:
                wait_for(child, "compiling evaluation program")
                time.sleep(rng.uniform(0.2, 1.5))
            child.kill()
            assert end_of(child)[0] == -signal.SIGKILL
        folder = project.run_dir(kind) / "checkpoints"
        steps.append(max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0))
    assert steps == sorted(steps)
    assert steps[-1] > 0
    assert f"resuming after step {steps[-1]} of" in project.train(kind)
    check_same_run(project.run_dir(kind, "whole"), project.run_dir(kind))
    assert len(saved_steps(project.run_dir(kind))) == 2


@pytest.mark.parametrize("kind", ["pretraining", "finetuning"])
def test_fault_25_sigkill_while_training_and_saving(project, kind):
    whole_run(project, kind, epochs=40)
    kill_and_resume(project, kind, kills=2, seed=1)


@pytest.mark.slow
def test_fault_25_sigkill_twenty_times(project):
    whole_run(project, "pretraining", epochs=400)
    kill_and_resume(project, "pretraining", kills=20, seed=2)


# --- 26: SIGTERM and SIGINT -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "number", "code"),
    [
        ("slow_training", signal.SIGTERM, 143),
        ("slow_training", signal.SIGINT, 130),
        ("slow_evaluation", signal.SIGTERM, 143),
        ("slow_compilation", signal.SIGTERM, 143),
        ("slow_compilation", signal.SIGINT, 130),
    ],
)
def test_fault_26_signals_save_and_end(project, fault, number, code):
    whole_run(project, "pretraining", epochs=3)
    with process(project.root, "pretrain", "tiny", fault=fault) as child:
        wait_for(child, "now")
        child.send_signal(number)
        found, said, seconds = end_of(child)
    assert (found, "Traceback" in said) == (code, False), said
    assert seconds < 10
    if fault != "slow_compilation":
        assert "the same command goes on from there" in said
        (step,) = saved_steps(project.run_dir())
        assert step == 7 if fault == "slow_evaluation" else 0 < step < 21
    project.train()
    check_same_run(project.run_dir("pretraining", "whole"), project.run_dir())


@pytest.mark.parametrize("fault", ["slow_saving", "slow_compilation"])
def test_fault_26_a_second_signal_ends_at_once(project, fault):
    with process(project.root, "pretrain", "tiny", fault=fault) as child:
        wait_for(child, "now")
        child.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        code, _, seconds = end_of(child)
    assert code == 143
    assert seconds < 1


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
