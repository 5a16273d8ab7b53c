"""Raw text to a dataset folder: read, split, number the classes, train or load the vocabulary, encode, write."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textclf_jax.constants import SPLITS, VOCAB_FOLDER
from textclf_jax.errors import UserError, listed
from textclf_jax.extras import require
from textclf_jax.prepare.equal_rows import RowCollector
from textclf_jax.prepare.folder import RowWriter, Stage, check_target, whole_folder, write_description, write_texts
from textclf_jax.prepare.labelling import choose_task, require_labels, require_texts, set_apart_unlabelled
from textclf_jax.prepare.labels import (
    in_order,
    look_like_classes,
    notes_on_lists,
    remarks,
    require_classes,
    whole_numbers,
)
from textclf_jax.prepare.options import PrepareOptions, check_options
from textclf_jax.prepare.report import Report
from textclf_jax.prepare.splitting import (
    Splits,
    class_ids,
    count_contradictions,
    count_duplicates,
    drop_duplicates,
    read_label_names,
    stratified_split,
)
from textclf_jax.prepare.texts import Row, TextFile, read_file
from textclf_jax.prepare.vocabulary_report import describe_vocabulary
from textclf_jax.tokenizer.loading import require_pad_first
from textclf_jax.tokenizer.vocabulary import MAX_WORD_LENGTH
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

DEFAULT_VOCAB_SIZE, DEFAULT_MIN_FREQUENCY = 30_000, 2


def prepare(options: PrepareOptions, stage: Stage = lambda what, done, total: None) -> Report:
    """Makes a dataset folder; it appears whole or not at all.

    Args:
      options: what to make.
      stage: called with the progress.

    Returns:
      What was made, and what is worth knowing about it.

    Raises:
      UserError: a fault in the texts, labels or options, with file and line.
    """
    check_options(options)
    check_target(options.out, options.force)
    require("torch", "writing encoded rows as .pt files")
    stage("reading", 0, 0)
    report = Report()
    return write_dataset(read_splits(options, report), options, report, stage)


def write_dataset(
    texts: "SplitTexts", options: PrepareOptions, report: Report, stage: Stage = lambda what, done, total: None
) -> Report:
    """Makes a dataset folder of texts that are split and whose classes are numbered; it appears whole or not at all.

    Args:
      texts: the texts.
      options: what to make; those of reading and splitting do not matter here.
      report: what is known of the texts, `label_names` above all; gets the rest.
      stage: called with the progress.

    Returns:
      The report.

    Raises:
      UserError: as `prepare`.
    """
    task, splits, extra, labels = texts
    tokenizer = _vocabulary([*splits["train"], *extra], options, stage)
    report.notes += [f"{options.vocab}: {note}" for note in tokenizer.notes]
    every_text = [row.text for part in (*splits.values(), extra) for row in part]
    report.vocabulary = describe_vocabulary(tokenizer, every_text, options)
    with whole_folder(options.out, options.force) as folder:
        tokenizer.save(folder / VOCAB_FOLDER)
        equal_rows = RowCollector(tokenizer.normalize)
        writer = RowWriter(folder, tokenizer, task, options, stage, report.vocabulary, equal_rows)
        for name, part in splits.items():
            further = extra if name == "train" else []
            report.splits[name] = writer.write(name, part, further, labels.get(name), len(report.label_names or []))
        report.tokenless = [row.place for row in writer.tokenless]
        report.equal_rows = equal_rows.with_different_labels()
        write_texts(folder, splits, report, options.read.label_separator)
        write_description(folder, task, options, report)
    return report


class SplitTexts(NamedTuple):
    """The texts of a dataset.

    Attributes:
      task: mlm, cls or both.
      splits: the rows by split.
      extra: further texts, for MLM training only.
      labels: [N] int64 by split, the classes of the rows; none for mlm.
    """

    task: str
    splits: Splits
    extra: list[Row]
    labels: dict[str, np.ndarray]


def read_splits(options: PrepareOptions, report: Report) -> SplitTexts:
    """Reads all files, divides their rows into splits and numbers the classes, the same each time.

    Args:
      options: what to prepare.
      report: gets what is worth knowing.

    Raises:
      UserError: as `prepare`.
    """
    task, rows = _read(options, report)
    names = None
    if task != "mlm":
        names = None if options.label_names is None else read_label_names(options.label_names)
        rows = _look_at_labels(rows, names, options, report)
    report.contradictions = count_contradictions(rows)
    splits = _deduplicate(_split(rows, task, options, report), options.deduplicate, report)
    report.rows_used = {name: len(part) for name, part in splits.items()}
    extra = splits.pop("extra", [])
    if task == "mlm":
        return SplitTexts(task, splits, extra, {})
    report.label_names, labels = class_ids(splits, names)
    return SplitTexts(task, splits, extra, labels)


def _read(options: PrepareOptions, report: Report) -> tuple[str, Splits]:
    """Reads all files; returns the task, and the rows to use by the role of their file."""
    files = {role: [_read_file(path, role, options) for path in paths] for role, paths in options.sources.items()}
    report.notes = [f"{file.path}: {note}" for part in files.values() for file in part for note in file.notes]
    rows = {role: [row for file in part for row in file.rows] for role, part in files.items()}
    if "extra" in rows:  # its labels are not used; as they are written, they could contradict those that are
        rows["extra"] = [row._replace(label=None) for row in rows["extra"]]
    report.rows_read = sum(map(len, rows.values()))
    task = choose_task(options.task, [file for role, part in files.items() if role != "extra" for file in part])
    if task == "mlm":
        if unused := options.label_flags:
            raise UserError(f"no row has a label, and {unused[0]} is for rows that have one: leave it out")
        return task, _drop_empty(rows, report)
    for role, part in files.items():
        if role != "extra":
            require_labels(part, options.unlabelled_rows, multi_label=options.read.label_separator is not None)
            require_texts(rows[role], options.skip_empty)
    labelled, report.unlabelled, moved = set_apart_unlabelled(_drop_empty(rows, report), options.unlabelled_rows)
    if moved:
        report.notes.append(f"rows without a label that are used for MLM training alone: {moved:,}")
    return task, labelled


def _read_file(path: Path, role: str, options: PrepareOptions) -> TextFile:
    if role == "extra":
        return read_file(path, replace(options.read, label_separator=None), needs_labels=False)
    return read_file(path, options.read, needs_labels=options.task != "mlm")


def _drop_empty(rows: Splits, report: Report) -> Splits:
    """Leaves out rows without text, and labelled ones without visible text, and counts them."""
    full = {
        role: [row for row in part if row.text and (row.label is None or not row.is_blank)]
        for role, part in rows.items()
    }
    for role, part in rows.items():
        if not full[role]:
            raise UserError(f"{part[0].path}: has no row with text")
        report.empty[role] = len(part) - len(full[role])
    return full


def _look_at_labels(rows: Splits, names: list[str] | None, options: PrepareOptions, report: Report) -> Splits:
    """Refuses labels that are no classes, and reports what is unusual about them; 1.0 becomes 1 where all are whole."""
    trained = rows.get("input") or rows["train"]
    report.multi_label = options.read.label_separator is not None
    lists = notes_on_lists(trained, options.read)
    if names is None and not options.accept_labels:
        require_classes(trained, options.read, "For MLM rows alone: --task mlm.")
    labelled = {role: part for role, part in rows.items() if role != "extra"}
    whole = whole_numbers(labelled) if names is None or not any("." in name for name in names) else None
    counts = Counter(label for part in (whole or labelled).values() for row in part for label in row.labels)
    report.label_remarks = [*lists, *remarks(counts)]
    if whole:
        shown = listed(in_order(counts), 5)
        report.whole_labels = f"The labels are whole numbers written with decimals: 1.0 is taken as 1 ({shown})."
    return {**rows, **(whole or {})}


def _split(rows: Splits, task: str, options: PrepareOptions, report: Report) -> Splits:
    """Rows by role to rows by split: a split that has no file is drawn from the input or training rows."""
    given = {name: rows[name] for name in ("val", "test", "extra") if name in rows}
    role = "input" if "input" in rows else "train"
    whole = rows[role]
    if options.deduplicate:  # before the draw: dropped from the splits, repeated rows would empty val and test
        whole = drop_duplicates({role: whole})[role]
        report.duplicates, report.repeated = count_duplicates({role: rows[role]}), len(rows[role]) - len(whole)
    val_fraction, test_fraction = options.val_share, options.test_share
    report.is_drawn = val_fraction + test_fraction > 0
    # labels that MLM does not use and that are no classes would all keep their rows in train
    labels = [None] * len(whole) if task == "mlm" and not look_like_classes(whole) else [row.label for row in whole]
    parts = stratified_split(labels, val_fraction, test_fraction, options.seed)
    drawn = {name: [whole[i] for i in part] for name, part in zip(SPLITS, parts, strict=True) if len(part)}
    for name, fraction in (("val", val_fraction), ("test", test_fraction)):
        if fraction and name not in drawn:
            report.label_remarks.append(
                f"There is no {name} split: too few rows, of which each class keeps one to train."
            )
    splits = {**drawn, **given}
    return {name: splits[name] for name in (*SPLITS, "extra") if name in splits}


def _deduplicate(splits: Splits, drop: bool, report: Report) -> Splits:
    """Counts rows that repeat a text, and drops them if asked to."""
    report.duplicates, report.deduplicated = report.duplicates | count_duplicates(splits), drop
    if not drop:
        return splits
    distinct = drop_duplicates(splits)
    report.repeated += sum(map(len, splits.values())) - sum(map(len, distinct.values()))
    if empty := [name for name, rows in distinct.items() if not rows and name != "extra"]:
        raise UserError(f"--deduplicate leaves nothing of {empty[0]}: all its texts are in the splits before it")
    return distinct


def _vocabulary(rows: list[Row], options: PrepareOptions, stage: Stage) -> WordPieceTokenizerWrapper:
    """The vocabulary that was named, or one trained on these rows."""
    if options.vocab is not None:
        tokenizer = WordPieceTokenizerWrapper().load(options.vocab)
        require_pad_first(tokenizer.pad_id, options.vocab)
        return tokenizer
    stage("training the vocabulary", 0, 0)
    size, min_frequency, length = options.vocab_size, options.min_frequency, options.max_word_length
    return WordPieceTokenizerWrapper().train(
        texts=[row.text for row in rows],
        vocab_size=DEFAULT_VOCAB_SIZE if size is None else size,
        min_frequency=DEFAULT_MIN_FREQUENCY if min_frequency is None else min_frequency,
        lowercase=options.lowers,
        strip_accents=options.strip_accents,
        limit_alphabet=options.limit_alphabet,
        max_word_length=MAX_WORD_LENGTH if length is None else length,
    )
