"""`textclf report RUN`: what a run has learned and what it cost, on one page."""

import argparse
from pathlib import Path

from textclf_jax.cli.training import check_out_folder, enter_project
from textclf_jax.experiments.folders import find_model
from textclf_jax.extras import require


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "report",
        help="a run on one page: results, mistakes, calibration, cost, and a model card",
        description="Write report.html, a page that needs nothing else; MODEL_CARD.md; and report_figures/ with each "
        "figure as PNG and PDF. The model answers the run's test split again, which gives the run's own figures.",
    )
    parser.add_argument("name", help="a finetuning or pretraining run, or the path of its folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: the folder of the run)")
    parser.add_argument(
        "--check", type=Path, metavar="FILE.json", help="what a check of the data has found, to be shown"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the report and says where."""
    args.folder = find_model(args.name, ("finetuning", "pretraining")).parent
    enter_project(args, "folder", "out", "check")
    out = args.folder if args.out is None else args.out
    check_out_folder(out)
    for package in ("matplotlib", "jinja2"):
        require(package, "textclf report")
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.report.gathering import gather
    from textclf_jax.report.page import write_report

    facts = gather(args.folder, check=args.check)
    for path in write_report(facts, args.folder, out):
        print(f"wrote {path}")
    for each in facts.missing:
        print(f"not told: {each.what}: {each.why}")
    return 0
