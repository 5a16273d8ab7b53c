"""`textclf baseline`: both baselines on a split, and what it refuses."""

import gzip
import json
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from textclf_jax.cli import main
from textclf_jax.evaluation.words import count_units

WORDS = {"sport": "goal match team", "money": "bank share profit", "sky": "star planet orbit"}


def write_rows(path, labels, columns=("text", "label")):
    """A csv in which the label can be told from the words; every tenth text is another class's."""
    names = list(WORDS)
    lines = [",".join(columns)]
    for i, label in enumerate(labels):
        told = names[(names.index(label) + 1) % 3] if i % 10 == 9 else label
        lines.append(f'"a text, of {WORDS[told]}",{label}')
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.fixture
def split(tmp_path):
    train = write_rows(tmp_path / "train.csv", ["sport"] * 30 + ["money"] * 20 + ["sky"] * 10)
    test = write_rows(tmp_path / "test.csv.gz", ["sport"] * 10 + ["money"] * 10 + ["sky"] * 20)
    return "--train", train, "--test", test


def test_scores_of_both_baselines(split, capsys):
    assert main(["baseline", *split, "--json"]) == 0
    majority, tfidf = map(json.loads, capsys.readouterr().out.splitlines())
    assert majority["model"] == "majority class"
    assert majority["accuracy"] == pytest.approx(10 / 40)
    # F1 of "sport" is 2 * 10 / (10 + 40), of the two others 0
    assert majority["f1_macro"] == pytest.approx(0.4 / 3)
    assert tfidf["accuracy"] == pytest.approx(36 / 40)  # wrong on the four mislabelled rows alone
    assert tfidf["seconds"] > 0


def test_several_labels_equal_one_regression_for_each(tmp_path, capsys):
    """Against scikit-learn's one-vs-rest on the same features."""
    draw, files, sets = random.Random(2), [], {}
    for name, count in (("train", 80), ("test", 40)):
        sets[name] = [sorted(draw.sample(list(WORDS), draw.choice([0, 1, 1, 2, 3]))) for _ in range(count)]
        texts = [" ".join(draw.choice(WORDS[x].split()) for x in labels) + " a text" for labels in sets[name]]
        rows = [f"{text},{' ; '.join(labels)}" for text, labels in zip(texts, sets[name], strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        files += [f"--{name}", str(tmp_path / f"{name}.csv")]
        sets[f"{name} texts"] = texts
    flags = ["--label-separator", ";", "--unlabelled-rows", "negative", "--json"]
    assert main(["baseline", *files, *flags]) == 0
    frequent, tfidf = map(json.loads, capsys.readouterr().out.splitlines())
    binarizer = MultiLabelBinarizer().fit([list(WORDS)])
    train, test = binarizer.transform(sets["train"]), binarizer.transform(sets["test"])
    vectorizer = TfidfVectorizer(analyzer=count_units, max_features=50_000, sublinear_tf=True)
    model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000))
    model.fit(vectorizer.fit_transform(sets["train texts"]), train)
    predicted = model.predict(vectorizer.transform(sets["test texts"]))
    most = max(map(tuple, sets["train"]), key=[*map(tuple, sets["train"])].count)
    for found, expected in (
        (tfidf, predicted),
        (frequent, np.tile(binarizer.transform([most]), (len(test), 1))),
    ):
        assert found["f1_micro"] == pytest.approx(f1_score(test, expected, average="micro", zero_division=0))
        assert found["f1_macro"] == pytest.approx(f1_score(test, expected, average="macro", zero_division=0))
        assert found["subset_accuracy"] == pytest.approx(accuracy_score(test, expected))
    assert tfidf["f1_micro"] > 0.9


def test_several_labels_without_the_flag_are_pointed_out(tmp_path, capsys):
    rows = [f"a text of {WORDS[one]},{one}|{other}" for one in WORDS for other in WORDS if one != other] * 4
    rows += [f"some {WORDS[one]},{one}" for one in WORDS] * 4
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    files = ["baseline", "--train", str(tmp_path / "a.csv"), "--test", str(tmp_path / "a.csv")]
    assert main(files) == 0
    assert "pass --label-separator '|'" in capsys.readouterr().err
    assert main([*files, "--label-separator", ";"]) == 2
    assert "--label-separator ';' is in no label" in capsys.readouterr().err
    assert main([*files, "--unlabelled-rows", "negative"]) == 2
    assert "pass --unlabelled-rows drop" in capsys.readouterr().err


def test_a_label_that_all_texts_have(tmp_path, capsys):
    rows = [f"a text of {WORDS[one]},{one} | all" for one in WORDS] * 5
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    path = str(tmp_path / "a.csv")
    assert main(["baseline", "--train", path, "--test", path, "--label-separator", "|", "--json"]) == 0
    _, tfidf = map(json.loads, capsys.readouterr().out.splitlines())
    assert (tfidf["f1_micro"], tfidf["subset_accuracy"]) == (1.0, 1.0)


def test_a_table_without_json(split, capsys):
    assert main(["baseline", *split]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "baselines on 40 test rows"
    assert lines[-1].startswith("TF-IDF + logistic regression    0.9000")


def test_other_column_names(tmp_path, capsys):
    path = write_rows(tmp_path / "all.csv", ["sport", "money"] * 5, columns=("body", "topic"))
    files = ["baseline", "--train", path, "--test", path]
    assert main([*files, "--text-column", "body", "--label-column", "topic", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("spoken", "kinds"),
    [
        ("我们今天看{}的消息很多", ("足球", "银行")),  # no spaces: each text is another word
        ("ข่าวของ{}วันนี้มีมาก", ("กีฬา", "ธนาคาร")),
        ("खबर {} है", ("मेल", "मैल")),  # words that differ in a vowel sign alone
    ],
)
def test_other_scripts_are_learned(tmp_path, capsys, spoken, kinds):
    files = []
    for name, count in (("train", 30), ("test", 10)):
        rows = [f"{chr(0x4E00 + i)}{spoken.format(kinds[i % 2])}{chr(0x5E00 + 7 * i)},{i % 2}" for i in range(count)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
        files += [f"--{name}", str(tmp_path / f"{name}.csv")]
    assert main(["baseline", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("text\nno label here\n", "has no labels, which classification needs: name their column with --label-column\n"),
        ("text,label\nfirst,new\n", "label 'new' does not occur in the training rows"),
    ],
)
def test_unusable_test_rows_are_refused(split, tmp_path, capsys, rows, message):
    path = tmp_path / "odd.csv"
    path.write_text(rows)
    assert main(["baseline", *split[:2], "--test", str(path)]) == 2
    assert f"{path}" in (error := capsys.readouterr().err)
    assert message in error


def test_labelled_rows_without_text_are_refused_or_left_out(split, tmp_path, capsys):
    assert main(["baseline", *split, "--json"]) == 0
    scores = [json.loads(line) | {"seconds": 0} for line in capsys.readouterr().out.splitlines()]
    path = tmp_path / "train.csv"
    path.write_text(path.read_text() + " ,sport\n,money\n,\n")
    assert main(["baseline", *split]) == 2
    assert f"2 labelled rows have no text ({path} line 62, {path} line 63)" in capsys.readouterr().err
    assert main(["baseline", *split, "--skip-empty", "--json"]) == 0
    printed = capsys.readouterr()
    assert "rows without a label, left out: 1 of 63\nrows without text, left out: 2 of 63\n" in printed.err
    assert [json.loads(line) | {"seconds": 0} for line in printed.out.splitlines()] == scores
    path.write_text("text,label\n,sport\nword,\n")
    assert main(["baseline", *split, "--skip-empty", "--unlabelled-rows", "drop"]) == 2
    assert f"{path}: has no row with text and label" in capsys.readouterr().err


def test_flags_that_no_file_has_a_use_for_are_refused(split, capsys):
    assert main(["baseline", *split, "--text-unit", "line"]) == 2
    assert "--text-unit says how txt files are read" in capsys.readouterr().err


def test_texts_without_words_are_refused(tmp_path, capsys):
    path = tmp_path / "marks.csv"
    path.write_text("text,label\n!!,a\n??,b\n")
    assert main(["baseline", "--train", str(path), "--test", str(path)]) == 2
    assert "no training text has a word" in capsys.readouterr().err
