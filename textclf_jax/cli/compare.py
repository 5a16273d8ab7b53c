"""`textclf compare RUN RUN ...`: finished runs in one table, seeds taken together."""

import argparse
import os
from pathlib import Path

from textclf_jax.cli.training import enter_project
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_model
from textclf_jax.extras import require
from textclf_jax.files import why_not_writable

ENDINGS = (".html", ".csv")


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "compare",
        help="several runs in one table: attention kinds, seeds, learning rates",
        description="Compare finished runs by their results. Runs that differ by their seed alone are a line, with "
        "mean and standard deviation; the keys in which runs differ are columns.",
    )
    parser.add_argument("names", nargs="+", metavar="RUN", help="runs of one kind, or the paths of their folders")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="whose results (default: test)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"write there, too: {' or '.join(ENDINGS)}")
    parser.add_argument(
        "--different-data",
        action="store_true",
        help="compare although the rows of that split are not the same",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table, and writes it where asked for."""
    if len(args.names) < 2:
        raise UserError(f"there is nothing to compare {args.names[0]} with: name two runs or more")
    found = [find_model(name, ("finetuning", "pretraining")).parent.absolute() for name in args.names]
    enter_project(args, "out")
    folders = [Path(os.path.relpath(folder)) for folder in found]
    if args.out is not None:
        _check_out(args.out)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.report import comparison_page
    from textclf_jax.report.comparison import compare_runs

    compared = compare_runs(folders, args.split, different_data=args.different_data)
    comparison_page.show(compared)
    if args.out is not None:
        comparison_page.write(compared, args.out)
        print(f"wrote {args.out}")
    return 0


def _check_out(out: Path) -> None:
    """Raises UserError where the table cannot be written, before runs are read."""
    if out.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {out}: its ending tells no format. End it in {' or '.join(ENDINGS)}.")
    if out.suffix.lower() == ".html":
        require("jinja2", f"--out {out}: a page")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file")
    if reason := why_not_writable(out.absolute().parent):
        raise UserError(f"--out {out}: {out.absolute().parent} cannot be written ({reason}). Name another.")
