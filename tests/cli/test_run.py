"""`textclf run`: its arguments, and what they become."""

import shlex
from pathlib import Path

import pytest

from textclf_jax.cli import main, make_parser
from textclf_jax.cli.run import run_options


def parsed(words):
    return run_options(make_parser()[0].parse_args(words))


def test_what_arguments_become():
    found = parsed(["run", "a.csv", "--group-column", "author", "--text-column", "body", "--budget", "90s", "--plan"])
    assert (found.out, found.budget, found.seeds) == (Path("runs/a.csv"), 90.0, None)  # there is no such file
    assert found.data.inputs == (Path("a.csv"),)
    assert (found.data.group_column, found.data.read.text_column) == ("author", "body")
    assert found.arguments == {
        "INPUT": ["a.csv"],
        "--group-column": "author",
        "--text-column": "body",
        "--budget": "90s",
    }
    assert found.command == "textclf run a.csv --text-column body --group-column author --budget 90s"


def test_the_command_to_go_on_gives_the_same_options():
    words = [
        "run",
        "my file.csv",
        "--seeds",
        "3",
        "--rare-classes",
        "drop",
        "--max-error",
        "0.05",
        "--out",
        "runs/x",
        "--extra-text",
        "a",
        "b",
    ]
    found = parsed([*words, "--plan"])
    assert found == parsed(shlex.split(found.command)[1:])
    assert "--plan" not in found.command
    assert found.max_error == 0.05


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give either DATA, or --train and --test"),
        (["a.csv", "--budget", "20"], "--budget 20: must be a time above 0"),
        (["a.csv", "--seeds", "0"], "--seeds 0 must be at least 1"),
        (["a.csv", "--max-error", "1"], "--max-error 1 must be above 0 and below 1"),
        (["gone.csv"], "gone.csv: there is no such file"),
        (["--train", "a.csv"], "give --test FILE, too"),
        (["a.csv", "--label-separator", "|"], "each text one class"),
        (["a.csv", "--group-column", "a", "--time-column", "b"], "leave the other out"),
    ],
)
def test_refusals_leave_nothing(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_project_is_asked_for(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments/pretraining").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "experiments")
    assert main(["run", "a.csv"]) == 2
    assert f"cd {tmp_path}" in capsys.readouterr().err
