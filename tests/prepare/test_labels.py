"""Whether labels are classes, and one name for one class."""

import csv
import os
import random
import subprocess
import sys
import tracemalloc
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.prepare.cases import options, snapshot, write_csv
from textclf_jax.class_names import folded
from textclf_jax.cli import main
from textclf_jax.data.torch_files import read_tensors
from textclf_jax.errors import UserError
from textclf_jax.prepare.labels import in_order, look_alikes, merge_alike, remarks, require_classes, whole_numbers
from textclf_jax.prepare.pipeline import prepare
from textclf_jax.prepare.splitting import class_ids, stratified_split
from textclf_jax.prepare.texts import ReadOptions, Row


def rows(labels, texts=None):
    texts = texts or [f"the text number {i} of these" for i in range(len(labels))]
    return [Row(text, label, Path("a.csv"), i + 2) for i, (text, label) in enumerate(zip(texts, labels, strict=True))]


def drawn(count, choices, seed=0):
    draw = random.Random(seed)
    return [str(draw.choice(choices)) for _ in range(count)]


TENTHS = [f"{i / 10}" for i in range(51)]
LONG_TAIL = [f"intent {i}" for i in range(600) for _ in range(max(1, 400 // (i + 1)))]

SOUND = {
    "ten rows of five classes": ["a", "b", "c", "d", "e"] * 2,
    "three rows of three classes": ["a", "b", "c"],
    "ratings": drawn(100, range(1, 6)),
    "ratings of ten rows": drawn(10, range(1, 6)),
    "ratings as pandas writes them": [f"{value}.0" for value in drawn(100, range(1, 6))],
    "half stars": drawn(100, [i / 2 for i in range(1, 11)]),
    "polarity": drawn(12, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    "versions of Python": drawn(40, ["3.9", "3.10", "3.11", "3.12"]),
    "a thousand intents of two rows": [f"intent {i}" for i in range(1000)] * 2,
    "a thousand ids of three rows": [str(i) for i in range(1000)] * 3,
    "a long tail": LONG_TAIL,
    "codes of occupations": drawn(2000, [1000 + 37 * i for i in range(300)]),
    "descriptions as names": drawn(60, [f"class {i}: " + "of things that are so " * 12 for i in range(6)]),
    "a sample of 77 intents": drawn(100, range(77)),
    "13 classes of 25 rows": [*(str(i) for i in range(13)), *(str(i) for i in range(12))],
    "tens": drawn(20, range(10, 70, 10)),
    "years": drawn(300, range(1990, 2024)),
    "numbers of sections": [f"{i}.{j}" for i in range(1, 8) for j in range(1, 6)] * 10,
    "numbers of sections with ten and more": [f"{i}.{j}" for i in (1, 2, 11) for j in range(1, 13)] * 3,
    "codes with zeros": drawn(300, [f"{i:03}" for i in range(0, 1000, 10)]),
    "one class": ["a"] * 30,
}
NO_CLASSES = {
    "scores": (drawn(2000, [f"{i / 1000:.3f}" for i in range(5000)]), "numbers with decimals"),
    "scores of one decimal": (drawn(2000, TENTHS), "numbers with decimals"),
    "scores without whole ones": (drawn(2000, [t for t in TENTHS if t[-1] not in "05"]), "numbers with decimals"),
    "six scores": (["0.13", "2.5", "3.75", "1.1", "4.2", "0.9"], "numbers with decimals"),
    "scores with a comma": ([f"{i},{i % 9 + 1}" for i in range(30)], "numbers with decimals"),
    "probabilities": ([f"{i}e-03" for i in range(1, 40)], "numbers with decimals"),
    "scores and a gap": ([*drawn(200, TENTHS), "nan", "nan"], "numbers with decimals"),
    "ids": ([f"user-{i}" for i in range(12)], "a label of their own"),
    "row numbers": ([str(i) for i in range(50)], "a label of their own"),
    "dates": (drawn(100, [f"2021-{m:02}-{d:02}" for m in range(1, 13) for d in range(1, 29)]), "a label of their own"),
    "visits": ([str(i * i) for i in range(100) for _ in range(3)], "whole numbers far apart"),
    "long texts": ([f"{i} " + "a word and more " * 20 for i in range(10)] * 2, "322 characters on average"),
}


@pytest.mark.parametrize("labels", SOUND.values(), ids=SOUND)
def test_classes_pass(labels):
    require_classes(rows(labels), ReadOptions())


@pytest.mark.parametrize(("labels", "words"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_what_is_no_class_is_told(labels, words):
    with pytest.raises(
        UserError, match=f"a.csv: the labels do not look like classes.*{words}.*--accept-labels"
    ) as told:
        require_classes(rows(labels), ReadOptions())
    assert len(str(told.value)) < 800


def test_exchanged_columns_are_named_with_their_remedy(out, tmp_path):
    texts = [(f"this is sentence number {i}, which is long enough", "good" if i % 2 else "bad") for i in range(9)]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("stars", "body"), *((label, text) for text, label in texts)])
    wrong = ReadOptions(text_column="stars", label_column="body")
    with pytest.raises(UserError, match=r"exchanged\? Try --text-column body --label-column stars"):
        prepare(options(out, inputs=(path,), read=wrong))
    assert not out.exists()
    assert prepare(options(out, inputs=(path,), read=ReadOptions("body", "stars"))).label_names == ["bad", "good"]


def test_texts_of_several_lines_as_labels_are_told_in_short(out, tmp_path):
    path = write_csv(tmp_path / "a.csv", [("good", "one line\n" + "and more " * 1000)] * 3)
    with pytest.raises(UserError, match=r"line 2: the label 'one line.*column of the texts.*--label-column") as told:
        prepare(options(out, inputs=(path,)))
    assert len(str(told.value)) < 400


def test_one_may_insist_or_do_without(tmp_path, capsys):
    path = write_csv(tmp_path / "a.csv", [(f"some words {i % 7} of text {i}", f"{i}.5") for i in range(40)])
    command = ["prepare", str(path), "--vocab-size", "120", "--max-length", "12", "--out"]
    assert main([*command, str(tmp_path / "no")]) == 2
    assert "--task mlm" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "both"), "--accept-labels"]) == 0
    printed = capsys.readouterr().out
    assert "There is no val split: too few rows, of which each class keeps one to train." in printed
    assert "(0.5, 1.5, 2.5, 3.5, 4.5, ... and 35 more)" in printed
    assert max(map(len, printed.splitlines())) < 300
    # where labels are not used, they take no part in the split
    assert main([*command, str(tmp_path / "mlm"), "--task", "mlm"]) == 0
    assert len(read_tensors(tmp_path / "mlm" / "mlm" / "val.pt")[0]) == 4
    assert main(["baseline", "--train", str(path), "--test", str(path)]) == 2


def test_a_long_label_does_not_widen_the_others():
    labels = [*(str(i % 50) for i in range(5000)), "x" * 100_000]
    tracemalloc.start()
    stratified_split(labels, 0.1, 0.1, 0)
    class_ids({"train": rows(labels)}, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


# --- one name for one class -----------------------------------------------------------------------------------


def test_numbers_are_sorted_by_value_and_ties_by_their_writing():
    assert in_order({"10", "9", "-1"}) == ["-1", "9", "10"]
    assert in_order({"10.5", "9", "1.50", "1.5"}) == ["1.5", "1.50", "9", "10.5"]
    assert in_order({"٣", "3", "03", "2"}) == ["2", "03", "3", "٣"]
    assert in_order({"10", "9", "b"}) == ["10", "9", "b"]
    assert in_order({"1" * 5000, "2"}) == ["1" * 5000, "2"]


def test_whole_numbers_with_decimals_are_whole_numbers(out, tmp_path):
    train = write_csv(tmp_path / "train.csv", [(f"text {i} of train", str(i % 3)) for i in range(20)])
    test = write_csv(tmp_path / "test.csv", [(f"text {i} of test", f"{i % 3}.0") for i in range(6)])
    report = prepare(options(out, train=(train,), test=(test,)))
    assert report.label_names == ["0", "1", "2"]
    assert read_tensors(out / "cls" / "test.pt")[2].tolist() == [0, 1, 2] * 2
    assert "1.0 is taken as 1 (0, 1, 2)" in " ".join(report.advice(12))
    assert whole_numbers({"train": rows(["1.0", "1.5"])}) is None
    assert whole_numbers({"train": rows(["1", "2"])}) is None
    (tmp_path / "names.txt").write_text("no\nyes\nperhaps\n")
    named = prepare(options(out, train=(test,), test=(test,), label_names=tmp_path / "names.txt", force=True))
    assert named.label_names == ["no", "yes", "perhaps"]


def test_labels_that_look_alike_get_the_most_frequent_spelling():
    labels = ["Good", "good", "Good", "GOOD ", "bad", None, ("good", "bad"), ("Good", "good")]
    found = [row.label for row in merge_alike([Row("text", label, Path("a.csv"), 1) for label in labels])]
    assert found == ["good", "good", "good", "good", "bad", None, ("bad", "good"), ("good",)]
    assert merge_alike(rows(["a", "b"])) == rows(["a", "b"])


def test_labels_that_look_alike_are_shown_with_their_counts():
    counts = {"Positive": 120, "positive": 34, "negative": 90, "ＡＢ": 1, "ab": 2, "a b": 3, "pos\u200bitive": 1}
    assert look_alikes(counts) == [
        "'Positive' (120), 'positive' (34), 'pos\\u200bitive' (1)",
        "'a b' (3), 'ab' (2), 'ＡＢ' (1)",
    ]
    assert look_alikes({"01": 1, "1": 1, "10": 4}) == ["'01' (1), '1' (1)"]
    assert look_alikes({"-0": 1, "0": 2, "1.5": 1, "1.50": 1}) == ["'0' (2), '-0' (1)", "'1.5' (1), '1.50' (1)"]
    assert look_alikes({"Öl": 3, "Ol": 2, "œ": 1}) == []
    many = {name: 1 for i in range(9) for name in (f"class {i}", f"CLASS {i}")}
    assert len(remarks(many)) == 6
    assert remarks(many)[-1] == "... and 4 more groups of labels that look alike."


def test_missing_labels_are_pointed_out():
    assert remarks({"good": 9, "nan": 3, "None": 1})[0].startswith(
        "These classes are how programs write a missing label: 'None' (1), 'nan' (3)."
    )
    assert remarks({"good": 9, "none": 3, "1.0": 2, "Nan Goldin": 4}) == []


def test_an_unknown_label_is_met_with_the_one_it_looks_like():
    with pytest.raises(UserError, match=r"'POS' does not occur in the training rows \(neg, pos\). Did you mean 'pos'"):
        class_ids({"train": rows(["neg", "pos"]), "test": rows(["neg", "POS"])}, None)


def test_composed_and_decomposed_names_are_one(out, tmp_path):
    composed, decomposed = ("caf\u00e9", "cafe\u0301")
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        names = [composed, decomposed, "bar"]
        table = ((f"text {i} of it", names[i % 3]) for i in range(30))
        csv.writer(file).writerows([("text", f"art de {decomposed}"), *table])
    report = prepare(options(out, inputs=(path,), read=ReadOptions(label_column=f"art de {composed}")))
    assert report.label_names == ["bar", composed]
    assert report.label_remarks == []
    (tmp_path / "names.txt").write_text(f"{decomposed}\nbar\n")
    prepare(options(out, inputs=(path,), read=ReadOptions(label_column=f"art de {decomposed}"), force=True))
    assert (out / "labels.txt").read_text() == f"bar\n{composed}\n"


PREPARE = """
import sys
from textclf_jax.cli import main
sys.exit(main(["prepare", "a.csv", "--out", sys.argv[1], "--vocab-size", "150", "--max-length", "12"]))
"""


def test_a_dataset_is_the_same_bytes_in_every_process(tmp_path):
    """Ties of all kinds: equal numbers, equally frequent words, and any number of threads."""
    draw = random.Random(0)
    words = [a + b + c for a in "abcdefgh" for b in ("lo", "mi", "nu") for c in "pqrst"]
    labels = ["3", "03", "٣", "12", "-0", "0"]
    table = [(" ".join(draw.sample(words, 6)), labels[i % 6]) for i in range(60)]
    write_csv(tmp_path / "a.csv", table)
    folders = []
    for seed, threads in (("1", "1"), ("2", "8")):
        settings = {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        command = [sys.executable, "-c", PREPARE, seed]
        subprocess.run(command, cwd=tmp_path, env={**os.environ, **settings}, check=True, capture_output=True)
        folders.append({path.relative_to(tmp_path / seed): b for path, b in snapshot(tmp_path / seed).items()})
    assert folders[0].keys() == folders[1].keys()
    assert [str(path) for path in folders[0] if folders[0][path] != folders[1][path]] == []


# --- labels that nobody foresaw -------------------------------------------------------------------------------

ODD = [
    "é",
    "e\u0301",
    "Ａ",
    "a",
    "A",
    " a",
    "a\u00a0b",
    "a b",
    "\u200bx",
    "x",
    "1",
    "1.0",
    "01",
    "１",
    "٣",
    "-3",
    "0.5",
]
ODD += [
    "null",
    "nan",
    "İ",
    "i\u0307",
    "ß",
    "SS",
    "ﬁ",
    "fi",
    "a,b",
    'a"b',
    "#x",
    "\x85y",
    "y\x0bz",
    "\ufeffq",
    "1e3",
    "½",
]
names = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=("Cs",)), max_size=8))
decimals = st.decimals(allow_nan=False, allow_infinity=False).map(str)
label_sets = st.lists(names, min_size=2, max_size=7, unique=True)


@settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
@given(labels=label_sets, seed=st.integers(0, 9))
def test_strangers_names_go_through_files_and_back(tmp_path_factory, labels, seed):
    """Each row has the id of its own name, the names are those of labels.txt, and other orders give the same ids."""
    folder = tmp_path_factory.mktemp("strangers")
    table = [(f"word {i} of {j}", label) for i in range(3) for j, label in enumerate(labels)]
    shuffled = random.Random(seed).sample(table, len(table))
    found = []
    for number, pairs in enumerate((table, shuffled)):
        path, out = folder / f"{number}.csv", folder / str(number)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *pairs])
        try:
            report = prepare(options(out, train=(path,), val_fraction=0, task="cls"))
        except UserError as error:
            found.append(str(error).partition(":")[2])
            continue
        lines = (out / "labels.txt").read_bytes().decode().split("\n")
        assert lines[-1] == ""
        assert lines[:-1] == report.label_names == (out / "labels.txt").read_text("utf-8").splitlines()
        whole = "written with decimals" in report.whole_labels
        read = [unicodedata.normalize("NFC", label.strip()) for _, label in pairs]
        ids = read_tensors(out / "cls" / "train.pt")[2]
        named = [lines[i] for i in ids]
        assert named == [label.partition(".")[0] if whole else label for label in read]
        assert sum(report.splits["train"].class_counts) == len(pairs)
        alike = Counter(map(folded, set(named)))
        assert (max(alike.values()) > 1) == any("differ only by" in line for line in report.label_remarks)
        found.append(report.label_names)
    assert len(found) == 2
    assert found[0] == found[1] or all(isinstance(what, str) for what in found)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    st.lists(st.one_of(names, st.decimals(allow_nan=False, allow_infinity=False).map(str)), min_size=2), st.randoms()
)
def test_strangers_ids_depend_on_the_set_of_names_alone(labels, draw):
    try:
        known, ids = class_ids({"train": rows(labels)}, None)
    except UserError:
        assert len(set(labels)) == 1
        return
    again, others = class_ids({"train": rows(draw.sample(labels, len(labels)) * 2)}, None)
    assert again == known
    assert [known[i] for i in ids["train"]] == labels
    assert np.unique(others["train"]).tolist() == list(range(len(set(labels))))
