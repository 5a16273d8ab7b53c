"""Raw text to a dataset folder: read, split, number the classes, train or load the vocabulary, encode, write.

<out>/vocab/{vocab.txt,tokenizer.json}   <out>/mlm/{train,val,test}.pt   <out>/cls/{train,val,test}.pt
<out>/labels.txt (a class a line, in the order of ids)   <out>/dataset.json   <out>/splits/*.csv (where we split)
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.report import NUM_SPECIAL, Report, SplitReport, describe_split
from textclf_jax.prepare.splitting import (
    Splits,
    class_ids,
    count_contradictions,
    count_duplicates,
    drop_duplicates,
    read_label_names,
    stratified_split,
)
from textclf_jax.prepare.texts import ReadOptions, Row, read_rows
from textclf_jax.tokenizer.rows import Encoded
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

DATASET_FILE, LABELS_FILE = "dataset.json", "labels.txt"
DEFAULT_VOCAB_SIZE, DEFAULT_MIN_FREQUENCY = 30_000, 2
SPLITS = ("train", "val", "test")
SHOWN_ROWS = 5

Stage = Callable[[str, int, int], None]  # what is being done, how many texts are done, of how many (0: unknown)


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare; one field a flag of `textclf prepare`.

    Attributes:
      out: the folder to make.
      inputs: files to split into train, val and test; or
      train, val, test: files that are split already. Without val, some of train becomes val.
      extra_text: unlabelled files, for the MLM training rows and the vocabulary.
      read: how files are read.
      task: which files to write; None: "both" where there are labels, else "mlm".
      vocab: a vocabulary to use, instead of training one of vocab_size (None: 30,000) with
        min_frequency (None: 2) and lowercase.
      max_length: L of all rows.
      val_fraction, test_fraction: shares of all rows.
      seed: decides the split.
      deduplicate: drop rows that repeat a text, the copy in train stays.
      long_texts: whether MLM rows split long texts or cut them off; CLS rows are always cut.
      skip_empty: drop labelled rows without text, which are an error otherwise.
      label_names: a file with a class name a line, for labels that are ids.
      force: replace a dataset that is there.
    """

    out: Path
    inputs: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    val: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    extra_text: tuple[Path, ...] = ()
    read: ReadOptions = field(default_factory=ReadOptions)
    task: Literal["mlm", "cls", "both"] | None = None
    vocab: Path | None = None
    vocab_size: int | None = None
    min_frequency: int | None = None
    lowercase: bool = True
    max_length: int = 128
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 42
    deduplicate: bool = False
    long_texts: Literal["split", "truncate"] = "split"
    skip_empty: bool = False
    label_names: Path | None = None
    force: bool = False

    @property
    def sources(self) -> list[tuple[str, tuple[Path, ...]]]:
        """The text files by their role."""
        roles = ("input", self.inputs), ("train", self.train), ("val", self.val), ("test", self.test)
        return [(role, paths) for role, paths in (*roles, ("extra", self.extra_text)) if paths]


def prepare(options: PrepareOptions, stage: Stage = lambda what, done, total: None) -> Report:
    """Makes a dataset folder; it appears whole or not at all.

    Args:
      options: what to make.
      stage: called as the work goes on.

    Returns:
      What was made, and what is worth knowing about it.

    Raises:
      UserError: a fault in the texts, labels or options, with file and line.
    """
    _check_options(options)
    _check_target(options.out, options.force)
    stage("reading", 0, 0)
    rows = {role: [row for path in paths for row in read_rows(path, options.read)] for role, paths in options.sources}
    labelled = any(row.label is not None for row in rows.get("input", rows.get("train", [])))
    task = options.task or ("both" if labelled else "mlm")
    report = Report()
    rows = _drop_empty(rows, task, options.skip_empty, report)
    splits = _split(rows, options, report)
    splits = _deduplicate(splits, options.deduplicate, report)
    labels: dict[str, np.ndarray] = {}
    if task != "mlm":
        given = None if options.label_names is None else read_label_names(options.label_names)
        report.label_names, labels = class_ids({n: part for n, part in splits.items() if n != "extra"}, given)
    wrapper = _vocabulary(splits, options, stage)
    report.vocab_size, report.fingerprint = wrapper.vocab_size, wrapper.fingerprint
    with _whole_folder(options.out, options.force) as folder:
        wrapper.save(folder / "vocab")
        encoder = _Encoder(folder, wrapper, task, options, stage)
        for name in (name for name in SPLITS if name in splits):
            extra = splits.get("extra", []) if name == "train" else []
            report.splits[name] = encoder.write(name, splits[name], extra, labels.get(name), report.label_names)
        _write_texts(folder, splits, report)
        _write_description(folder, task, options, report)
    return report


# --- reading --------------------------------------------------------------------------------------------------


def _check_options(options: PrepareOptions) -> None:
    if bool(options.inputs) == bool(options.train):
        raise UserError("give either INPUT files, which are split, or --train (and --val, --test)")
    if options.inputs and (options.val or options.test):
        raise UserError("--val and --test go with --train; INPUT files are split into all three")
    for flag, fraction in (("--val-fraction", options.val_fraction), ("--test-fraction", options.test_fraction)):
        if not 0 <= fraction < 1:
            raise UserError(f"{flag} {fraction:g} must be at least 0 and below 1")
    if options.val_fraction + options.test_fraction >= 1:
        raise UserError("--val-fraction and --test-fraction leave nothing to train on")
    if options.max_length < 3:
        raise UserError(f"--max-length {options.max_length} must be at least 3: [CLS], a token, [SEP]")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} must not be negative")
    trains = {
        "--vocab-size": options.vocab_size is not None,
        "--min-frequency": options.min_frequency is not None,
        "--no-lowercase": not options.lowercase,
    }
    if options.vocab is not None and any(trains.values()):
        flag = next(flag for flag, given in trains.items() if given)
        raise UserError(f"--vocab uses a vocabulary as it is, {flag} is for training one: give one of the two")


def _check_target(out: Path, force: bool) -> None:
    """Raises UserError unless `out` is free, or one of our datasets that may be replaced."""
    if not out.exists() and not out.is_symlink():
        parent = next(parent for parent in out.absolute().parents if parent.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise UserError(f"{out}: cannot be made, for {parent} is not a folder that you may write to")
        return
    if not out.is_dir() or out.is_symlink():
        raise UserError(f"{out}: is there already and is no folder; choose another --out")
    if not any(out.iterdir()):
        return
    if not (out / DATASET_FILE).is_file():
        raise UserError(f"{out}: is there already and holds something else than a dataset; choose another --out")
    if not force:
        raise UserError(f"{out}: holds a dataset already. Choose another --out, or replace it with --force.")


def _drop_empty(rows: Splits, task: str, skip_empty: bool, report: Report) -> Splits:
    """Leaves out rows without text, and counts them; labelled ones only if the user knows of them."""
    for role, part in rows.items():
        empty = [row for row in part if not row.text]
        if task != "mlm" and role != "extra":
            unlabelled = next((row.path for row in part if row.label is None), None)
            if unlabelled is not None:
                raise UserError(
                    f"{unlabelled}: has no labels, which classification needs: --label-column or --task mlm"
                )
            if empty and not skip_empty:
                places = ", ".join(row.place for row in empty[:SHOWN_ROWS]) + ", ..." * (len(empty) > SHOWN_ROWS)
                raise UserError(f"{len(empty)} labelled rows have no text ({places}). Mend them, or pass --skip-empty.")
        if len(empty) == len(part):
            raise UserError(f"{part[0].path}: has no row with text")
        report.empty[role] = len(empty)
    return {role: [row for row in part if row.text] for role, part in rows.items()}


def _split(rows: Splits, options: PrepareOptions, report: Report) -> Splits:
    """Rows by split, divided by us where the files are not."""
    given = {name: rows[name] for name in ("val", "test", "extra") if name in rows}
    whole = rows.get("input") or rows["train"]
    val_fraction = 0.0 if "val" in given else options.val_fraction
    test_fraction = 0.0 if "train" in rows else options.test_fraction
    report.split_by_us = val_fraction + test_fraction > 0
    parts = stratified_split([row.label for row in whole], val_fraction, test_fraction, options.seed)
    made = {name: [whole[i] for i in part] for name, part in zip(SPLITS, parts, strict=True) if len(part)}
    together = {**made, **given}
    return {name: together[name] for name in (*SPLITS, "extra") if name in together}


def _deduplicate(splits: Splits, drop: bool, report: Report) -> Splits:
    """Counts rows that repeat a text, and drops them if asked to."""
    report.duplicates, report.deduplicated = count_duplicates(splits), drop
    report.contradictions = count_contradictions(splits)
    if not drop:
        return splits
    kept = drop_duplicates(splits)
    if gone := [name for name in kept if not kept[name]]:
        raise UserError(f"--deduplicate leaves nothing of {gone[0]}: all its texts are in the splits before it")
    return kept


# --- vocabulary and encoding ----------------------------------------------------------------------------------


def _vocabulary(splits: Splits, options: PrepareOptions, stage: Stage) -> WordPieceTokenizerWrapper:
    """The vocabulary that was named, or one trained on the training rows alone."""
    if options.vocab is not None:
        return WordPieceTokenizerWrapper().load(options.vocab)
    texts = [row.text for row in (*splits["train"], *splits.get("extra", []))]
    stage("training the vocabulary", 0, 0)
    return WordPieceTokenizerWrapper().train(
        texts=texts,
        vocab_size=options.vocab_size or DEFAULT_VOCAB_SIZE,
        min_frequency=options.min_frequency or DEFAULT_MIN_FREQUENCY,
        lowercase=options.lowercase,
    )


@dataclass(frozen=True)
class _Encoder:
    """Encodes splits and writes their rows."""

    folder: Path
    wrapper: WordPieceTokenizerWrapper
    task: str
    options: PrepareOptions
    stage: Stage

    def write(
        self, name: str, rows: list[Row], extra: list[Row], labels: np.ndarray | None, label_names: list[str] | None
    ) -> SplitReport:
        """Writes cls/<name>.pt and mlm/<name>.pt, as the task has it; extra rows go to the latter."""
        texts, report = [row.text for row in rows], SplitReport()
        if self.task != "cls":
            encoded = self._encode(f"encoding {name} for MLM", [*texts, *(row.text for row in extra)], mlm=True)
            mlm_rows = self._write_mlm(name, encoded)
            report = describe_split(encoded, mlm_rows=mlm_rows)
        if labels is not None:
            encoded = self._encode(f"encoding {name} for CLS", texts, mlm=False)
            path = self._path("cls", name)
            write_tensors(path, encoded.input_ids, encoded.attention_mask, labels)
            counts = np.bincount(labels, minlength=len(label_names or []))
            report = describe_split(encoded, mlm_rows=report.mlm_rows, class_counts=counts)
        return report

    def _encode(self, what: str, texts: list[str], *, mlm: bool) -> Encoded:
        self.stage(what, 0, len(texts))
        return self.wrapper.encode(
            texts,
            max_length=self.options.max_length,
            overflow=self.options.long_texts if mlm else "truncate",
            progress=lambda done: self.stage(what, done, len(texts)),
        )

    def _write_mlm(self, name: str, encoded: Encoded) -> int:
        """Writes the rows that have more than [CLS] and [SEP]: a text of control characters alone has not."""
        full = np.count_nonzero(~encoded.attention_mask, axis=1) > NUM_SPECIAL
        if not full.any():
            raise UserError(f"no text of the {name} split has a token in this vocabulary")
        every = slice(None) if full.all() else full  # a slice does not copy
        write_tensors(self._path("mlm", name), encoded.input_ids[every], encoded.attention_mask[every])
        return int(np.count_nonzero(full))

    def _path(self, task: str, name: str) -> Path:
        (self.folder / task).mkdir(exist_ok=True)
        return self.folder / task / f"{name}.pt"


# --- writing --------------------------------------------------------------------------------------------------


@contextmanager
def _whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """Gives a folder to fill, which takes its name only when all is done."""
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    replaced = out.with_name(f".{out.name}.{os.getpid()}.replaced")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        _check_target(out, force)
        if out.exists():
            out.rename(replaced)
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _write_texts(folder: Path, splits: Splits, report: Report) -> None:
    """labels.txt, and the rows of a split of ours as csv, so that others can be compared on the same ones."""
    if report.label_names is not None:
        (folder / LABELS_FILE).write_text("".join(name + "\n" for name in report.label_names), "utf-8")
    if not report.split_by_us:
        return
    (folder / "splits").mkdir()
    for name, rows in splits.items():
        if name == "extra":
            continue
        labelled = rows[0].label is not None
        with (folder / "splits" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label"] if labelled else ["text"])
            writer.writerows((row.text, row.label) if labelled else (row.text,) for row in rows)


def _write_description(folder: Path, task: str, options: PrepareOptions, report: Report) -> None:
    """dataset.json: how the dataset was made, and its figures."""
    sources = [
        {"role": role, "path": str(path), "sha256": _sha256(path)} for role, paths in options.sources for path in paths
    ]
    made = {
        "task": task,
        "max_length": options.max_length,
        "long_texts": options.long_texts,
        "seed": options.seed if report.split_by_us else None,
        "sources": sources,
        **report.as_json(),
    }
    (folder / DATASET_FILE).write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
