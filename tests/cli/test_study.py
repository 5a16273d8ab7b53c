"""`textclf study`: its arguments, and the page that joins results."""

import json
import shlex
from pathlib import Path

import pytest

from tests.study.cases import Machine, design, write_texts
from textclf_jax.cli import main, make_parser
from textclf_jax.cli.study import command_of, given_flags
from textclf_jax.study.running import run_study

COMMAND = [
    *("study", "my file.csv", "--out", "studies/x", "--minutes", "2.5", "--methods", "tfidf", "majority"),
    *("--no-lowercase", "--quoting", "off", "--set-finetuning", "training.batch_size=8", "--strip-accents"),
]


def parsed(words):
    args = make_parser()[0].parse_args(words)
    return vars(args) | {"flags": None}, given_flags(args.flags, args)


def test_the_command_to_repeat_a_study_gives_the_same_arguments():
    args, given = parsed(COMMAND)
    assert given["--methods"] == ["tfidf", "majority"]
    assert given["--no-lowercase"] is True
    command = command_of(given)
    assert command.startswith("textclf study 'my file.csv' ")
    again, same = parsed(shlex.split(command)[1:])
    assert (again, same) == (args, given)


def test_defaults_are_not_said():
    _, given = parsed(["study", "a.csv", "--out", "x", "--minutes", "3", "--seeds", "3", "--finetuning-share", "0.15"])
    assert given == {"INPUT": ["a.csv"], "--out": "x", "--minutes": 3.0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.csv", "--minutes", "3"], "--out FOLDER is missing"),
        (["a.csv", "--out", "x"], "--minutes M is missing"),
        (["a.csv", "--out", "x", "--minutes", "-1"], "--minutes -1 must be above 0"),
        (["--out", "x", "--minutes", "1"], "give either INPUT files, which are split, or --train"),
        (["gone.csv", "--out", "x", "--minutes", "1"], "gone.csv: there is no such file"),
        (["--report", "x", "--seeds", "2"], "leave --seeds out"),
        (["a.csv", "--out", "x", "--minutes", "1", "--write", "y"], "--write goes with --report"),
        (["--report", "x"], "x: holds no results"),
    ],
)
def test_refusals_leave_nothing(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_within_experiments_it_is_refused_with_where_to_go(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments" / "pretraining").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "experiments")
    assert main(["study", "a.csv", "--out", "x", "--minutes", "1"]) == 2
    assert f"cd {tmp_path}" in capsys.readouterr().err


def test_results_of_studies_are_joined_on_a_page(tmp_path, monkeypatch, capsys):
    write_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    machine = Machine(monkeypatch)
    made = design(methods=("majority", "tfidf"), command="textclf study --minutes 10")
    assert run_study(made, machine.prepare, machine.train, machine.clock) == 0
    other = Path("studies/other")
    other.mkdir()
    results = json.loads(Path("studies/toy/results.json").read_text()) | {"study": "other", "test_rows": 1234}
    (other / "results.json").write_text(json.dumps(results))
    capsys.readouterr()
    assert main(["study", "--report", "studies/toy", "studies/other"]) == 0
    page = capsys.readouterr().out
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# Results", "## toy", "## other"]
    assert "| TF-IDF + logistic regression | 100.00 | 100.00 to 100.00 |" in page
    assert "1,234 test rows, 3 classes; 2 seeds; 10 minutes" in page
    assert "```\ntextclf study --minutes 10\n```" in page
    assert main(["study", "--report", "studies/toy", "studies/other", "--write", "page.md"]) == 0
    assert Path("page.md").read_text() == page
    (other / "results.json").write_text("{}")
    assert main(["study", "--report", "studies/other"]) == 2
    assert "cannot be read as results of a study" in capsys.readouterr().err
