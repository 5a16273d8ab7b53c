"""`textclf run DATA`: from files to a verdict: what classifies these texts best, and was pretraining worth it."""

import argparse
import re
import shlex
import time
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf_jax.cli.calibrate import add_max_error, check_max_error
from textclf_jax.cli.check import add_file_flags, add_split_flags, check_options_of, show_check
from textclf_jax.cli.prepare import add_data_flags, classes_line, shown_stages
from textclf_jax.cli.reading import add_reading_flags
from textclf_jax.cli.study import command_of, given_flags
from textclf_jax.cli.training import train_run
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import project_root

if TYPE_CHECKING:
    from textclf_jax.prepare.options import PrepareOptions
    from textclf_jax.verdict.options import RunOptions

FLAG = re.compile(r"(?P<command>\btextclf [a-z]+ (?:[^-.,;`]* )?)?(?P<flag>(?<![\w-])--[a-z][a-z-]+)")
REFUSED = {"--label-separator"}  # which this command has to say what to do instead

EPILOG = """DATA is a csv, tsv, jsonl or parquet file (text also .gz), or a folder with a folder of texts for each
class. Encoding, delimiter and columns are guessed, and the guess is told; flags decide. Rows without text are left out,
rows without a label are for pretraining alone. Every model is an ordinary run in experiments/. Interrupted, the same
command goes on from there.

examples:
  textclf run survey.csv --budget 20m
  textclf run survey.csv --plan
  textclf run survey.csv --max-error 0.05
  textclf run reviews.jsonl --text-column body --label-column stars --group-column author --budget 1h
  textclf run --train train.csv.gz --test test.csv.gz --extra-text more.txt --out runs/news
"""


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "run",
        help="from a file to a verdict in the time you give: check, pretrain, finetune, compare, report",
        description="Check and split texts, train and test the largest class, TF-IDF with logistic regression, an "
        "encoder from scratch, a pretrained one without and with the linear path, and say which won, whether "
        "pretraining was worth it, and what more labels would give.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_flags(parser)
    add_reading_flags(parser, guessed=True)
    add_split_flags(parser)
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--budget", metavar="TIME", default="20m", help="for all of it, such as 90s, 20m or 1h (default 20m)")
    add("--seeds", type=int, metavar="N", help="of each training (default: as the time allows)")
    add("--plan", action="store_true", help="measure this machine, show the plan and its cost, and stop")
    add("--out", type=Path, metavar="FOLDER", help="of the run; its name begins its experiments' (default runs/DATA)")
    add("--extra-text", nargs="+", type=Path, default=[], metavar="FILE", help="unlabelled files, for pretraining")
    add("--accept-labels", action="store_true", help="take labels as classes that look like texts, ids or amounts")
    add_max_error(group)
    parser.set_defaults(flags=parser)


def run(args: argparse.Namespace) -> int:
    """Goes from files to a verdict, or on with it; prints it."""
    began = time.perf_counter()
    from textclf_jax.verdict.options import check_options

    check_max_error(args.max_error)
    if project_root() != Path():
        raise UserError(f"a run starts in the folder of the project: cd {shlex.quote(str(project_root()))}")
    options = run_options(args)
    check_options(options)
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.verdict.running import Tools
    from textclf_jax.verdict.running import run as run_to_verdict

    adapt = partial(with_commands, lacking=lacking_flags(args.flags))
    tools = Tools(partial(prepare_checked, adapt=adapt), train_run, show_check, adapt)
    try:
        return run_to_verdict(options, tools, began=began, plan_only=args.plan)
    except UserError as error:
        raise UserError(adapt(str(error))) from error


def prepare_checked(options: "PrepareOptions", adapt: Callable[[str], str]) -> None:
    """Makes a dataset of texts that were checked; shows how far that is, and prints what the check has not told.

    Args:
      options: what to make.
      adapt: makes of advice with flags of `textclf prepare` that of this command.
    """
    from textclf_jax.prepare.pipeline import prepare
    from textclf_jax.verdict.remedies import of_preparing

    texts = options.train[0].parent
    try:
        with shown_stages() as stage:
            report = prepare(options, stage)
    except UserError as error:
        told = adapt(str(error))
        raise UserError(f"{told} {of_preparing(told, texts)}".rstrip()) from error
    lines = [f"warning: {adapt(line)}" for line in report.warnings()]
    lines += [f"note: {adapt(line)}" for line in (*report.notes, *report.advice_after_check())]
    print(f"\nvocabulary: {report.vocab_size:,} pieces")
    print(classes_line(report, report.label_names or []))
    for line in filter(None, (*lines, of_preparing("\n".join(lines), texts))):
        print(line, flush=True)


def lacking_flags(parser: argparse.ArgumentParser) -> set[str]:
    """The flags of `textclf prepare` that this command lacks, or has to refuse alone."""
    preparing = argparse.ArgumentParser(add_help=False)
    add_data_flags(preparing)
    return set(preparing._option_string_actions) - set(parser._option_string_actions) | REFUSED


def with_commands(text: str, lacking: Set[str]) -> str:
    """A message of another room, with the name of the command before flags that this one lacks."""

    def named(match: re.Match[str]) -> str:
        return f"textclf prepare {match[0]}" if match["flag"] in lacking and not match["command"] else match[0]

    return FLAG.sub(named, text)


def run_options(args: argparse.Namespace) -> "RunOptions":
    """What is to be run."""
    from dataclasses import replace

    from textclf_jax.verdict.options import RunOptions, default_out, parse_budget

    given: dict[str, Any] = given_flags(args.flags, args)
    given.pop("--plan", None)
    data = check_options_of(args)
    first = (*data.inputs, *data.train)
    if args.out is None and not first:
        raise UserError("give either DATA, or --train and --test (and --val)")
    return RunOptions(
        out=default_out(first[0]) if args.out is None else args.out,
        data=replace(data, read=replace(data.read, text_unit=None)),
        extra_text=tuple(args.extra_text),
        text_unit=args.text_unit,
        accept_labels=args.accept_labels,
        budget=parse_budget(args.budget),
        seeds=args.seeds,
        max_error=args.max_error,
        arguments={name: value for name, value in given.items() if name != "--out"},
        command=command_of(given, "run"),
    )
