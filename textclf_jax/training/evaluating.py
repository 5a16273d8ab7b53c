"""Evaluates a saved model again: on the data of its run, as the run itself does, or on other data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.config.file import config_of
from textclf_jax.config.schema import RunConfig
from textclf_jax.constants import SPLITS
from textclf_jax.data.beside import read_beside
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.shards import missing_data
from textclf_jax.data.splits import load_splits
from textclf_jax.errors import UserError
from textclf_jax.evaluation.confidence import Confidence, limit_errors, stored_temperature, top_class
from textclf_jax.evaluation.evaluator import Evaluator, evaluation_program, predicts
from textclf_jax.runs.checkpoint import SavedModel, load_model, read_metadata
from textclf_jax.runs.model_notes import replace_metadata
from textclf_jax.runs.pretrained import require_head
from textclf_jax.runtime.device import compute_precision, explained_exhaustion, on_any_device, set_up_device
from textclf_jax.runtime.programs import Programs
from textclf_jax.tasks import make_task
from textclf_jax.tasks.confidence import ABSTENTION, TEMPERATURE
from textclf_jax.tokenizer.loading import LoadedTokenizer, load_kept
from textclf_jax.training.batching import EVALUATION_BUCKETS, choose_batching
from textclf_jax.training.report import EvaluationReport

HELD_OUT = SPLITS[1:]
OTHER_DATA = "data"  # the name of what is no split of the run
WITH_LESS_MEMORY = (
    "Free some memory, take a device that has more (JAX_PLATFORMS=cpu: the memory of this computer), or evaluate parts "
    "of the data with --data."
)

Note = Callable[[str], None]


class Loaded(NamedTuple):
    """A saved model, what evaluates it, and the rows to evaluate it on."""

    saved: SavedModel
    evaluator: Evaluator
    data: Dataset


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
    with explained_exhaustion(WITH_LESS_MEMORY):
        saved, evaluator, data = load_for_evaluation(folder, split, file, root or Path.cwd(), note)
        return EvaluationReport.of(saved, evaluator, OTHER_DATA if file else split, data)


def predict_split(
    folder: Path, split: str, *, note: Note = print
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"] | None, Dataset]:
    """What a saved classifier predicts for the rows of a split of its run.

    Args: those of `evaluate_saved`.

    Returns:
      The class of each row, -1 for all where it does not predict; that by its linear path alone, None where there is
      none; and the split.
    """
    with explained_exhaustion(WITH_LESS_MEMORY):
        saved, evaluator, data = load_for_evaluation(folder, split, None, Path.cwd(), note)
        return *evaluator.predicted(saved.variables, data), data


def calibrate(folder: Path, max_error: float | None, *, file: Path | None = None, note: Note = print) -> Confidence:
    """Chooses a saved classifier's temperature, and when it says "don't know"; writes both into its metadata.

    Args:
      folder: the model.
      max_error: the share of texts that may get a wrong label; None: every text gets a label.
      file: a dataset file to choose by instead of the validation split.
      note: as in `evaluate_saved`.

    Returns:
      What was found, on the same rows.

    Raises:
      UserError: the model or the data is missing, damaged, or does not fit; or there are too few rows for the limit.
    """
    with explained_exhaustion(WITH_LESS_MEMORY):
        saved, evaluator, data = load_for_evaluation(folder, "val", file, Path.cwd(), note)
        logits, labels = evaluator.outcome(saved.variables, data)[1:3]
    if labels is None or labels.ndim > 1:
        what = "a pretrained encoder" if labels is None else "a classifier with several labels a text"
        raise UserError(f"{folder}: is {what}; only classifiers that give each text one label are calibrated")
    if not predicts(logits):
        raise UserError(f"{folder}: this model gives NaN or infinity: its training went wrong. Train it again.")
    described = {name: value for name, value in saved.metadata.items() if name != ABSTENTION}
    described |= stored_temperature(logits, labels)
    if max_error is not None:
        classes, confidence = top_class(logits, described[TEMPERATURE])
        described |= limit_errors(confidence, classes == labels, max_error).stored()
    replace_metadata(folder, described)
    return Confidence.of(logits, labels, described)


def load_for_evaluation(folder: Path, split: str, file: Path | None, root: Path, note: Note) -> Loaded:
    """Loads a saved model and the rows to evaluate it on; arguments and errors are those of `evaluate_saved`."""
    config = on_any_device(config_of(read_metadata(folder)["config"]))
    set_up_device(config.training)  # JAX must know its device before arrays are loaded
    saved = load_model(folder)
    require_head(saved)
    tokenizer = load_kept(saved.vocab_dir, config.tokenizer)
    task = make_task(config, tokenizer)
    data, held_out = _load_data(config, saved, tokenizer, root, split, file, note)
    batching = choose_batching(task, held_out, EVALUATION_BUCKETS, train=False)
    module = task.module(compute_precision(config.training))
    programs = Programs(
        "evaluation", lambda shape: evaluation_program(task, module, batching.empty(shape), saved.variables), note
    )
    return Loaded(saved, Evaluator(task, programs, batching), data)


def _load_data(
    config: RunConfig,
    saved: SavedModel,
    tokenizer: LoadedTokenizer,
    root: Path,
    split: str,
    file: Path | None,
    note: Note,
) -> tuple[Dataset, Int[np.ndarray, " M"]]:
    """The rows to evaluate, and the lengths that batches are made for: of both held-out splits for one of them."""
    if file:
        if missing_data(root, str(file)):
            raise UserError(f"--data {file}: there is no such file")
        if saved.metadata["labels"] and read_beside(root / file).names is None:
            note(f"{root / file}: nothing beside it names its classes: its labels are taken as the model's numbers")
        test = config.data.test.model_copy(update={"dataset_path": str(file)})
        config = config.model_copy(update={"data": config.data.model_copy(update={"test": test})})
        data = _load(("test",), config, saved, tokenizer, root, note)["test"]
        return data, data.lengths
    paths = {name: path for name in SPLITS if (path := getattr(config.data, name).dataset_path)}
    if split not in paths:
        raise UserError(
            f"{saved.folder}: its run had no {split} split (data.{split}.dataset_path), but: {', '.join(paths)}. "
            "Choose one of these with --split, or name a file with --data."
        )
    if missing := missing_data(root, paths[split]):
        raise UserError(
            f"{missing}: there is no such file; the model's run had it as {split} split. Put it back, "
            "or name another file with --data."
        )
    together = [name for name in paths if name in HELD_OUT] if split in HELD_OUT else [split]
    for name in [name for name in together if name != split]:
        if missing := missing_data(root, paths[name]):
            note(f"{missing} is missing: batches, and with them last digits, can differ from those of the run")
            together.remove(name)
    loaded = _load(together, config, saved, tokenizer, root, note)
    _compare(saved, split, loaded[split], note)
    return loaded[split], np.concatenate([loaded[name].lengths for name in together])


def _load(
    splits: Sequence[str], config: RunConfig, saved: SavedModel, tokenizer: LoadedTokenizer, root: Path, note: Note
) -> dict[str, Dataset]:
    """Splits in the numbers of the model's classes."""
    own = tokenizer.source is None  # else the form of its files is not known, and they cannot be compared
    classes, vocab_dir = saved.metadata["labels"], saved.vocab_dir if own else None
    loaded = load_splits(config, tokenizer, root, splits=splits, model_classes=classes, vocab_dir=vocab_dir)
    for line in (line for data in loaded.values() for line in data.notes):
        note(line)
    return loaded


def _compare(saved: SavedModel, split: str, data: Dataset, note: Note) -> None:
    """Says so where a split is no longer the data that the run had."""
    before = saved.metadata.get("data", {}).get(split)
    if before and before["fingerprint"] != data.fingerprint:
        note(
            f"warning: {data.path} has changed since the model was trained (fingerprint {before['fingerprint']} then, "
            f"{data.fingerprint} now): these are not the figures of the run"
        )
