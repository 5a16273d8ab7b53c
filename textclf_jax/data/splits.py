"""The data of a run: each split loaded and checked, and all of them in the same classes and the same vocabulary."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textclf_jax.config.schema import FinetuningConfig, Linear, RunConfig
from textclf_jax.constants import SPLITS
from textclf_jax.data.agreement import RunClasses, check_vocabularies, numbering_of, training_classes
from textclf_jax.data.beside import Beside, read_all_beside
from textclf_jax.data.content import SpecialTokens
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.data.shards import DataFiles, data_files, few, missing_data, refuse_shared
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import LoadedTokenizer


def load_splits(
    config: RunConfig,
    tokenizer: LoadedTokenizer,
    root: Path,
    *,
    splits: Sequence[str] = SPLITS,
    model_classes: Sequence[str] | None = None,
    vocab_dir: Path | None = None,
) -> dict[str, Dataset]:
    """Loads and checks the data of a run, by split; labels are in the numbers of the run's classes.

    Args:
      config: of the run.
      tokenizer: its vocabulary.
      root: the folder that relative paths start from.
      splits: which ones, where the config names a file.
      vocab_dir: where the tokenizer's vocabulary is; None: where the config has it.
      model_classes: the class names of a trained classifier; None: those of the training data, which is then needed.

    Raises:
      UserError: names the file, the row and the value at fault, and the remedy; or the splits do not mean the same.
    """
    files = _files(config, root, splits)
    labelled = isinstance(config, FinetuningConfig)
    beside = {name: read_all_beside(each.paths, with_names=labelled) for name, each in files.items()}
    named = [(name, each) for name, every in beside.items() for each in every]
    notes = check_vocabularies(named, tokenizer, vocab_dir or root / config.tokenizer.vocab_dir)
    classes = None
    if labelled:
        count = config.classification_head.num_labels
        if model_classes is None:
            classes = training_classes(beside["train"][0], count, notes)
        else:
            classes = RunClasses(count, tuple(model_classes), "the model")
    loaded = {}
    for name, each in files.items():
        loaded[name] = _load(config, tokenizer, each, beside[name], classes)
        if name == "train":
            config = with_tokens_read(config, loaded[name])
    return _told_once(loaded, notes)


def _files(config: RunConfig, root: Path, splits: Sequence[str]) -> dict[str, DataFiles]:
    """The files of each of the splits that the config has."""
    found = {}
    for name in splits:
        if not (given := getattr(config.data, name).dataset_path):
            continue
        key = f"data.{name}.dataset_path"
        if name != "train" and isinstance(given, str) and (missing := missing_data(root, given)):
            raise UserError(f"{key}: there is no {missing}. Set it to null if you have none.")
        found[name] = data_files(root, given, key)
    refuse_shared(found)
    return found


def with_tokens_read(config: RunConfig, train: Dataset) -> RunConfig:
    """The configuration with the tokens that its linear path reads: no more than rows of the training split have."""
    linear = _linear_of(config)
    if linear is None:
        return config
    assert isinstance(config, FinetuningConfig)
    limit = sys.maxsize if linear.max_tokens is None else linear.max_tokens
    linear = linear.model_copy(update={"max_tokens": min(limit, train.columns)})
    head = config.classification_head.model_copy(update={"linear": linear})
    return config.model_copy(update={"classification_head": head})


def _linear_of(config: RunConfig) -> Linear | None:
    """The settings of the linear path; None where there is none."""
    linear = config.classification_head.linear if isinstance(config, FinetuningConfig) else Linear()
    return linear if linear.enabled else None


def _told_once(splits: dict[str, Dataset], notes: list[str]) -> dict[str, Dataset]:
    """The splits, with further notes at the first one; what holds for a whole folder is told at its first file."""
    told: set[str] = set()
    result = {}
    for name, data in splits.items():
        own = [note for note in dict.fromkeys([*notes, *data.notes]) if note not in told]
        told.update(own)
        result[name] = replace(data, notes=tuple(own))
    return result


def _load(
    config: RunConfig,
    tokenizer: LoadedTokenizer,
    files: DataFiles,
    beside: Sequence[Beside],
    classes: RunClasses | None,
) -> Dataset:
    """Loads and checks the files of a split; their labels become numbers of `classes`, which are None for MLM."""
    notes, linear = list(dict.fromkeys(note for each in beside for note in each.notes)), _linear_of(config)
    data = load_dataset(
        files,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        max_length=config.architecture.max_sequence_length,
        num_labels=classes and classes.count,
        multi_label=isinstance(config, FinetuningConfig) and config.classification_head.multi_label,
        numbering=[numbering_of(each, classes, notes) for each in beside] if classes else None,
        special=SpecialTokens.of(tokenizer),
        read_beside=linear and (sys.maxsize if linear.max_tokens is None else linear.max_tokens),
    )
    return replace(data, notes=(*few(notes, files), *data.notes), class_names=classes and classes.names)
