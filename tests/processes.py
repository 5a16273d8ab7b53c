"""Runs of several processes on this machine, which JAX connects; each makes several devices of the CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.devices import PATIENCE
from textclf_jax.config.file import dump_config
from textclf_jax.config.schema import RunConfig

ROOT = Path(__file__).resolve().parent.parent
UPDATE_SECONDS = 600  # until an update is seen; a busy machine takes long to start and to compile


def write_run(project: Path, config: RunConfig) -> Path:
    """The folder of a run in a project, with its config."""
    folder = project / "experiments" / config.experiment.kind / config.experiment.name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    return folder


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(
    run_dir: Path,
    *arguments: str,
    processes: int = 1,
    devices: int = 1,
    of_each: Sequence[Sequence[str]] | None = None,
) -> list[subprocess.Popen[str]]:
    """Starts the training command of a run in so many processes, each with so many devices.

    What a process prints goes to `run_dir / "said-I"`. Further arguments can differ between processes.
    """
    command = {"pretraining": "pretrain", "finetuning": "finetune"}[run_dir.parent.name]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices} {PATIENCE}".strip()
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    port, started = free_port(), []
    for index in range(processes):
        told = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(processes), "--process-id", str(index)]
        told = [*(told if processes > 1 else ()), *(of_each[index] if of_each else ())]
        with (run_dir / f"said-{index}").open("w") as said:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "textclf_jax", command, run_dir.name, *arguments, *told],
                    cwd=run_dir.parents[2],
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
    return started


def said(run_dir: Path, index: int = 0) -> str:
    """What a process has printed so far."""
    return (run_dir / f"said-{index}").read_text(encoding="utf-8", errors="replace")


def ended(started: list[subprocess.Popen[str]], seconds: float = UPDATE_SECONDS) -> list[int]:
    """The exit codes of processes that end by themselves within some seconds; others are killed, which fails."""
    try:
        return [process.wait(seconds) for process in started]
    finally:
        for process in started:
            process.kill()


def train(run_dir: Path, *arguments: str, processes: int = 1, devices: int = 1) -> Path:
    """Runs the command to its end."""
    codes = ended(start(run_dir, *arguments, processes=processes, devices=devices))
    assert codes == [0] * processes, [said(run_dir, index) for index in range(processes)]
    return run_dir


def wait_for_rows(run_dir: Path, count: int, started: list[subprocess.Popen[str]]) -> None:
    """Waits until a run has written so many rows of its training log."""
    path, end = run_dir / "metrics" / "train" / "metrics.csv", time.monotonic() + UPDATE_SECONDS
    while not path.exists() or path.read_text(encoding="utf-8").count("\n") <= count:
        assert time.monotonic() < end
        assert all(process.poll() is None for process in started), [said(run_dir, i) for i in range(len(started))]
        time.sleep(0.02)


def signalled(
    run_dir: Path, which: int, number: signal.Signals, *, rows: int, seconds: float = 0.0, **counts: int
) -> list[int]:
    """Starts a run, sends a signal to one of its processes after some rows and seconds, and gives all exit codes."""
    started = start(run_dir, **counts)
    try:
        wait_for_rows(run_dir, rows, started)
        time.sleep(seconds)
        started[which].send_signal(number)
    finally:
        codes = ended(started)
    return codes
