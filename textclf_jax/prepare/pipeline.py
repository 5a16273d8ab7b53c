"""Raw text to a dataset folder: read, split, number the classes, train or load the vocabulary, encode, write."""

from collections import Counter

from textclf_jax.errors import UserError, listed
from textclf_jax.prepare.folder import RowWriter, Stage, check_target, whole_folder, write_description, write_texts
from textclf_jax.prepare.labels import in_order, look_like_classes, remarks, require_classes, whole_numbers
from textclf_jax.prepare.options import PrepareOptions, check_options
from textclf_jax.prepare.report import Report
from textclf_jax.prepare.splitting import (
    SPLITS,
    Splits,
    class_ids,
    count_contradictions,
    count_duplicates,
    drop_duplicates,
    read_label_names,
    stratified_split,
)
from textclf_jax.prepare.texts import Row, read_rows
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

DEFAULT_VOCAB_SIZE, DEFAULT_MIN_FREQUENCY = 30_000, 2
SHOWN_ROWS = 5


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
    stage("reading", 0, 0)
    sources = options.sources.items()
    rows = {role: [row for path in paths for row in read_rows(path, options.read)] for role, paths in sources}
    labelled = any(row.label is not None for row in rows.get("input", rows.get("train", [])))
    task = options.task or ("both" if labelled else "mlm")
    report = Report()
    rows = _drop_empty(rows, task, options.skip_empty, report)
    names = None
    if task != "mlm":
        names = None if options.label_names is None else read_label_names(options.label_names)
        rows = _look_at_labels(rows, names, options, report)
    splits = _split(rows, task, options, report)
    splits = _deduplicate(splits, options.deduplicate, report)
    extra = splits.pop("extra", [])
    labels = {}
    if task != "mlm":
        report.label_names, labels = class_ids(splits, names)
    tokenizer = _vocabulary([*splits["train"], *extra], options, stage)
    report.vocab_size, report.fingerprint = tokenizer.vocab_size, tokenizer.fingerprint
    with whole_folder(options.out, options.force) as folder:
        tokenizer.save(folder / "vocab")
        writer = RowWriter(folder, tokenizer, task, options, stage)
        for name, part in splits.items():
            further = extra if name == "train" else []
            report.splits[name] = writer.write(name, part, further, labels.get(name), len(report.label_names or []))
        write_texts(folder, splits, report)
        write_description(folder, task, options, report)
    return report


def _drop_empty(rows: Splits, task: str, skip_empty: bool, report: Report) -> Splits:
    """Leaves out rows without text and counts them; labelled ones are an error unless `skip_empty`."""
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


def _look_at_labels(rows: Splits, names: list[str] | None, options: PrepareOptions, report: Report) -> Splits:
    """Refuses labels that are no classes, and reports what is unusual about them; 1.0 becomes 1 where all are whole."""
    if names is None and not options.accept_labels:
        require_classes(rows.get("input") or rows["train"], options.read, "For MLM rows alone: --task mlm.")
    labelled = {role: part for role, part in rows.items() if role != "extra"}
    whole = whole_numbers(labelled) if names is None or not any("." in name for name in names) else None
    counts = Counter(row.label for part in (whole or labelled).values() for row in part if row.label is not None)
    report.label_remarks = remarks(counts)
    if whole:
        shown = listed(in_order(counts), 5)
        report.label_remarks.append(f"The labels are whole numbers written with decimals: 1.0 is taken as 1 ({shown}).")
    return {**rows, **(whole or {})}


def _split(rows: Splits, task: str, options: PrepareOptions, report: Report) -> Splits:
    """Rows by role to rows by split: a split that has no file is drawn from the input or training rows."""
    given = {name: rows[name] for name in ("val", "test", "extra") if name in rows}
    whole = rows.get("input") or rows["train"]
    val_fraction = 0.0 if "val" in given else options.val_fraction
    test_fraction = 0.0 if "train" in rows else options.test_fraction
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
    report.duplicates, report.deduplicated = count_duplicates(splits), drop
    report.contradictions = count_contradictions(splits)
    if not drop:
        return splits
    distinct = drop_duplicates(splits)
    if empty := [name for name, rows in distinct.items() if not rows]:
        raise UserError(f"--deduplicate leaves nothing of {empty[0]}: all its texts are in the splits before it")
    return distinct


def _vocabulary(rows: list[Row], options: PrepareOptions, stage: Stage) -> WordPieceTokenizerWrapper:
    """The vocabulary that was named, or one trained on these rows."""
    if options.vocab is not None:
        return WordPieceTokenizerWrapper().load(options.vocab)
    stage("training the vocabulary", 0, 0)
    return WordPieceTokenizerWrapper().train(
        texts=[row.text for row in rows],
        vocab_size=options.vocab_size or DEFAULT_VOCAB_SIZE,
        min_frequency=options.min_frequency or DEFAULT_MIN_FREQUENCY,
        lowercase=options.lowercase,
    )
