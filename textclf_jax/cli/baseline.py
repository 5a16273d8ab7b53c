"""`textclf baseline`: trains and tests two simple models on the same split."""

import argparse
import sys
from pathlib import Path

from textclf_jax.cli.reading import add_reading_flags, print_notes, reading_options
from textclf_jax.errors import UserError
from textclf_jax.files import json_text


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "baseline",
        help="what simple models reach on a split",
        description="Train and test two baselines: the largest class, and TF-IDF (words and pairs of words, 50,000 "
        "features; characters where a script has no spaces) with logistic regression (C = 10). With --label-separator: "
        "the most frequent set of labels, and one regression for each label (threshold 0.5).",
    )
    parser.add_argument("--train", required=True, nargs="+", type=Path, metavar="FILE", help="csv or tsv, also .gz")
    parser.add_argument("--test", required=True, nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--unlabelled-rows",
        choices=("drop", "negative"),
        help="leave rows without a label out, or, with --label-separator, take them as texts of none of the classes "
        "(default: they are an error)",
    )
    parser.add_argument(
        "--accept-labels", action="store_true", help="take labels as classes that look like texts, ids or amounts"
    )
    parser.add_argument(
        "--skip-empty", action="store_true", help="leave labelled rows without text out (default: they are an error)"
    )
    add_reading_flags(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a model, instead of a table")


def run(args: argparse.Namespace) -> int:
    """Prints scores and seconds of each baseline."""
    from textclf_jax.evaluation.baselines import score_baselines
    from textclf_jax.observe.progress import print_table
    from textclf_jax.prepare.labelling import as_negatives, require_labels, require_texts
    from textclf_jax.prepare.labels import notes_on_lists, require_classes
    from textclf_jax.prepare.options import require_separator
    from textclf_jax.prepare.texts import Row, read_file, refuse_unused

    options = reading_options(args)
    refuse_unused(options, [*args.train, *args.test])
    require_separator(args.unlabelled_rows, options)
    multi_label = options.label_separator is not None

    def read(paths: list[Path]) -> list[Row]:
        files = [read_file(path, options) for path in paths]
        for file in files:
            print_notes(file)
        require_labels(files, args.unlabelled_rows, can_be_mlm=False, multi_label=multi_label)
        rows = [row for file in files for row in file.rows]
        rows = as_negatives(rows) if args.unlabelled_rows == "negative" else rows
        require_texts(rows, args.skip_empty)
        labelled = [row for row in rows if row.label is not None]
        used = [row for row in labelled if not row.is_blank]
        for what, left_out in (("a label", len(rows) - len(labelled)), ("text", len(labelled) - len(used))):
            if left_out:
                print(f"rows without {what}, left out: {left_out:,} of {len(rows):,}", file=sys.stderr)
        if not used:
            raise UserError(f"{paths[0]}: has no row with text and label")
        return used

    train, test = read(args.train), read(args.test)
    if not args.accept_labels:
        require_classes(train, options)
    for note in notes_on_lists(train, options):
        print(f"note: {note}", file=sys.stderr)
    scores = score_baselines(train, test)
    if args.json:
        print("\n".join(json_text(score._asdict(), indent=None) for score in scores))
    else:
        print_table(f"baselines on {len(test):,} test rows", scores, scores[0]._fields)
    return 0
