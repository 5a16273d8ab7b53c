"""`textclf study`: baselines, an encoder from scratch and pretrained ones on the same texts, in the same time."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from textclf_jax.cli.prepare import add_data_flags, prepare_options, prepare_with_report
from textclf_jax.cli.training import train_run
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import project_root
from textclf_jax.study.design import METHODS, Design, check_design
from textclf_jax.training.budget import FINETUNING_SHARE

EPILOG = """examples:
  textclf study news.csv --out studies/news --minutes 20
  textclf study --train train.csv.gz --test test.csv.gz --out studies/news --minutes 20 --seeds 5 --preset bert-tiny
  textclf study --report studies/news studies/films --write docs/results.md
"""


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "study",
        help="compare methods on your texts, in equal time: a table with intervals and paired tests",
        description="Train and test the largest class, TF-IDF with logistic regression, an encoder from scratch and "
        "pretrained ones on the same texts, with several seeds, each in the same time. Every model is an ordinary run "
        "in experiments/. Interrupted, the same command goes on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_flags(parser)
    _add_design(parser)
    _add_report(parser)
    parser.set_defaults(flags=parser)


def _add_design(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("study").add_argument
    add("--out", type=Path, metavar="FOLDER", help="of the study, such as studies/NAME; NAME begins those of its runs")
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="for one seed of a method, in all: data and vocabulary, pretraining, finetuning, tests",
    )
    add("--seeds", type=int, default=3, metavar="N", help="how many: 1 to N (default 3)")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help=f"default: {' '.join(METHODS)}")
    add("--preset", default="bert-mini", metavar="NAME", help="architecture and training (default bert-mini)")
    share = f"of the minutes, for finetuning after pretraining (default {FINETUNING_SHARE:g})"
    add("--finetuning-share", type=float, default=FINETUNING_SHARE, metavar="SHARE", help=share)
    for kind in ("pretraining", "finetuning"):
        keys = {"nargs": "+", "action": "extend", "default": [], "metavar": "SECTION.KEY=VALUE"}
        add(f"--set-{kind}", **keys, help=f"override keys of the {kind} configs")


def _add_report(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("results of studies that are finished").add_argument
    add("--report", nargs="+", type=Path, metavar="FOLDER", help="of studies, to join on one page; runs nothing")
    add("--write", type=Path, metavar="FILE.md", help="with --report: where to (default: print it)")


def run(args: argparse.Namespace) -> int:
    """Runs a study to its end, or goes on with it; prints its table."""
    given = given_flags(args.flags, args)
    if args.report is not None:
        if other := sorted(given.keys() - {"--report", "--write"}):
            raise UserError(f"--report joins results of studies that are finished: leave {other[0]} out")
        return _report(args.report, args.write)
    if args.write is not None:
        raise UserError("--write goes with --report")
    if args.out is None or args.minutes is None:
        raise UserError(f"{'--out FOLDER' if args.out is None else '--minutes M'} is missing")
    if project_root() != Path():
        raise UserError(f"a study starts in the folder of the project: cd {shlex.quote(str(project_root()))}")
    design = _design(args, given)
    check_design(design)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.study.running import run_study

    return run_study(design, prepare_with_report, train_run)


def given_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that differ from their defaults, by the name of the flag; positional ones by "INPUT"."""
    given: dict[str, Any] = {}
    seen = set()
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in seen or value == action.default or value is None or value == []:
            continue
        seen.add(action.dest)
        name = action.option_strings[0] if action.option_strings else "INPUT"
        if isinstance(action, argparse.BooleanOptionalAction) and value is False:
            name, value = action.option_strings[1], True
        given[name] = [str(part) for part in value] if isinstance(value, list) else value
        if isinstance(value, Path):
            given[name] = str(value)
    return given


def command_of(given: dict[str, Any], name: str = "study") -> str:
    """The command, of this name, that these arguments were given to."""
    words = ["textclf", name, *given.get("INPUT", [])]
    for flag, value in given.items():
        if flag != "INPUT":
            values = [] if value is True else value if isinstance(value, list) else [f"{value}"]
            words += [flag, *values]
    return shlex.join(words)


def _design(args: argparse.Namespace, given: dict[str, Any]) -> Design:
    data = argparse.Namespace(**{**vars(args), "out": args.out / "data", "force": False, "task": "both"})
    return Design(
        out=args.out,
        data=prepare_options(data),
        minutes=args.minutes,
        seeds=args.seeds,
        methods=tuple(name for name in METHODS if name in args.methods),
        preset=args.preset,
        finetuning_share=args.finetuning_share,
        pretraining_keys=tuple(args.set_pretraining),
        finetuning_keys=tuple(args.set_finetuning),
        arguments={name: value for name, value in given.items() if name != "--out"},
        command=command_of(given),
    )


def _report(folders: list[Path], target: Path | None) -> int:
    from textclf_jax.files import write_whole
    from textclf_jax.study.page import page
    from textclf_jax.study.results import read_results

    studies = []
    for folder in folders:
        if (results := read_results(folder)) is None:
            raise UserError(f"{folder}: holds no results. They are there when its `textclf study` has ended.")
        studies.append(results)
    if target is None:
        print(page(studies), end="")
        return 0
    write_whole(target, page(studies))
    print(f"wrote {target}")
    return 0
