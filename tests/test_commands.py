"""Commands, flags and install lines that pages, helps and messages name: each of them exists."""

import argparse
import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import LIVING, ROOT, label
from textclf_jax.cli import make_parser

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = [
    path
    for folder in ("textclf_jax", "benchmarks", "experiments", "examples", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TEMPLATES = sorted((ROOT / "configs").rglob("*.yaml"))

# up to the end of the line, or of what is quoted, or a remark, or the next command
COMMAND = re.compile(
    r"(?:\btextclf|\bpython -m textclf_jax|\bpython (?P<script>[\w./]*\w+\.py))(?P<words>(?: +[^\s`#;,()[\]&]+)+)"
)
INSTALL = re.compile(r"pip install(?P<words>(?: +(?:'[^'\n]*'|[^\s`;]+))+)")
TARGET = re.compile(r"(?:`|^)make ([a-z][a-z0-9-]*)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?![\w-])")
FOREIGN = {"--logdir"}  # of XProf


def parsers(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Yields each command and its flags."""
    yield words, set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, (*words, name))


FLAGS = dict(parsers(make_parser()[0]))
SCRIPTS = {
    "pretrain.py": ("pretrain",),
    "finetune.py": ("finetune",),
    "experiments/generate_pretraining_experiment.py": ("new", "pretraining"),
    "experiments/generate_finetuning_experiment.py": ("new", "finetuning"),
}


def strings(path: Path) -> str:
    """The strings of a source file, a line each at least; `X` stands for what is filled in."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        return "X"

    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    found = (n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) or id(n) not in inner)
    return "\n".join(text(node) for node in found if isinstance(node, ast.JoinedStr | ast.Constant))


def messages(path: Path) -> str:
    """The strings with several words: not the arguments of other programs."""
    return "\n".join(line for line in strings(path).splitlines() if " " in line.strip())


def wrong_commands(text: str) -> list[str]:
    """The commands in a text that do not exist, or lack a flag that they are given."""
    wrong = []
    for match in COMMAND.finditer(text):
        words = match["words"].rstrip(".:").split()
        if match["script"] and match["script"] not in SCRIPTS:
            if not (ROOT / match["script"]).is_file():
                wrong.append(match[0])
            continue
        meant = [SCRIPTS.get(match["script"], ())]
        known = set().union(*map(FLAGS.__getitem__, meant))
        while words and (below := [c for c in FLAGS if c and c[:-1] in meant and words[0] in (c[-1], "X")]):
            meant, words = below, words[1:]
            known |= set().union(*map(FLAGS.__getitem__, meant))
        if meant == [()] or not set(FLAG.findall(" ".join(words))) <= known:
            wrong.append(match[0])
    return wrong


def wrong_installs(text: str) -> list[str]:
    """The lines of pip in a text that name an extra or a file that is not there, or that a shell would misread."""
    wrong = []
    for match in INSTALL.finditer(text):
        for word in re.findall(r"'[^']*'|\S+", match["words"]):
            plain = word.strip("'\"")
            project, bracket, extras = plain.partition("[")
            known = set(PYPROJECT["project"]["optional-dependencies"])
            if bracket and project in (".", PYPROJECT["project"]["name"], "textclf_jax"):
                if word == plain or not set(extras.rstrip("]").split(",")) <= known:
                    wrong.append(match[0])
            elif plain.endswith(".txt") and not (ROOT / plain).is_file():
                wrong.append(match[0])
    return wrong


@pytest.mark.parametrize("page", [*LIVING, *TEMPLATES], ids=label)
def test_pages_name_commands_that_exist(page):
    text = page.read_text(encoding="utf-8")
    assert wrong_commands(text) == []
    assert wrong_installs(text) == []


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_messages_name_commands_that_exist(path):
    text = strings(path)
    assert wrong_commands(text) == []
    assert wrong_installs(text) == []


def test_helps_name_commands_that_exist():
    def helps(parser):
        yield parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from helps(below)

    assert [wrong for text in helps(make_parser()[0]) for wrong in wrong_commands(text)] == []


def test_flags_in_messages_exist_in_some_command():
    """Of the package alone: other folders start other programs."""
    known = set().union(*FLAGS.values()) | FOREIGN
    found = {flag: path for path in SOURCES if "textclf_jax" in path.parts for flag in FLAG.findall(messages(path))}
    assert {flag: label(path) for flag, path in found.items() if flag not in known} == {}


def test_pages_name_targets_of_make_that_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for page in LIVING for name in TARGET.findall(page.read_text(encoding="utf-8"))} <= targets


def test_the_checks_see_what_they_look_for():
    text = "`textclf prepare a.csv --out x`, `textclf prepair a`, textclf predict x --labels, python gone.py x\n"
    text += "python pretrain.py x --dry-run --drive; textclf new finetuning x --everything # --none"
    assert [shlex.split(command)[:2] for command in wrong_commands(text)] == [
        ["textclf", "prepair"],
        ["textclf", "predict"],
        ["python", "gone.py"],
        ["python", "pretrain.py"],
        ["textclf", "new"],
    ]
    lines = "pip install -e '.[cuda12]' and\n pip install textclf-jax[cuda12]\npip install 'textclf-jax[gpu]'\n"
    assert wrong_installs(lines) == ["pip install textclf-jax[cuda12]", "pip install 'textclf-jax[gpu]'"]
    assert wrong_installs("pip install -r gone.txt") == ["pip install -r gone.txt"]
