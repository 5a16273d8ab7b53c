"""A table whose texts have several labels, to a dataset folder."""

import csv
import json
import random

import numpy as np
import pytest
from sklearn.preprocessing import MultiLabelBinarizer

from tests.prepare.cases import options, refused, write_csv
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.texts import ReadOptions

BAR = ReadOptions(label_separator="|")
NAMES = ("film", "money", "rare", "sport")


def made_rows(count: int = 60, separator: str = "|") -> list[tuple[str, str]]:
    """Texts that are numbered, with one to three labels; the last label is on two rows alone."""
    draw = random.Random(1)
    sets = [draw.sample(["sport", "money", "film"], draw.choice([1, 1, 2, 3])) for _ in range(count)]
    for i in (7, 2 * count // 3):
        sets[i] = ["rare", *sets[i]]
    return [(f"cat {i} the dog", separator.join(labels)) for i, labels in enumerate(sets)]


def in_files(out) -> dict[str, list[str]]:
    """The label cells beside the splits, by split."""
    cells = {}
    for path in (out / "splits").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells[path.stem] = [row["label"] for row in csv.DictReader(file)]
    return cells


def test_the_labels_are_those_of_scikit_learn(out, tmp_path):
    table = write_csv(tmp_path / "t.csv", made_rows())
    report = prepare(options(out, inputs=(table,), read=BAR))
    assert (out / "labels.txt").read_text().split() == list(NAMES)
    described = json.loads((out / "dataset.json").read_text())
    assert described["multi_label"] is True
    cells = in_files(out)
    assert sum(map(len, cells.values())) == 60
    for split, expected in cells.items():
        _, _, labels = read_tensors(out / "cls" / f"{split}.pt")
        truth = MultiLabelBinarizer(classes=NAMES).fit_transform([cell.split("|") for cell in expected])
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, truth)
        assert report.splits[split].class_counts == tuple(truth.sum(0))
        assert report.splits[split].cls_rows == len(truth)
    assert report.splits["train"].class_counts[2] >= 1


def test_the_splits_can_be_prepared_again(out, tmp_path):
    for separator in ("|", "json"):
        read = ReadOptions(label_separator=separator)
        rows = [(text, json.dumps(cell.split("|")) if separator == "json" else cell) for text, cell in made_rows()]
        first, second = out / separator, out / f"{separator}2"
        prepare(options(first, inputs=(write_csv(tmp_path / "t.csv", rows),), read=read))
        files = {name: (first / "splits" / f"{name}.csv",) for name in ("train", "val", "test")}
        prepare(options(second, **files, read=read))
        for split in files:
            for one, other in zip(
                read_tensors(first / "cls" / f"{split}.pt"), read_tensors(second / "cls" / f"{split}.pt"), strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_single_labels_say_so(out, table):
    prepare(options(out, inputs=(table,)))
    assert json.loads((out / "dataset.json").read_text())["multi_label"] is False


def test_rows_without_a_label(out, tmp_path):
    rows = [*made_rows(20), ("no label", ""), ("none either", " | "), ("", "")]
    table = write_csv(tmp_path / "t.csv", rows)
    files = {"t": table}
    refused(
        out, files, {"inputs": "t", "read": BAR}, r"2 of 22 rows have no label.*--unlabelled-rows negative if they have"
    )
    kept = prepare(options(out, train=(table,), val_fraction=0, read=BAR, unlabelled_rows="negative"))
    assert kept.row_counts() == "rows: 23 read = 22 train + 1 without text, left out"
    assert kept.splits["train"].without_labels == 2
    np.testing.assert_array_equal(read_tensors(out / "cls" / "train.pt")[2][-2:], 0)
    dropped = prepare(options(out, train=(table,), val_fraction=0, read=BAR, unlabelled_rows="drop", force=True))
    assert "2 without a label, left out" in dropped.row_counts()
    assert dropped.splits["train"].without_labels == 0
    moved = prepare(options(out, train=(table,), val_fraction=0, read=BAR, unlabelled_rows="mlm", force=True))
    assert (moved.splits["train"].mlm_rows, moved.splits["train"].cls_rows) == (22, 20)


def test_negative_rows_need_a_separator(out, table):
    message = "--unlabelled-rows negative .* with one label a text, pass --unlabelled-rows drop"
    refused(out, {"t": table}, {"inputs": "t", "unlabelled_rows": "negative"}, message)


def test_given_names_and_numbers(out, tmp_path):
    numbers = {name: f"{i}.0" for i, name in enumerate(NAMES)}
    rows = [(text, "|".join(numbers[label] for label in cell.split("|"))) for text, cell in made_rows()]
    table = write_csv(tmp_path / "t.csv", rows)
    report = prepare(options(out / "1", inputs=(table,), read=BAR))
    assert report.label_names == ["0", "1", "2", "3"]
    (tmp_path / "names.txt").write_text("".join(name + "\n" for name in (*NAMES, "never")))
    report = prepare(options(out / "2", inputs=(table,), read=BAR, label_names=tmp_path / "names.txt"))
    assert report.label_names == [*NAMES, "never"]
    assert report.splits["train"].class_counts[-1] == 0
    _, _, labels = read_tensors(out / "2" / "cls" / "train.pt")
    np.testing.assert_array_equal(labels[:, :4], read_tensors(out / "1" / "cls" / "train.pt")[2])


def test_labels_are_looked_at_one_by_one(out, tmp_path):
    rows = [*made_rows(), ("x y", "Sport|money"), ("x z", "nan"), (made_rows()[0][0], "rare")]
    report = prepare(options(out, inputs=(write_csv(tmp_path / "t.csv", rows),), read=BAR))
    told = " ".join(report.advice(12))
    assert "'sport' (" in told
    assert "'Sport' (1)" in told
    assert "how programs write a missing label: 'nan' (1)" in told
    assert "Texts that occur with more than one set of labels: 1." in told
    ids = [(f"cat {i}", f"id{2 * i}|id{2 * i + 1}") for i in range(30)]
    files = {"t": write_csv(tmp_path / "ids.csv", ids)}
    refused(tmp_path / "no" / "x", files, {"inputs": "t", "read": BAR}, "do not look like classes: 60 different ones")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("sport|fun", r"test.csv line 2: label 'fun' does not occur in the training rows"),
        ("Sport", r"label 'Sport' does not occur .* Did you mean 'sport'\?"),
        ("a\nb|sport", r"line 2: the label 'a\\nb' has a line break"),
    ],
)
def test_what_the_test_rows_may_not_have(out, tmp_path, test, message):
    train = write_csv(tmp_path / "train.csv", made_rows(10))
    files = {"train": train, "test": write_csv(tmp_path / "test.csv", [("cat", test)])}
    refused(out, files, {"train": "train", "test": "test", "read": BAR}, message)


def test_one_class_is_refused_with_the_way_out(out, tmp_path):
    rows = [(f"cat {i}", "spam" * (i % 2)) for i in range(10)]
    changes = {"inputs": "t", "read": BAR, "unlabelled_rows": "negative"}
    files = {"t": write_csv(tmp_path / "t.csv", rows)}
    refused(out, files, changes, r"one class only \(spam\).* write yes or no .* leave --label-separator out")
    rows = [(text, "yes" if label else "no") for text, label in rows]
    assert prepare(options(out, inputs=(write_csv(tmp_path / "u.csv", rows),))).label_names == ["no", "yes"]


def test_lists_are_pointed_out_without_the_flag(out, tmp_path):
    table = write_csv(tmp_path / "t.csv", made_rows())
    told = " ".join(prepare(options(out, inputs=(table,))).advice(12))
    assert "the label looks like a list separated by '|'" in told
    assert "pass --label-separator '|'" in told
    assert "list" not in " ".join(prepare(options(out, inputs=(table,), read=BAR, force=True)).advice(12))
    wrong = ReadOptions(label_separator=";")
    with pytest.raises(UserError, match=r"--label-separator ';' is in no label. .* pass --label-separator '\|'"):
        prepare(options(out, inputs=(table,), read=wrong, force=True))


def test_many_different_lists_are_no_ids(out, tmp_path):
    """Without the flag they look like labels of their own: the refusal names the flag."""
    names = [f"topic{i}" for i in range(12)]
    rows = [(f"cat {i}", ";".join(random.Random(i).sample(names, 4))) for i in range(40)]
    files = {"t": write_csv(tmp_path / "t.csv", rows)}
    refused(out, files, {"inputs": "t"}, "Most rows have a label of their own.* pass --label-separator ';'")


def test_a_row_that_repeats_a_text_goes(out, tmp_path):
    rows = made_rows()
    table = write_csv(tmp_path / "t.csv", [*rows, (rows[3][0], "rare")])
    report = prepare(options(out, inputs=(table,), read=BAR, deduplicate=True))
    assert report.duplicates == {"input": 1}
    assert sum(split.cls_rows for split in report.splits.values()) == 60


def test_equal_rows_with_other_sets(out, tmp_path):
    rows = [
        ("Cat dog", "a|b"),
        ("cat dog", "b|a"),
        ("cat DOG", "b"),
        ("dog", "a"),
        ("DOG", "a"),
        ("the cat", "b|c"),
    ] * 2
    report = prepare(options(out, train=(write_csv(tmp_path / "t.csv", rows),), val_fraction=0, read=BAR))
    assert (report.equal_rows.num_rows, report.equal_rows.num_texts) == (1, 3)
    assert report.equal_rows.example == (("Cat dog", "a, b"), ("cat DOG", "b"))


def test_masked_rows_alone_take_the_labels_for_the_split(out, tmp_path):
    rows = [*made_rows(), ("without a label", "")]
    report = prepare(options(out, inputs=(write_csv(tmp_path / "t.csv", rows),), read=BAR, task="mlm"))
    assert sum(split.texts for split in report.splits.values()) == 61
    assert not (out / "labels.txt").exists()
