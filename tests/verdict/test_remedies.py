"""What `textclf run` tells to do about faults works when it is done: with the flags that it has."""

import argparse
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.check.cases import make_rows, write
from tests.test_commands import FLAGS
from tests.verdict.cases import Machine, options, write_news
from textclf_jax.check.data import CheckOptions
from textclf_jax.cli import main, make_parser
from textclf_jax.cli.run import REFUSED, lacking_flags, prepare_checked, with_commands
from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.runtime.device import explained_exhaustion
from textclf_jax.verdict.remedies import REMEDIES, WITH_LESS_MEMORY, of_training
from textclf_jax.verdict.running import Run, run

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = re.compile(r"textclf prepare --[a-z-]+")
RUN = next(
    action.choices["run"] for action in make_parser()[0]._actions if isinstance(action, argparse._SubParsersAction)
)
LACKING = lacking_flags(RUN)
THROUGH = "got through the check"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def said(monkeypatch, capsys):
    """Runs `textclf run` as far as its check, and returns what it refuses; THROUGH where it refuses nothing."""

    def stop(run):
        raise UserError(THROUGH)

    monkeypatch.setattr(Run, "study", stop)
    monkeypatch.setattr(Run, "note_time", lambda run: None)

    def refused(*words: str) -> str:
        assert main(["run", *words]) == 2
        shutil.rmtree("runs", ignore_errors=True)
        return capsys.readouterr().err

    return refused


def foreign_flags(text: str) -> set[str]:
    """Flags that a message names as if `textclf run` had them."""
    return set(FLAG.findall(OF_OTHERS.sub("", text))) - (FLAGS[("run",)] - REFUSED)


def plain_csv(name: str, *header: str, **columns) -> None:
    lines = [";".join(header), *(";".join(cells) for cells in zip(*columns.values(), strict=True))]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")


TEXTS = [row.text for row in make_rows(90)]
LABELS = [str(row.label) for row in make_rows(90)]
OTHER_TEXTS = [row.text for row in make_rows(90, seed=1)]
QUOTED = [f'"{text}" and on' if i == 50 else f'"{text}"' for i, text in enumerate(TEXTS)]
AMOUNTS = [f"{1 + i % 24}007" for i in range(90)]


def write_folder() -> None:
    Path("data").mkdir()
    for seed, name in enumerate(("train", "test")):
        write(Path(f"data/{name}.csv"), make_rows(60, seed=seed))


# what is written; the words that are always given; those that are refused; and what may be given instead
CASES = {
    "two columns of texts": (
        lambda: plain_csv("a.csv", "one", "two", "label", a=TEXTS, b=OTHER_TEXTS, c=LABELS),
        *("a.csv", "", ["--text-column one", "--text-column two"]),
    ),
    "two columns of labels": (
        lambda: plain_csv("a.csv", "text", "kind", "sort", a=TEXTS, b=LABELS, c=["u", "v", "w"] * 30),
        *("a.csv", "", ["--label-column kind", "--label-column sort"]),
    ),
    "rare classes": (
        lambda: plain_csv("a.csv", "text", "label", a=TEXTS, b=[*LABELS[:-4], "p", "p", "q", "r"]),
        *("a.csv", "", ["--rare-classes drop", "--rare-classes merge", "--rare-classes keep"]),
    ),
    "labels that look alike": (
        lambda: plain_csv("a.csv", "text", "label", a=TEXTS, b=[*LABELS[:-12], *(x.upper() for x in LABELS[-12:])]),
        *("a.csv", "", ["--alike-labels merge", "--alike-labels keep"]),
    ),
    "labels that look alike, and rare ones": (
        lambda: plain_csv("a.csv", "text", "label", a=TEXTS, b=[*LABELS[:-3], LABELS[-3].upper(), "p", "q"]),
        *("a.csv", "", ["--alike-labels merge --rare-classes drop"]),
    ),
    "labels that are amounts": (
        lambda: plain_csv("a.csv", "text", "label", "kind", a=TEXTS, b=AMOUNTS, c=LABELS),
        *("a.csv", "", ["--accept-labels"]),
    ),
    "quotation marks that do not close": (
        lambda: plain_csv("a.csv", '"text"', '"label"', a=QUOTED, b=[f'"{label}"' for label in LABELS]),
        *("a.csv", "", ["--quoting off"]),
    ),
    "a folder that is split": (write_folder, "", "data", ["--train data/train.csv --test data/test.csv"]),
    "a limit that cannot be promised": (
        lambda: plain_csv("a.csv", "text", "label", a=TEXTS, b=LABELS),
        *("a.csv", "--max-error 0.001", ["--max-error 0.1"]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_refusal_says_works_as_typed(said, case):
    make, always, refused, remedies = CASES[case]
    make()
    told = said(*shlex.split(f"{always} {refused}"))
    assert THROUGH not in told
    assert foreign_flags(told) == set()
    for remedy in remedies:
        assert remedy in told
        assert THROUGH in said(*shlex.split(f"{always} {remedy}")), remedy


def test_what_is_to_be_left_out_can_be(said):
    plain_csv("a.csv", "text", "label", "who", "when", a=TEXTS, b=LABELS, c=["x", "y"] * 45, d=["2026"] * 90)
    for flag, column in (("--group-column", "who"), ("--time-column", "when")):
        told = said("a.csv", flag, column)
        assert f"{'without' if column == 'who' else 'leave'} {flag}" in told
    assert THROUGH in said("a.csv")


def test_texts_alone_are_told_where_labels_go(said):
    Path("a.txt").write_text("\n".join(TEXTS) + "\n")
    told = said("a.txt")
    assert "a.txt: has no labels. Put texts and labels into a table (csv, tsv, jsonl or parquet), or into a" in told
    assert "--label-column" not in told
    for name, label in zip(("x", "y"), ("sport", "money"), strict=True):
        Path(f"b/{label}").mkdir(parents=True)
        for i, text in enumerate(TEXTS[:40]):
            Path(f"b/{label}/{name}{i}.txt").write_text(f"{label} {text}")
    assert THROUGH in said("b")


def test_several_labels_are_for_another_command(said):
    sets = ["red|green", "green", "red", "blue|red", "blue", "green|blue"]
    plain_csv("a.csv", "text", "label", a=TEXTS, b=[sets[i % 6] for i in range(90)])
    Path("b.csv").write_text(Path("a.csv").read_text().replace(";green\n", ";\n"))
    assert "textclf prepare --label-separator" in said("a.csv", "--label-separator", "|")
    assert main(["prepare", "a.csv", "--label-separator", "|", "--out", "data/a"]) == 0


def faulty(name: str, seed: int) -> None:
    """Rows without text, without label, repeated, with two labels, and long ones."""
    rows = make_rows(80, seed=seed)
    rows += [rows[0], rows[1]._replace(label=rows[0].label), rows[2]._replace(text=""), rows[3]._replace(label=None)]
    rows += [row._replace(text=" ".join([row.text] * 60)) for row in rows[4:40]]
    write(Path(name), rows)


def test_what_the_check_finds_is_told_for_a_run():
    faulty("news.csv", 0)
    faulty("test.csv", 1)
    Path("test.csv").write_text(
        Path("test.csv").read_text() + "\n".join(Path("news.csv").read_text().splitlines()[1:9])
    )
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)
        data = CheckOptions(train=(Path("news.csv"),), test=(Path("test.csv"),))
        assert run(options(data=data), machine.tools, plan_only=True) == 0
    remedies = [each.remedy for each in machine.findings]
    for expected in (REMEDIES.empty[1], REMEDIES.unlabelled, REMEDIES.across, REMEDIES.contradicted, REMEDIES.long):
        assert expected in remedies
    assert [flag for each in machine.findings for flag in foreign_flags(f"{each.what} {each.remedy}")] == []
    assert {each.severity for each in machine.findings if "without visible text" in each.what} == {"warning"}


def test_no_remedy_names_a_flag_that_is_not_there():
    assert [flag for remedy in REMEDIES for flag in foreign_flags(str(remedy))] == []


def test_flags_of_other_commands_are_told_with_their_command():
    for text, told in (
        ("All fit with --vocab-size 90.", "All fit with textclf prepare --vocab-size 90."),
        ("Remedy: --extra-text more.", "Remedy: --extra-text more."),
        (
            "see textclf prepare --skip-empty, --deduplicate",
            "see textclf prepare --skip-empty, textclf prepare --deduplicate",
        ),
        ("pass --label-separator '|'", "pass textclf prepare --label-separator '|'"),
        ("start over with --fresh", "start over with --fresh"),
    ):
        assert with_commands(text, LACKING) == told


def test_what_prepare_advises_is_told_for_a_run_where_it_is_news(capsys):
    """Neither the lengths, which the run has chosen, nor what its check has told already."""
    Path("texts").mkdir()
    for name in ("train", "val", "test"):
        rows = make_rows(60, seed=len(name))
        rows += [row._replace(text=" ".join(chr(0x4E00 + 20 * i + j) for j in range(20))) for i, row in enumerate(rows)]
        write(Path(f"texts/{name}.csv"), [*rows, rows[0]])
    files = {name: (Path(f"texts/{name}.csv"),) for name in ("train", "val", "test")}
    options = PrepareOptions(Path("data"), **files, task="both", max_length=512, limit_alphabet=900)
    prepare_checked(options, partial(with_commands, lacking=LACKING))
    lines = capsys.readouterr().out.splitlines()
    assert "classes: 2 (money, sport)" in lines
    told = "\n".join(lines)
    assert "is much" not in told
    assert "stand in several splits" not in told
    assert "All fit with textclf prepare --vocab-size" in told
    assert foreign_flags(told) <= {"--train", "--val", "--test", "--out"}
    own = "textclf prepare --train texts/train.jsonl --val texts/val.jsonl --test texts/test.jsonl --out data/NAME"
    assert f"trainings of your own: {own}, and then textclf new." in lines[-1]


def test_a_refusal_of_prepare_says_what_is_possible():
    Path("texts").mkdir()
    long = [row._replace(text="acgt" * 40 + f"{i:03}") for i, row in enumerate(make_rows(60))]
    for name in ("train", "val", "test"):
        write(Path(f"texts/{name}.csv"), long)
    files = {name: (Path(f"texts/{name}.csv"),) for name in ("train", "val", "test")}
    options = PrepareOptions(Path("data"), **files, task="both")
    with pytest.raises(UserError, match=r"with textclf prepare --max-word-length 163\. textclf run chooses"):
        prepare_checked(options, partial(with_commands, lacking=LACKING))


def test_an_error_of_a_training_names_its_command():
    go_on = "Then go on with: textclf run a.csv"
    for text, told in (
        ("Start over with --fresh.", f"Start over with textclf finetune a-seed1 --fresh. {go_on}"),
        (
            "go on with --changed-data, start over with --fresh, or not.",
            f"go on with textclf finetune a-seed1 --changed-data, start over with textclf finetune a-seed1 --fresh, "
            f"or not. {go_on}",
        ),
        ("textclf finetune a-seed1 --fresh starts over.", "textclf finetune a-seed1 --fresh starts over."),
        ("The disk is full.", "The disk is full."),
    ):
        assert of_training(text, "finetuning", "a-seed1", "textclf run a.csv") == told


def test_too_little_memory_is_met_with_what_a_run_can_do(monkeypatch):
    """Not with keys of a config that the run itself has written."""
    write_news()
    machine = Machine(monkeypatch)

    def train(kind, folder):
        with explained_exhaustion("Lower training.batch_size, with --fresh."):
            raise MemoryError("of this device")

    with pytest.raises(UserError) as caught:
        run(options(), machine.tools._replace(train=train))
    assert str(caught.value) == f"out of memory (of this device). {WITH_LESS_MEMORY}"
    assert foreign_flags(WITH_LESS_MEMORY) == set()
    assert run(options(), machine.tools) == 0
