"""`textclf evaluate RUN`: the figures of a trained model on a split of its run, or on another file."""

import argparse
from pathlib import Path

from textclf_jax.cli.training import check_out_folder, enter_project
from textclf_jax.constants import SPLITS
from textclf_jax.experiments.folders import find_model


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="a trained model on a split of its run, or on other data",
        description="Evaluate the saved model of a run. On the run's own test split it gives the run's own figures.",
    )
    parser.add_argument("name", help="a finetuning or pretraining run, or the path of its folder or model.ckpt")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--split", choices=SPLITS, default="test", help="the split of the run (default: test)")
    rows = "a file of encoded rows instead of a split, or a pattern of files in quotation marks"
    data.add_argument("--data", type=Path, metavar="FILE.pt", help=rows)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write metrics.json, and of a classifier results by class, there"
    )


def run(args: argparse.Namespace) -> int:
    """Prints metrics, and of a classifier the results by class."""
    args.model = find_model(args.name, ("finetuning", "pretraining"))
    enter_project(args, "model", "data", "out")
    if args.out:
        check_out_folder(args.out)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.training.evaluating import evaluate_saved
    from textclf_jax.training.summary import show_parts, show_results

    report = evaluate_saved(args.model, args.split, file=args.data)
    show_results(report.which, report.place, {report.split: report.metrics})
    show_parts({report.split: report.metrics})
    report.show_classes()
    if args.out:
        report.write(args.out)
        print(f"wrote {args.out}")
    return 0
