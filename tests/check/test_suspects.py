"""Labels that a simple model contradicts."""

import csv

import numpy as np
import pytest

from tests.check.cases import make_rows
from textclf_jax.check.suspects import confident_contradictions, find_suspects, group_folds, write_suspects


@pytest.fixture(scope="module")
def flipped():
    """900 rows of which 5% have a wrong label; which, and the suspects."""
    topics = ("sport", "money", "space")
    rows = make_rows(900, topics=topics)
    rng = np.random.default_rng(1)
    wrong = {
        int(i): str(rng.choice([t for t in topics if t != rows[i].label])) for i in rng.choice(900, 45, replace=False)
    }
    right = {i: rows[i].label for i in wrong}
    rows = [row._replace(label=wrong.get(i, row.label)) for i, row in enumerate(rows)]
    return rows, right, find_suspects(rows, list(range(900)))


def test_flipped_labels_are_among_the_first(flipped):
    _, right, suspects = flipped
    assert len(suspects.rows) <= 90
    assert len(set(suspects.rows) & right.keys()) >= 40
    first = set(suspects.rows[:45])
    assert len(first & right.keys()) >= 35
    mended = {i: label for i, label in zip(suspects.rows, suspects.suggested, strict=True) if i in right}
    assert sum(right[i] == label for i, label in mended.items()) >= 0.9 * len(mended)
    assert suspects.knows_enough
    assert suspects.majority == pytest.approx(1 / 3, abs=0.03)


def test_they_are_written_to_go_through(flipped, tmp_path):
    rows, _, suspects = flipped
    path = tmp_path / "suspects.csv"
    write_suspects(path, rows, suspects)
    with path.open(newline="") as file:
        written = list(csv.DictReader(file))
    first = rows[suspects.rows[0]]
    assert (written[0]["line"], written[0]["text"], written[0]["label"]) == (str(first.line), first.text, first.label)
    assert written[0]["suggested_label"] == suspects.suggested[0] != first.label
    margins = [float(row["probability"]) - float(row["probability_of_label"]) for row in written]
    assert margins == pytest.approx(sorted(margins, reverse=True), abs=2e-4)
    write_suspects(path, rows, None)
    assert path.read_text().count("\n") == 1


def test_confident_contradictions_by_hand():
    """The thresholds are 0.7 for class 0 (mean of 0.9 and 0.5) and 0.6 for class 1."""
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.7, 0.3]])
    labels = np.array([0, 0, 1, 1])
    counted_as, margin = confident_contradictions(probabilities, labels)
    assert counted_as.tolist() == [-1, -1, -1, 0]
    np.testing.assert_allclose(margin, [-0.8, 0.0, -0.8, 0.4])


def test_groups_stay_in_one_fold():
    groups = np.array([0, 1, 2, 3, 0, 5, 6, 7, 8, 5])
    folds = group_folds(np.zeros(10, int), groups)
    assert folds[0] == folds[4]
    assert folds[5] == folds[9]
    assert np.bincount(folds[[0, 1, 2, 3, 5, 6, 7, 8]]).tolist() == [2, 2, 2, 1, 1]


def test_labels_that_words_do_not_tell_and_too_few_rows():
    rows = make_rows(200)
    rng = np.random.default_rng(0)
    mixed = [
        row._replace(label=str(label))
        for row, label in zip(rows, rng.permutation([r.label for r in rows]), strict=True)
    ]
    assert not find_suspects(mixed, list(range(200))).knows_enough
    assert find_suspects(rows[:6], list(range(6))) is None
    assert find_suspects([row._replace(text="...") for row in rows], list(range(200))) is None
