"""`textclf prepare`: makes a dataset folder from raw text."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from textclf_jax.cli.reading import add_reading_flags, reading_options
from textclf_jax.errors import listed

if TYPE_CHECKING:
    from textclf_jax.prepare.folder import Stage
    from textclf_jax.prepare.options import PrepareOptions
    from textclf_jax.prepare.report import Report

EPILOG = """examples:
  textclf prepare reviews.csv --out data/reviews
  textclf prepare --train train.csv.gz --test test.csv.gz --out data/news --max-length 64
  textclf prepare novels.txt.gz --text-unit paragraph --vocab-size 20000 --out data/novels
"""


UNLABELLED = (
    "of partly labelled files: for MLM training alone, or none; negative: texts of none of the classes, with "
    "--label-separator"
)


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="raw text (csv, tsv, jsonl, parquet, txt) to a dataset: vocabulary and encoded rows",
        description="Reads csv, tsv, jsonl and txt files (each also .gz), parquet, and folders with a folder of texts "
        "for each class; makes a WordPiece vocabulary and writes encoded rows for pretraining (mlm) and "
        "classification (cls).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_flags(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="the dataset to make, such as data/NAME"
    )
    parser.add_argument("--force", action="store_true", help="replace a dataset that is there")
    parser.add_argument("--task", choices=("mlm", "cls", "both"), help="default: both where there are labels, else mlm")


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which texts become which rows: all of `prepare_options` but `out`, `force` and `task`."""
    _add_files(parser)
    add_reading_flags(parser)
    _add_rows(parser)
    _add_encoding(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("inputs", nargs="*", type=Path, metavar="INPUT", help="files to split into train, val and test")
    add("--train", nargs="+", type=Path, default=[], metavar="FILE", help="training files, instead of INPUT")
    add("--val", nargs="+", type=Path, default=[], metavar="FILE", help="validation files (default: some of --train)")
    add("--test", nargs="+", type=Path, default=[], metavar="FILE", help="test files")
    add(
        "--extra-text", nargs="+", type=Path, default=[], metavar="FILE", help="unlabelled files, for MLM training only"
    )
    add("--val-fraction", type=float, metavar="SHARE", help="split off for validation (default 0.1)")
    add("--test-fraction", type=float, metavar="SHARE", help="split off INPUT for the test (default 0.1)")
    add("--seed", type=int, default=42, help="decides the split (default 42)")


def _add_rows(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("rows to use").add_argument
    add("--label-names", type=Path, metavar="FILE", help="a class name a line, where labels are numbers from 0")
    add("--accept-labels", action="store_true", help="take labels as classes that look like texts, ids or amounts")
    add(
        "--deduplicate",
        action="store_true",
        help="drop rows that repeat a text, before the split; the copy in --train stays",
    )
    add("--skip-empty", action="store_true", help="drop labelled rows without visible text")
    add("--unlabelled-rows", choices=("mlm", "drop", "negative"), help=UNLABELLED)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("vocabulary and rows").add_argument
    add("--max-length", type=int, default=128, metavar="L", help="ids a row, [CLS] and [SEP] included (default 128)")
    cls_length = "ids a row of classification, where a linear path is to read beyond --max-length (default: the same)"
    add("--cls-max-length", type=int, metavar="L", help=cls_length)
    add("--long-texts", choices=("split", "truncate"), help="in MLM rows (default split)")
    add("--vocab", type=Path, metavar="PATH", help="use this vocab.txt, tokenizer.json or folder; train none")
    add("--vocab-size", type=int, metavar="V", help="train one of this size on the training rows (default 30000)")
    add("--min-frequency", type=int, metavar="N", help="pieces seen less often are not made (default 2)")
    lowercase = "capitals become small letters, unless --no-lowercase"
    add("--lowercase", action=argparse.BooleanOptionalAction, help=lowercase)
    add("--strip-accents", action="store_true", help="remove accents, vowel signs and tone marks (default: keep them)")
    add("--limit-alphabet", type=int, metavar="N", help="characters in the vocabulary (default: all, if they fit)")
    add("--max-word-length", type=int, metavar="N", help="characters; longer words are [UNK] (default 100)")


def run(args: argparse.Namespace) -> int:
    """Prepares a dataset, and prints what it contains."""
    prepare_with_report(prepare_options(args))
    return 0


def prepare_with_report(options: "PrepareOptions") -> None:
    """Makes a dataset, shows how far that is, and prints what it contains."""
    from textclf_jax.prepare.pipeline import prepare

    start = time.perf_counter()
    with shown_stages() as stage:
        report = prepare(options, stage)
    _print_report(report, options, time.perf_counter() - start)


def prepare_options(args: argparse.Namespace) -> "PrepareOptions":
    """What is to be prepared."""
    from textclf_jax.prepare.options import PrepareOptions

    return PrepareOptions(
        out=args.out,
        inputs=tuple(args.inputs),
        train=tuple(args.train),
        val=tuple(args.val),
        test=tuple(args.test),
        extra_text=tuple(args.extra_text),
        read=reading_options(args),
        task=args.task,
        vocab=args.vocab,
        vocab_size=args.vocab_size,
        min_frequency=args.min_frequency,
        lowercase=args.lowercase,
        strip_accents=args.strip_accents,
        limit_alphabet=args.limit_alphabet,
        max_word_length=args.max_word_length,
        max_length=args.max_length,
        cls_max_length=args.cls_max_length,
        val_fraction=args.val_fraction,
        test_fraction=args.test_fraction,
        seed=args.seed,
        deduplicate=args.deduplicate,
        long_texts=args.long_texts,
        skip_empty=args.skip_empty,
        unlabelled_rows=args.unlabelled_rows,
        label_names=args.label_names,
        accept_labels=args.accept_labels,
        force=args.force,
    )


@contextmanager
def shown_stages() -> "Iterator[Stage]":
    """Shows progress on stderr: a bar on a terminal, elsewhere a line for each stage."""
    from rich.console import Console
    from rich.progress import Progress

    console, last = Console(stderr=True), ""

    def print_new(what: str, done: int, total: int) -> None:
        nonlocal last
        if what != last:
            print(what, file=sys.stderr, flush=True)
        last = what

    if not console.is_terminal:
        yield print_new
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


def _print_report(report: "Report", options: "PrepareOptions", seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table("", *report.splits, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *values in _figures(report):
        table.add_row(name, *values)
    console.print(table)
    for line in _remarks(report):
        console.print(line, markup=False)
    for warning in report.warnings():
        console.print(f"warning: {warning}", markup=False)
    for advice in (*report.notes, *report.advice(options.max_length, options.cls_max_length)):
        console.print(f"note: {advice}", markup=False)
    console.print(f"{options.out} is ready after {seconds:.1f} s", markup=False)


def _figures(report: "Report") -> list[list[str]]:
    """Rows of the table: a name, then a figure for each split."""
    from textclf_jax.prepare.report import PERCENTILES

    splits = list(report.splits.values())
    rows = [
        ["texts", *(f"{s.texts:,}" for s in splits)],
        ["MLM rows", *(f"{s.mlm_rows:,}" for s in splits)],
        ["CLS rows", *(f"{s.cls_rows:,}" for s in splits)],
        *_label_figures(report),
        ["tokens", *(f"{s.tokens:,}" for s in splits)],
        ["\\[UNK]", *(f"{s.unknown_rate:.2%}" for s in splits)],
        ["truncated texts", *(f"{s.truncated_texts:,}" for s in splits)],
        ["tokens cut off", *(f"{s.dropped_rate:.1%}" for s in splits)],
        ["texts without a token", *(f"{s.without_tokens:,}" for s in splits)],
    ]
    for i, percentile in enumerate(PERCENTILES):
        name = "longest text, tokens" if percentile == 100 else f"{percentile}% of texts at most, tokens"
        rows.append([name, *(f"{s.length_percentiles[i]:,}" for s in splits)])
    return rows


def _label_figures(report: "Report") -> list[list[str]]:
    """Rows of the table where texts can have several labels."""
    if not report.multi_label or report.label_names is None:
        return []
    splits = report.splits.values()
    return [
        ["labels", *(f"{sum(s.class_counts):,}" for s in splits)],
        ["texts of no class", *(f"{s.without_labels:,}" for s in splits)],
    ]


def classes_line(report: "Report", names: list[str]) -> str:
    """The names of the classes; with their rows to train on, where these are not the rows that there are."""
    shown = listed(names, 12)
    if report.multi_label:
        counts = report.splits["train"].class_counts
        shown = "training rows: " + listed([f"{name} {n:,}" for name, n in zip(names, counts, strict=True)], 12)
    return f"classes: {len(names):,} ({shown})"


def _remarks(report: "Report") -> list[str]:
    """Lines below the table: vocabulary, classes, what became of the rows, repeated texts."""
    lines = [f"vocabulary: {report.vocab_size:,} pieces, fingerprint {report.fingerprint[:12]}"]
    if report.label_names is not None:
        lines.append(classes_line(report, report.label_names))
    lines.append(report.row_counts())
    if report.duplicates:
        counted = ", ".join(f"{n:,} {where}" for where, n in report.duplicates.items())
        lines.append(f"rows that repeat a text{', dropped' * report.deduplicated}: {counted}")
    return lines
