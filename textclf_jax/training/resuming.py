"""Going on with a run: from its own checkpoints, or under a new name from those of an earlier one."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax.data.packing import Packed
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import Checkpoints, contents_of
from textclf_jax.training.loop import Position
from textclf_jax.training.pretrained import CHECKPOINTS_FOLDER, is_checkpoints_folder
from textclf_jax.training.run import Run
from textclf_jax.training.steps import TrainState

# what a run that continues an earlier one may change: all else decides what its state and its place in the data mean
FREE = (
    "config.training.epochs",
    "config.training.learning_rate",
    "config.training.warmup_ratio",
    "config.training.min_lr_ratio",
    "config.training.max_grad_norm",
    "config.training.eval_interval_updates",
    "config.training.device",
    "config.training.use_amp",
    "config.training.resume.path",
    "config.training.resume.weights_only",
    "config.data.train.dataset_path",
    "config.data.val.dataset_path",
    "config.data.test.dataset_path",
    "data.val",
    "data.test",
    "batches.packed",
)
DATA = ("data.train", "data.val", "data.test")


def fingerprint_of(run: Run) -> dict[str, Any]:
    """What must be the same when a run goes on: data, vocabulary and every key that has to do with numbers."""
    dump = run.config.model_dump(mode="json", exclude={"logging": True, "experiment": {"output_dir", "name"}})
    for name in ("checkpoint_interval_updates", "checkpoint_interval_minutes", "profile"):
        dump["training"].pop(name)
    data = {name: data.fingerprint for name, data in run.splits.items()}
    batches = {"packed": isinstance(run.batching, Packed)}  # which depends on the device, too
    return {"config": dump, "data": data, "vocabulary": run.tokenizer.fingerprint, "batches": batches}


def go_on(
    checkpoints: Checkpoints, state: TrainState, fingerprint: dict[str, Any], *, changed_data: bool
) -> tuple[Any, Position] | None:
    """Restores the newest sound checkpoint of an interrupted run; None where there is none.

    Args:
      checkpoints: of the run.
      state: its train state, or the shapes of one.
      fingerprint: what the run depends on now.
      changed_data: accept other data; what counts as best is found anew.

    Raises:
      UserError: settings or data have changed, or no checkpoint is sound.
    """

    def check(position: dict[str, Any]) -> None:
        if changed := _changes(position["fingerprint"], fingerprint, DATA if changed_data else ()):
            only_data = not _changes(position["fingerprint"], fingerprint, DATA)
            remedy = "go on all the same with --changed-data, " if only_data else ""
            raise UserError(
                "\n  ".join(["this run was begun with other settings or data, and cannot go on with these:", *changed])
                + f"\nUndo the change, {remedy}start over with --fresh, or make a new experiment."
            )

    restored = _restore(checkpoints, state, check)
    if restored is None or not changed_data:
        return restored
    return restored[0], replace(restored[1], best_score=inf)


def continue_earlier(run: Run, like: TrainState, fingerprint: dict[str, Any]) -> tuple[Any, Position]:
    """Takes over state and position of the earlier run that `training.resume.path` names.

    Training goes on at its step, on the learning-rate schedule of the new run. The best model is looked for anew: the
    earlier one stays where it is.

    Args:
      run: the new run.
      like: its train state, or the shapes of one.
      fingerprint: of the new run.

    Raises:
      UserError: no checkpoints there, keys that must agree differ, or the new run is no longer than the earlier one.
    """
    path = run.root / str(run.config.training.resume.path)
    folder = _checkpoints_folder(path)

    def check(position: dict[str, Any]) -> None:
        changed = _changes(position["fingerprint"], fingerprint, FREE)
        if changed:
            raise UserError(
                "\n  ".join([f"{path} was trained with other settings or data, so not everything can go on:", *changed])
                + "\nUndo the change, or set training.resume.weights_only to true."
            )
        if position["step"] >= run.length.steps:
            raise UserError(
                f"{path} is at step {position['step']}, but this run would end at step {run.length.steps}. "
                f"Set training.epochs to more than {run.config.training.epochs}."
            )

    checkpoints = Checkpoints(folder, read_only=True)
    try:
        restored = _restore(checkpoints, like, check)
    finally:
        checkpoints.close()
    assert restored is not None
    state, position = restored
    print(f"continuing {folder} after step {position.step} of now {run.length.steps}", flush=True)
    return state, replace(position, best_score=inf)


def _checkpoints_folder(path: Path) -> Path:
    for folder in (path, path / CHECKPOINTS_FOLDER):
        if is_checkpoints_folder(folder):
            return folder
    why = "is a file: optimizer state of PyTorch cannot be continued" if path.is_file() else "holds no optimizer state"
    where = path if path.is_dir() else path.parent
    raise UserError(
        f"training.resume.path {path} {why}. {contents_of(where)} Name a run folder with {CHECKPOINTS_FOLDER}/ in it, "
        "or set training.resume.weights_only to true."
    )


def _restore(checkpoints: Checkpoints, like: Any, check: Callable[[dict[str, Any]], None]):
    notes: list[str] = []
    restored = checkpoints.restore(like, notes, check)
    for note in notes:
        print(note, flush=True)
    if restored is None:
        return None
    arrays, position = restored
    place = {key: value for key, value in position.items() if key != "fingerprint"}
    return jax.tree.map(jnp.asarray, arrays), Position(**place)


def _changes(before: dict[str, Any], now: dict[str, Any], free: tuple[str, ...] = ()) -> list[str]:
    before, now = _flat(before), _flat(now)
    return [
        f"{key}: {before.get(key)} before, {now.get(key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in free
    ]


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}".lstrip(".")).items()}
