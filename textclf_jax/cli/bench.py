"""`textclf bench`: speed and memory beside Hugging Face's BERT in torch."""

import argparse
import sys
from pathlib import Path

from textclf_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "bench",
        help="speed and memory beside a peer",
        description="Measure speed and memory beside Hugging Face's BERT in torch, the two taking turns. A whole run "
        "writes benchmarks/results/DEVICE.json and docs/benchmarks.md. Rows are written to DEVICE.unfinished as they "
        "are measured; the same command goes on from there.",
    )
    parser.add_argument("--rows", metavar="A,B", help="only these rows, e.g. mlm-small-16x128,long-4096-lsh")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, for a first impression; on a GPU, three rows"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write rows there, beside other rows it holds")
    parser.add_argument(
        "--minutes",
        type=float,
        help="skip rows that are not measured by then (default: 60 on a CPU; 8.5 on a GPU, 3 with --quick)",
    )
    parser.add_argument("--memory", action="store_true", help="compile only; write docs/memory.md, by kind and length")
    parser.add_argument("--table", action="store_true", help="measure nothing; write docs/benchmarks.md anew")


def run(args: argparse.Namespace) -> int:
    """Measures, and writes results and table, as the options say."""
    if args.minutes is not None and not args.minutes > 0:
        raise UserError(f"--minutes {args.minutes:g} must be more than 0")
    _find_benchmarks()
    from benchmarks import report
    from benchmarks.suite import run_suite

    if args.memory:
        from benchmarks.memory import write_memory_table

        write_memory_table()
        return 0
    if args.table:
        report.write_table()
        return 0
    whole = args.rows is None and not args.quick

    def path_for(device: str) -> Path | None:
        return args.out or (report.results_path(device) if whole else None)

    device, rows = run_suite(args.rows, quickly=args.quick, minutes=args.minutes, path_for=path_for)
    if path := path_for(device):
        print(f"wrote {path}")
    if whole and not args.out:
        report.write_table()
    report.show(device, rows)
    return 0


def _find_benchmarks() -> None:
    """Makes the repository's `benchmarks/` importable.

    Raises:
      UserError: the package was installed without its repository.
    """
    if not (REPOSITORY / "benchmarks" / "suite.py").is_file():
        raise UserError(
            "textclf bench needs the project's repository: its benchmarks/ folder is not installed. "
            "Clone the repository and run the command there."
        )
    if str(REPOSITORY) not in sys.path:
        sys.path.insert(0, str(REPOSITORY))
