"""The reference of commands, from the parsers that read the command line."""

import argparse
import re
from collections.abc import Iterator

from textclf_jax.cli import make_parser

USAGE_WIDTH = 76


def command_reference() -> str:
    """Gives Markdown: a heading for each command, with its usage, what it does, and its arguments."""
    parser, _ = make_parser()
    return "\n".join(_section(below, summary) for below, summary in _commands(parser))


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yields the parsers of all commands, and the line that lists of commands have for each."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                yield below, summaries[name]
                yield from _commands(below)


def _section(parser: argparse.ArgumentParser, summary: str) -> str:
    words = parser.prog.split()
    formatter = argparse.HelpFormatter(parser.prog, width=USAGE_WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    lines = [f"{'#' * len(words)} {parser.prog}", "", escaped(parser.description or summary), ""]
    lines += ["```", formatter.format_help().rstrip(), "```", ""]
    for group in parser._action_groups:
        rows = [_row(action, formatter) for action in group._group_actions if action.dest != "help"]
        if rows and group not in (parser._positionals, parser._optionals):
            lines += [f"*{escaped(group.title or '')}*", ""]
        lines += [*rows, ""] if rows else []
    return "\n".join(lines)


def _row(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    """An argument as an item of a definition list."""
    if isinstance(action, argparse._SubParsersAction):
        names = f"`{action.metavar}`"
        text = "one of " + ", ".join(f"`{name}`" for name in action.choices)
    else:
        value = "" if action.nargs == 0 else formatter._format_args(action, _metavar(action))
        names = ", ".join(f"`{name}{' ' * bool(value)}{value}`" for name in action.option_strings) or f"`{value}`"
        text = escaped(formatter._expand_help(action)) if action.help else ""
        if action.required and action.option_strings:
            text += " **Required.**"
    return f"{names}\n:   {text}\n"


def _metavar(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


def escaped(text: str) -> str:
    """Plain text for Markdown: nothing in it is markup."""
    # an underscore within a word is none
    return re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)", lambda sign: f"&#{ord(sign[0])};", text)
