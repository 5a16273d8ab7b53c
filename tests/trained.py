"""Runs in this process, stopped and compared; arrays compared."""

import os
import signal
from collections.abc import Container
from pathlib import Path

import jax
import numpy as np

from tests import tiny
from textclf_jax.config.schema import RunConfig
from textclf_jax.observe.progress import Progress
from textclf_jax.runs.checkpoint import Checkpoints, load_model
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.training import loop
from textclf_jax.training.fit import fit

# all that a resumed run must repeat: accumulation and dropout in both; random features redrawn; layers frozen at first
FEATURES = {
    "pretraining": {
        "training": {"grad_accum_steps": 3},
        "architecture": tiny.architecture(attention={"kind": "favor", "favor": {"redraw_interval": 5}}),
    },
    "finetuning": {
        "training": {
            "grad_accum_steps": 2,
            "freeze_epochs": 3,
            "freeze_n_layers": 1,
            "freeze_embeddings": True,
            "class_weights": "balanced",
            "label_smoothing": 0.1,
            "layer_lr_decay": 0.8,
        },
        "architecture": tiny.architecture(attention={"kind": "lsh", "lsh": {"chunk_size": 8}}),
    },
}


def run(config: RunConfig, folder: Path, **options) -> Path:
    """Runs a configuration to its end in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    assert fit(config, folder, **options) == 0
    return folder


def interrupted(config: RunConfig, folder: Path, monkeypatch, *, at_update: int, **options) -> Path:
    """Runs until SIGINT arrives when an update is reported."""
    original, sent = Progress.update, []

    def update(self, update, **figures):
        original(self, update, **figures)
        if update >= at_update and not sent:
            sent.append(update)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", update)
        folder.mkdir(parents=True, exist_ok=True)
        assert fit(config, folder, **options) == 130
    return folder


def poison(monkeypatch, steps: Container[int]) -> None:
    """Gives the gradient of some steps a NaN, by way of the factor of their loss."""
    original = loop.training_batches

    def stream(*arguments):
        for batch in original(*arguments):
            if batch.step in steps:
                batch.arrays["scale"] = np.float32("nan")
            yield batch

    monkeypatch.setattr(loop, "training_batches", stream)


def saved_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints of a run; fails where anything else lies among them."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def last_state(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the newest checkpoint by name: parameters, optimizer state, step."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    restored = checkpoints.restore(None, notes := [])
    checkpoints.close()
    assert restored is not None
    assert notes == []
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(restored[0])}


def check_same_run(one: Path, other: Path) -> None:
    """Bitwise the same last state, best model and CSV files."""
    states = last_state(one), last_state(other)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert value.tobytes() == states[1][name].tobytes(), name
    for split in ("train", "eval", "test"):
        file = f"metrics/{split}/metrics.csv"
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    for leaf, other_leaf in zip(
        *(jax.tree.leaves(load_model(folder / "model.ckpt").variables) for folder in (one, other)), strict=True
    ):
        assert leaf.tobytes() == other_leaf.tobytes()


def read_column(folder: Path, name: str) -> list[float]:
    """A column of the metrics file of its split, e.g. train/loss."""
    return [row[name] for row in read_metrics(folder / "metrics" / name.split("/")[0] / "metrics.csv")]


def assert_same(found, expected) -> None:
    """Two sequences of equal arrays, types included."""
    assert len(found) == len(expected)
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)
