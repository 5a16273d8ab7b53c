"""The `textclf` command: `main` parses and runs one sub-command.

Each has a module with `add_parser`, which declares its arguments, and `run`, which returns the exit code.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from textclf_jax import __version__
from textclf_jax.errors import UserError
from textclf_jax.runtime.environment import prepare_streams, restart_with_environment, utf8_environment
from textclf_jax.runtime.memory import allocation_environment

LONG_COMMANDS = {"run", "pretrain", "finetune", "study"}


def command_line(argv: Sequence[str] | None = None) -> int:
    """Runs `main` as a shell calls it; first restarts the process where it lacks an environment that the command needs.

    That is UTF-8 for the names of files, and for long commands memory in huge pages.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # new measures the speed of training where it is given minutes
    measures = words[:1] == ["new"] and any(word.startswith("--minutes") for word in words)
    is_long = measures or LONG_COMMANDS & set(words[:1])
    restart_with_environment(utf8_environment() | (allocation_environment() if is_long else {}))
    code = main(argv)
    if words[:1] == ["predict"]:
        gc.freeze()  # all files are closed: looking for garbage once more took a sixth of the time of one prediction
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    That is 2 for an error that the user can fix, 130 after Ctrl-C, 141 when the reader of the output has gone.
    """
    return guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser, commands = make_parser()
    args = parser.parse_args(argv)
    _refuse_undecodable(args)
    return commands[args.command].run(args)


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    """Makes the parser of the command line; gives the module of each sub-command, too."""
    # imported here: guarded() is also used by scripts that need none of them
    from textclf_jax.cli import (
        baseline,
        bench,
        calibrate,
        check,
        compare,
        doctor,
        evaluate,
        export,
        finetune,
        import_,
        new,
        predict,
        prepare,
        pretrain,
        report,
        run,
        serve,
        study,
    )

    commands = {
        "run": run,
        "check": check,
        "prepare": prepare,
        "new": new,
        "pretrain": pretrain,
        "finetune": finetune,
        "evaluate": evaluate,
        "calibrate": calibrate,
        "predict": predict,
        "serve": serve,
        "baseline": baseline,
        "study": study,
        "report": report,
        "compare": compare,
        "bench": bench,
        "doctor": doctor,
        "import": import_,
        "export": export,
    }
    parser = argparse.ArgumentParser(
        prog="textclf",
        description="Train text classifiers from scratch: run all of it in the time you give; or check and prepare "
        "data, make runs, pretrain, finetune, evaluate, calibrate, predict, serve, report, compare with a baseline "
        "and in a study, measure speed, import, export.",
    )
    parser.add_argument("--version", action="version", version=f"textclf {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands.values():
        command.add_parser(subparsers)
    return parser, commands


def _refuse_undecodable(args: argparse.Namespace) -> None:
    """Raises UserError for names of files that are no text: they could not be written into a config or a message."""
    for name, value in vars(args).items():
        for part in value if isinstance(value, list) else [value]:
            shown = str(part).encode(errors="backslashreplace").decode()
            if name != "text" and isinstance(part, str | os.PathLike) and shown != str(part):
                raise UserError(f"{shown}: this name is not UTF-8. Rename the file or folder.")


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; turns errors that are not bugs into a message and an exit code."""
    prepare_streams()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the interpreter flushes stdout once more when it exits: that must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
