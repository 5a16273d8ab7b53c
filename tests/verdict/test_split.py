"""The split of a run: nothing leaks, and what cannot be split is refused in words that help."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.check.cases import make_rows, write
from tests.verdict.cases import by_class, options
from textclf_jax.check.checking import Facts, check_data
from textclf_jax.check.data import CheckOptions
from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions
from textclf_jax.verdict.progress import read_groups
from textclf_jax.verdict.split import Divider, groups_of, read_extra, write_texts


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def divided(data: CheckOptions | None = None, **changes) -> Facts:
    wanted = options(data=CheckOptions(inputs=(Path("a.csv"),)) if data is None else data, **changes)
    return check_data(wanted.data, divide=Divider(wanted))


def groups_by_split(facts: Facts, column: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    for cell, split in zip(facts.data.columns[column], facts.data.splits, strict=True):
        found[split].add(cell)
    return found


def test_labels_that_look_alike_become_one_class_where_that_is_asked_for():
    rows = make_rows(200)
    for i in range(0, 200, 10):
        rows[i] = rows[i]._replace(label=f" {str(rows[i].label).title()}")
    write(Path("a.csv"), rows)
    with pytest.raises(UserError, match=r"a\.csv: labels that differ only by case.*: '(\w+)' \(\d+\), '\w+' \(\d+\);"):
        divided()
    merged = divided(CheckOptions(inputs=(Path("a.csv"),), alike_labels="merge"))
    assert merged.classes is not None
    assert merged.classes.counts == by_class([row.label for row in make_rows(200)])
    assert sum("labels that look alike are one class" in note for note in merged.data.notes) == 2
    kept = divided(CheckOptions(inputs=(Path("a.csv"),), alike_labels="keep"))
    assert kept.classes is not None
    assert len(kept.classes.counts) == 4


def test_classes_have_their_share_in_each_split():
    write(Path("a.csv"), make_rows(200))
    parts = divided().data.parts()
    assert {name: by_class([row.label for row in part]) for name, part in parts.items()} == {
        "train": {"money": 80, "sport": 80},
        "val": {"money": 10, "sport": 10},
        "test": {"money": 10, "sport": 10},
    }


def test_no_group_is_in_two_splits():
    """Nor do rows without a label bring one into the training rows."""
    rows = make_rows(240)
    authors = [f"author {i % 17}" if i % 5 else "" for i in range(240)]
    rows = [row._replace(label=None) if i % 11 == 0 else row for i, row in enumerate(rows)]
    write(Path("a.csv"), rows, author=authors)
    facts = divided(CheckOptions(inputs=(Path("a.csv"),), group_column="author"))
    found = groups_by_split(facts, "author")
    assert all(found.values())
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert found[one] & found[other] <= {""}
    assert facts.groups is not None
    assert (facts.groups.shared, facts.groups.leaked_rows) == ([], 0)
    kept = write_texts(Path("texts"), facts.data, groups_of(facts.data, facts.repeats.groups, "author"), [])
    extra = [json.loads(line) for line in Path("texts/extra.jsonl").read_text().splitlines()]
    assert kept["extra"] == len(extra) > 0
    assert {each["group"] for each in extra} & (found["val"] | found["test"]) <= {""}


def test_the_test_is_the_latest():
    rows = make_rows(200)
    days = np.random.default_rng(0).permutation(200)
    rows = [row._replace(label=None) if i % 9 == 0 else row for i, row in enumerate(rows)]
    write(Path("a.csv"), rows, day=[f"2026-{1 + day // 28:02}-{1 + day % 28:02}" for day in days.tolist()])
    facts = divided(CheckOptions(inputs=(Path("a.csv"),), time_column="day"))
    found = groups_by_split(facts, "day")
    assert max(found["train"]) < min(found["val"]) <= max(found["val"]) < min(found["test"])
    assert facts.times is not None
    assert facts.times.later_rows == 0
    kept = write_texts(Path("texts"), facts.data, [""] * 200, [])
    assert sum(kept.values()) < 200  # later texts without a label are not for pretraining either
    assert kept["test"] == pytest.approx(18, abs=2)


def test_what_is_nearly_the_same_is_in_one_split():
    rows = make_rows(150)
    rows += [row._replace(text=row.text.upper() + "!", line=500 + i) for i, row in enumerate(rows[:60])]
    write(Path("a.csv"), rows)
    facts = divided()
    assert facts.repeats.across == 0
    assert facts.repeats.within >= 60
    # the split of prepare leaks
    assert check_data(CheckOptions(inputs=(Path("a.csv"),))).repeats.across > 0


def test_files_that_are_split_stay_as_they_are():
    """Only a validation split is drawn, of the training rows; 1.0 and 1 are one class."""
    rows = [row._replace(label={"sport": "1.0", "money": "0.0"}[str(row.label)]) for row in make_rows(150)]
    write(Path("train.csv"), rows[:100])
    write(Path("test.csv"), [row._replace(label=str(row.label)[0]) for row in rows[100:]])
    given = CheckOptions(train=(Path("train.csv"),), test=(Path("test.csv"),))
    parts = divided(given).data.parts()
    assert {name: len(part) for name, part in parts.items()} == {"train": 90, "val": 10, "test": 50}
    assert {row.path.name for row in parts["test"]} == {"test.csv"}
    write(Path("val.csv"), rows[100:110])
    whole = divided(replace(given, val=(Path("val.csv"),))).data.parts()
    assert {name: len(part) for name, part in whole.items()} == {"train": 100, "val": 10, "test": 50}


@pytest.mark.parametrize(
    ("labels", "changes", "words"),
    [
        (["x"] * 60, {}, "all labels are 'x', and classification needs two classes"),
        ([f"{i}" for i in range(60)], {}, "do not look like classes.*--accept-labels"),
        (
            ["x", "y"] * 29 + ["z", "z"],
            {},
            "1 of 3 classes have fewer rows than the 3 splits: z .2..*--rare-classes drop",
        ),
        (["", ""] * 30, {}, "no row with text has a label in the column 'label'"),
        (["x", "y"], {"rare_classes": "keep"}, "too few rows: no labelled one is left for the val split"),
    ],
)
def test_refusals(labels, changes, words):
    rows = [row._replace(label=label) for row, label in zip(make_rows(len(labels)), labels, strict=True)]
    write(Path("a.csv"), rows)
    read = ReadOptions(text_column="text", label_column="label")
    with pytest.raises(UserError, match=words):
        divided(CheckOptions(inputs=(Path("a.csv"),), read=read, **changes))


def test_labels_are_accepted_where_the_user_says_so():
    write(Path("a.csv"), [row._replace(label=f"{i % 40}.5") for i, row in enumerate(make_rows(160))])
    read = ReadOptions(text_column="text", label_column="label")
    data = CheckOptions(inputs=(Path("a.csv"),), read=read)
    with pytest.raises(UserError, match="--accept-labels"):
        divided(data)
    parts = divided(data, accept_labels=True).data.parts()
    assert len(parts["train"]) + len(parts["val"]) + len(parts["test"]) == 160


def test_a_class_of_late_rows_alone_is_refused():
    rows = [row._replace(label="new" if i >= 190 else row.label) for i, row in enumerate(make_rows(200))]
    write(Path("a.csv"), rows, year=[str(1800 + i) for i in range(200)])
    with pytest.raises(UserError, match="no training row has the class new, which validation or test rows have"):
        divided(CheckOptions(inputs=(Path("a.csv"),), time_column="year"))


def test_texts_are_written_with_where_they_are_from():
    rows = make_rows(100)
    rows[:3] = [row._replace(text=f"{row.text}\u2028{row.text}") for row in rows[:3]]
    rows[3] = rows[3]._replace(text='a "quoted"\ntext\u2028of two lines')
    write(Path("a.csv"), rows)
    facts = divided()
    write_texts(Path("texts"), facts.data, groups_of(facts.data, facts.repeats.groups, None), [])
    lines = [line for name in ("train", "val", "test") for line in Path(f"texts/{name}.jsonl").read_text().split("\n")]
    written = [json.loads(line) for line in lines if line]
    with Path("a.csv").open(newline="") as file:
        assert sorted(each["text"] for each in written) == sorted(row["text"].strip() for row in csv.DictReader(file))
    assert all(each["file"] == "a.csv" for each in written)
    assert not Path("texts/extra.jsonl").exists()
    assert len(read_groups(Path("texts/train.jsonl"))) == len(facts.data.parts()["train"])


def test_extra_texts_are_read_as_they_are(tmp_path):
    write(Path("a.csv"), make_rows(60))
    Path("more.txt").write_bytes("ein Käse\n\nnoch\neiner\n".encode("windows-1252"))
    write(Path("more.csv"), make_rows(7))
    facts = divided()
    found = read_extra(options(extra_text=(Path("more.txt"), Path("more.csv")), text_unit="paragraph"), facts.data)
    assert [row.text for row in found[:2]] == ["ein Käse", "noch einer"]
    assert (len(found), {row.label for row in found}) == (9, {None})
    with pytest.raises(UserError, match="--text-unit says how txt files of --extra-text are read"):
        read_extra(options(extra_text=(Path("more.csv"),), text_unit="line"), facts.data)
