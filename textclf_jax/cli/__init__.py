"""The `textclf` command: `main` parses and runs one sub-command, each in a file of its own."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from textclf_jax import __version__
from textclf_jax.errors import UserError
from textclf_jax.runtime.memory import restart_with_environment

LONG_COMMANDS = {"pretrain", "finetune"}


def command_line(argv: Sequence[str] | None = None) -> int:
    """What a shell calls: `main` in a process set up for the command."""
    if LONG_COMMANDS & set(list(sys.argv[1:] if argv is None else argv)[:1]):
        restart_with_environment()
    return main(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    2 for an error that the user can mend, 130 after Ctrl-C, 141 where the reader of the output is gone.
    """
    return guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    # imported here: guarded() is also used by scripts that need none of them
    from textclf_jax.cli import baseline, bench, export, finetune, import_, predict, prepare, pretrain

    commands = {
        "prepare": prepare,
        "pretrain": pretrain,
        "finetune": finetune,
        "predict": predict,
        "baseline": baseline,
        "bench": bench,
        "import": import_,
        "export": export,
    }
    parser = argparse.ArgumentParser(
        prog="textclf",
        description="Train text classifiers from scratch: prepare data, pretrain, finetune, predict, import, export.",
    )
    parser.add_argument("--version", action="version", version=f"textclf {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands.values():
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    return commands[args.command].run(args)


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; the errors that are no bugs become a message and an exit code."""
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
        # the interpreter flushes stdout once more at its end: that must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
