"""Evaluates a saved model again: on the data of its run, as the run itself does, or on other data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from textclf_jax.config.schema import DEFAULT_WRAPPER, FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.data.collate import Batching
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator, evaluation_program
from textclf_jax.runs.checkpoint import SavedModel, load_model, read_metadata
from textclf_jax.runs.pretrained import ENCODER
from textclf_jax.runs.record import record_of
from textclf_jax.runtime.device import compute_precision, explained_exhaustion, set_up_device
from textclf_jax.runtime.programs import Programs
from textclf_jax.tasks import Task, make_task
from textclf_jax.tokenizer.loading import LoadedTokenizer, load_wrapper
from textclf_jax.training.plan import EVALUATION_BUCKETS, choose_batching
from textclf_jax.training.report import EvaluationReport

HELD_OUT = ("val", "test")
OTHER_DATA = "data"  # the name of what is no split of the run
SHOWN_LABELS = 10

Note = Callable[[str], None]


def evaluate_saved(
    folder: Path, split: str, *, file: Path | None = None, root: Path | None = None, note: Note = print
) -> EvaluationReport:
    """Evaluates a `model.ckpt` on a split of its run; the figures are those of the run, if nothing has changed.

    Args:
      folder: the model.
      split: train, val or test.
      file: a dataset file to evaluate on instead.
      root: the folder that relative data paths start from; the current one by default.
      note: gets lines on the data and on programs that are compiled.

    Raises:
      UserError: the model or the data is missing, damaged, or does not fit.
    """
    root = root or Path.cwd()
    config = _config_of(read_metadata(folder))
    with explained_exhaustion(config):
        set_up_device(config.training)  # JAX must know its device before arrays are loaded
        saved = load_model(folder)
        if isinstance(config, PretrainingConfig) and set(saved.variables["params"]) == {ENCODER}:
            raise UserError(f"{folder}: holds an encoder without its MLM head, which predicts nothing. Finetune it.")
        tokenizer = _tokenizer_of(saved, config)
        task = make_task(config, tokenizer)
        path = root / (file or _path_of(config, split, folder))
        data = _load(path, config, tokenizer)
        for line in data.notes:
            note(line)
        name = OTHER_DATA if file else split
        _compare(saved, name, data, note)
        if isinstance(config, FinetuningConfig):
            data = _in_classes_of_model(data, record_of(config, tokenizer, {"train": data}, root), saved, note)
        batching = _batching(task, tokenizer, name, data, root, note)
        module = task.module(compute_precision(config.training))
        programs = Programs(
            "evaluation", lambda shape: evaluation_program(task, module, batching.empty(shape), saved.variables), note
        )
        return EvaluationReport.of(saved, Evaluator(task, programs, batching), name, data)


def _config_of(metadata: dict[str, Any]) -> RunConfig:
    sections = metadata["config"]
    kind = FinetuningConfig if "classification_head" in sections else PretrainingConfig
    return kind.model_validate(sections)


def _tokenizer_of(saved: SavedModel, config: RunConfig) -> LoadedTokenizer:
    """The vocabulary that came with the model, and the wrapper where there is one."""
    wrapper = saved.vocab_dir / Path(config.tokenizer.wrapper_path).name
    wrapper_path = str(wrapper) if wrapper.is_file() else DEFAULT_WRAPPER
    return load_wrapper(wrapper_path, str(saved.vocab_dir), root=Path())


def _path_of(config: RunConfig, split: str, folder: Path) -> str:
    path = getattr(config.data, split).dataset_path
    if path is None:
        there = ", ".join(name for name in ("train", *HELD_OUT) if getattr(config.data, name).dataset_path)
        raise UserError(
            f"{folder}: its run had no {split} split (data.{split}.dataset_path), but: {there}. Choose one of these "
            "with --split, or name a file with --data."
        )
    return path


def _load(path: Path, config: RunConfig, tokenizer: LoadedTokenizer) -> Dataset:
    num_labels = config.classification_head.num_labels if isinstance(config, FinetuningConfig) else None
    return load_dataset(
        path,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        max_length=config.architecture.max_sequence_length,
        num_labels=num_labels,
    )


def _compare(saved: SavedModel, split: str, data: Dataset, note: Note) -> None:
    """Says so where a split is no longer the data that the run had."""
    before = saved.metadata.get("data", {}).get(split)
    if before and before["fingerprint"] != data.fingerprint:
        note(
            f"warning: {data.path} has changed since the model was trained (fingerprint {before['fingerprint']} then, "
            f"{data.fingerprint} now): these are not the figures of the run"
        )


def _in_classes_of_model(data: Dataset, record: dict[str, Any], saved: SavedModel, note: Note) -> Dataset:
    """The data with its labels as numbers of the model's classes, found by the names beside the data.

    Raises:
      UserError: the classes are others.
    """
    ours, theirs = saved.metadata["labels"], record["labels"]
    if ours == theirs:
        return data
    unnamed = [str(i) for i in range(len(ours))]
    if unnamed in (ours, theirs):
        where = (
            "the model's classes have no names" if ours == unnamed else f"no names of classes lie beside {data.path}"
        )
        named = ", ".join(
            f"{i} = {name}" for i, name in enumerate((theirs if ours == unnamed else ours)[:SHOWN_LABELS])
        )
        note(f"{where}: labels are taken as numbers of classes, {named}{', ...' * (len(ours) > SHOWN_LABELS)}")
        return data
    if sorted(ours) != sorted(theirs):
        only = [", ".join(n for n in one if n not in other) for one, other in ((ours, theirs), (theirs, ours))]
        raise UserError(
            f"{data.path}: its classes are not those of {saved.folder}. Only in the model: {only[0] or 'none'}; only "
            f"in the data: {only[1] or 'none'}. Prepare the data with the model's classes."
        )
    note(f"{data.path}: its classes are those of the model in another order; they are matched by name")
    numbers = np.array([ours.index(name) for name in theirs], np.int32)
    assert data.labels is not None
    return replace(data, labels=numbers[data.labels])


def _batching(task: Task, tokenizer: LoadedTokenizer, split: str, data: Dataset, root: Path, note: Note) -> Batching:
    """How the run itself batches a held-out split: its shapes depend on both of them. Others by themselves."""
    lengths = [data.lengths]
    if split in HELD_OUT:
        (other,) = (name for name in HELD_OUT if name != split)
        path = getattr(task.config.data, other).dataset_path
        if path and not (root / path).is_file():
            note(f"{root / path} is missing: so batches, and with them last digits, can differ from those of the run")
        elif path:
            both = {split: data.lengths, other: _load(root / path, task.config, tokenizer).lengths}
            lengths = [both[name] for name in HELD_OUT]
    return choose_batching(task, np.concatenate(lengths), EVALUATION_BUCKETS)
