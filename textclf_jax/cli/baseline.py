"""`textclf baseline`: trains and tests two simple models on the same split."""

import argparse
import json
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "baseline",
        help="what simple models reach on a split",
        description="Train and test two baselines: the largest class, and TF-IDF (words and pairs of words, 50,000 "
        "features; characters where a script has no spaces) with logistic regression (C = 10).",
    )
    parser.add_argument("--train", required=True, nargs="+", type=Path, metavar="FILE", help="csv or tsv, also .gz")
    parser.add_argument("--test", required=True, nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--text-column", metavar="NAME", help="default: text")
    parser.add_argument("--label-column", metavar="NAME", help="default: label")
    parser.add_argument("--no-quotes", action="store_true", help="quotation marks are plain characters")
    parser.add_argument("--json", action="store_true", help="one JSON object a model, instead of a table")


def run(args: argparse.Namespace) -> int:
    """Prints accuracy, macro-F1 and seconds of each baseline."""
    from textclf_jax.evaluation.baselines import score_baselines
    from textclf_jax.observe.progress import print_table
    from textclf_jax.prepare.texts import ReadOptions, read_rows

    options = ReadOptions(args.text_column, args.label_column, not args.no_quotes)
    train, test = ([row for path in paths for row in read_rows(path, options)] for paths in (args.train, args.test))
    scores = score_baselines(train, test)
    if args.json:
        print("\n".join(json.dumps(score._asdict()) for score in scores))
    else:
        print_table(f"baselines on {len(test):,} test rows", scores, scores[0]._fields)
    return 0
