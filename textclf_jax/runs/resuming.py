"""Resuming a run: from its own checkpoints, or under a new name from those of an earlier one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from textclf_jax.config.problems import section_at
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.errors import UserError
from textclf_jax.runs.checkpoint import CHECKPOINTS_FOLDER, Checkpoints, contents_of, is_checkpoints_folder

# Keys that may differ between a run and the earlier one that it continues. All others decide what the saved state and
# its place in the data mean.
FREE = (
    "config.training.epochs",
    "config.training.max_updates",
    "config.training.learning_rate",
    "config.training.warmup_ratio",
    "config.training.schedule",
    "config.training.cooldown_ratio",
    "config.training.min_lr_ratio",
    "config.training.max_grad_norm",
    "config.training.eval_interval_updates",
    "config.training.early_stopping.metric",
    "config.training.early_stopping.patience",
    "config.architecture.attention.mha.implementation",
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


@dataclass
class Position:
    """How far a run has come, beside its train state: all that its records depend on.

    Attributes:
      step: micro-batches seen.
      best_score: the best validation score so far, of `training.early_stopping.metric`; infinite while there is none.
      best_loss: the validation loss of that evaluation, in nats.
      without_better: evaluations since then, which had no better score.
      loss, correct, count: sums since the last row of the log.
      skipped: micro-batches since the last row whose gradient was not finite.
      skipped_in_a_row: the latest uninterrupted run of them.
      evaluation_due: a signal came before the evaluation of this step was finished.
    """

    step: int = 0
    best_score: float = math.inf
    best_loss: float = math.inf
    without_better: int = 0
    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    evaluation_due: bool = False

    def stored(self) -> dict[str, Any]:
        """As JSON: numbers that are not finite, which JSON does not have, are text, such as "inf"."""
        return {name: value if math.isfinite(value) else str(value) for name, value in asdict(self).items()}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> "Position":
        """The position that was `stored`."""
        values: dict[str, Any] = {n: float(value) if isinstance(value, str) else value for n, value in stored.items()}
        if "best_loss" not in values:  # from when the loss was the score
            values["best_loss"] = values.get("best_score", math.inf)
        return cls(**values)

    def without_best(self) -> "Position":
        """The same place in a run whose evaluations start anew."""
        return replace(self, best_score=math.inf, best_loss=math.inf, without_better=0)


class Resumption(NamedTuple):
    """What a checkpoint gives back: the train state, in the host's memory, and the position of the run."""

    state: PyTree
    position: Position


def fingerprint_of(
    config: RunConfig, data: Mapping[str, str], vocabulary: str, *, packed: bool | str
) -> dict[str, Any]:
    """What must be the same when a run is resumed: data, vocabulary and every key that changes numbers.

    Args:
      config: of the run.
      data: the fingerprint of each split's file.
      vocabulary: the fingerprint of the vocabulary.
      packed: whether texts share rows, and how, which depends on the device, too.
    """
    dump = config.model_dump(mode="json", exclude={"logging": True, "experiment": {"output_dir", "name"}})
    # on how many devices a run goes on is free: what it computes does not depend on them
    for name in ("checkpoint_interval_updates", "checkpoint_interval_minutes", "profile", "mesh"):
        dump["training"].pop(name)
    return {"config": dump, "data": dict(data), "vocabulary": vocabulary, "batches": {"packed": packed}}


def resume(
    checkpoints: Checkpoints, like: PyTree, fingerprint: dict[str, Any], *, changed_data: bool
) -> Resumption | None:
    """Restores the newest sound checkpoint of an interrupted run; None where there is none.

    Args:
      checkpoints: of the run.
      like: its train state, or the shapes of one.
      fingerprint: of the run now.
      changed_data: accept other data; the best score, and the patience with it, then start anew.

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

    restored = _restore(checkpoints, like, check)
    if restored is None or not changed_data:
        return restored
    return restored._replace(position=restored.position.without_best())


def continue_earlier(path: Path, like: PyTree, fingerprint: dict[str, Any], *, length: str, steps: int) -> Resumption:
    """Takes over state and position of an earlier run (`training.resume.path`).

    Training resumes at its step, on the learning-rate schedule of the new run. The best score starts anew, and the
    patience with it: the earlier run's best model stays where it is. So does the count of gradients in a row that were
    not finite.

    Args:
      path: the folder of the earlier run, or its `checkpoints/`.
      like: the train state of the new run, or the shapes of one.
      fingerprint: of the new run.
      length: what decides the length of the new run, such as "training.epochs to more than 3", for the message.
      steps: its length.

    Raises:
      UserError: no checkpoints there, keys that must agree differ, or the new run is no longer than the earlier one.
    """
    folder = _checkpoints_folder(path)

    def check(position: dict[str, Any]) -> None:
        changed = _changes(position["fingerprint"], fingerprint, FREE)
        if changed:
            raise UserError(
                "\n  ".join([f"{path} was trained with other settings or data, so not everything can go on:", *changed])
                + "\nUndo the change, or set training.resume.weights_only to true."
            )
        if position["step"] >= steps:
            raise UserError(
                f"{path} is at step {position['step']}, but this run would end at step {steps}. Set {length}."
            )

    checkpoints = Checkpoints(folder, read_only=True)
    try:
        restored = _restore(checkpoints, like, check)
    finally:
        checkpoints.close()
    assert restored is not None
    state, position = restored
    print(f"continuing {folder} after step {position.step} of now {steps}", flush=True)
    return Resumption(state, replace(position.without_best(), skipped_in_a_row=0))


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


def _restore(checkpoints: Checkpoints, like: PyTree, check: Callable[[dict[str, Any]], None]) -> Resumption | None:
    notes: list[str] = []
    restored = checkpoints.restore(like, notes, check)
    for note in notes:
        print(note, flush=True)
    if restored is None:
        return None
    arrays, position = restored
    place = {key: value for key, value in position.items() if key != "fingerprint"}
    return Resumption(arrays, Position.restored(place))


def _changes(before: dict[str, Any], now: dict[str, Any], free: tuple[str, ...] = ()) -> list[str]:
    now = _flat(now)
    # a checkpoint from before a key was added has it at its default, which does what was done without the key
    before = {key: _default(key, now) for key in now} | _flat(before)
    return [
        f"{key}: {before.get(key)} before, {now.get(key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in free
    ]


def _default(key: str, fingerprint: dict[str, Any]) -> Any:
    """What the schema has for a key of a flat fingerprint; None where it has no default."""
    part, *path = key.split(".")
    kind = fingerprint.get("config.experiment.kind")
    section = section_at(FinetuningConfig if kind == "finetuning" else PretrainingConfig, tuple(path[:-1]))
    field = section.model_fields.get(path[-1]) if part == "config" and section and path else None
    return None if field is None or field.is_required() else field.get_default()


def _flat(tree: PyTree, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}".lstrip(".")).items()}
