"""`textclf new pretraining NAME` and `textclf new finetuning NAME PRETRAINING`: new runs from the templates.

`experiments/generate_pretraining_experiment.py` and `experiments/generate_finetuning_experiment.py` are the same.
"""

import argparse
import math
import shlex
import time
from pathlib import Path

from textclf_jax.cli.training import add_set_option, enter_project
from textclf_jax.config.file import AnyConfig, split_override
from textclf_jax.config.yaml_reader import Unreadable
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import ChooseLength, Length, generate_finetuning, generate_pretraining


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "new",
        help="a new run from a template: its config",
        description="Make a new run from a template; then pretrain or finetune trains it.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    _add_pretraining(kinds)
    _add_finetuning(kinds)


def _add_pretraining(kinds: "argparse._SubParsersAction") -> None:
    parser = kinds.add_parser(
        "pretraining",
        help="a new pretraining run",
        description="Make experiments/pretraining/NAME/ with a config from configs/pretraining.yaml.",
    )
    parser.add_argument("name", help="of the new run")
    parser.add_argument("--data", metavar="DIR", help="folder written by textclf prepare")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", metavar="NAME", help="architecture and training of configs/presets/NAME.yaml")
    start.add_argument("--resume-from", metavar="RUN", help="earlier pretraining run: take over its config and weights")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--weights-only", action="store_true", help="with --resume-from: its weights (the default)")
    extent.add_argument("--everything", action="store_true", help="... its optimizer state and position too")
    _add_minutes(parser)
    add_set_option(parser)


def _add_finetuning(kinds: "argparse._SubParsersAction") -> None:
    parser = kinds.add_parser(
        "finetuning",
        help="a new finetuning run",
        description="Make experiments/finetuning/NAME/ with a config from configs/finetuning.yaml.",
    )
    parser.add_argument("name", help="of the new run")
    parser.add_argument("pretrain_name", nargs="?", help="pretraining run that gives architecture and weights")
    parser.add_argument("--from-scratch", action="store_true", help="fresh weights instead of a pretraining run")
    parser.add_argument("--preset", metavar="NAME", help="with --from-scratch: size and training, as for pretraining")
    parser.add_argument("--data", metavar="DIR", help="folder written by textclf prepare")
    _add_minutes(parser)
    add_set_option(parser)


def _add_minutes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="measure for some seconds how fast this machine is, and set training.max_updates so that the run takes "
        "so many minutes, start and test included",
    )


def run(args: argparse.Namespace) -> int:
    """Makes the run, and prints where it is and what comes next."""
    enter_project(args, "data")
    check_minutes(args.minutes, args.overrides)
    if args.kind == "pretraining":
        path, command = _pretraining(args), "pretrain"
    else:
        path, command = _finetuning(args), "finetune"
    # in a copy of the repository, its scripts need no installation
    start = f"python {command}.py" if Path(f"{command}.py").is_file() else f"textclf {command}"
    print(f"wrote {path}\nnext: {start} {shlex.quote(args.name)}")
    return 0


def _pretraining(args: argparse.Namespace) -> Path:
    if (args.weights_only or args.everything) and args.resume_from is None:
        raise UserError("--weights-only and --everything go with --resume-from")
    if args.everything and args.minutes is not None:
        raise UserError("--minutes is the time from the first step on, and --everything goes on from a later one")
    return generate_pretraining(
        args.name,
        data=args.data,
        preset=args.preset,
        resume_from=args.resume_from,
        weights_only=not args.everything,
        overrides=args.overrides,
        choose_length=_choose_length(args.minutes),
    )


def _finetuning(args: argparse.Namespace) -> Path:
    if (args.pretrain_name is None) != args.from_scratch:
        raise UserError("give either a pretraining run or --from-scratch")
    if args.preset is not None and not args.from_scratch:
        raise UserError("--preset goes with --from-scratch: a pretrained model has its size")
    return generate_finetuning(
        args.name,
        args.pretrain_name,
        data=args.data,
        preset=args.preset,
        overrides=args.overrides,
        choose_length=_choose_length(args.minutes),
    )


def check_minutes(minutes: float | None, overrides: list[str]) -> None:
    """Raises UserError for minutes that are none, or where the length of a run is given, too."""
    if minutes is None:
        return
    if not 0 < minutes < math.inf:
        raise UserError(f"--minutes {minutes:g} must be above 0")
    for text in overrides:
        try:
            key = ".".join(split_override(text)[0])
        except Unreadable:
            continue  # refused with the config
        if key in ("training.epochs", "training.max_updates"):
            raise UserError(f"--minutes chooses {key}: leave --set {text} out")


def _choose_length(minutes: float | None) -> ChooseLength | None:
    """Chooses the length of a run that takes so many minutes, as this command itself does to come here."""
    if minutes is None:
        return None
    started = time.perf_counter()

    def choose(config: AnyConfig) -> Length:
        print("measuring the speed of this machine", flush=True)
        from textclf_jax.training.speed import length_within

        measured = length_within(minutes, config, Path.cwd(), started=started)
        print(measured.facts(config.training.warmup_ratio), flush=True)
        return Length(measured.max_updates, measured.epochs, measured.remark)

    return choose
