"""`textclf doctor`: versions, device, compile cache, and what is missing."""

import argparse

from textclf_jax import __version__
from textclf_jax.extras import install_line


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    subparsers.add_parser(
        "doctor",
        help="versions, device, compile cache, and what is missing",
        description="Say what this machine has and lacks for textclf: packages, device, CUDA, compile cache. Exits "
        "with 1 where something stands in the way.",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 where something stands in the way."""
    del args
    from textclf_jax.observe.progress import print_table
    from textclf_jax.runtime.diagnosis import diagnose

    found = diagnose()
    print_table("machine", [("textclf-jax", __version__), *found.facts], ("what", "found"))
    rows = [
        (package.name, package.installed or f"missing, for: {install_line(package.extra)}", package.wanted or "any")
        if package.extra
        else (package.name, package.installed or "missing", package.wanted or "any")
        for package in found.packages
    ]
    print_table("packages", rows, ("package", "installed", "wanted"))
    for problem in found.problems:
        print(f"problem: {problem}")
    print("nothing is in the way" if not found.problems else f"{len(found.problems)} problems")
    return 1 if found.problems else 0
