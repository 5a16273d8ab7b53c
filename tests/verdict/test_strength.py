"""The regularisation that training texts choose is the one that scikit-learn's own search would."""

import json

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline

from tests.check.cases import make_rows
from textclf_jax.check.suspects import group_folds
from textclf_jax.errors import UserError
from textclf_jax.evaluation.words import count_units
from textclf_jax.verdict import strength
from textclf_jax.verdict.strength import FOLDS, VALUES, Strength, choose_strength


def texts_and_labels(count: int, wrong: int = 0):
    rows = make_rows(count)
    labels = np.array([row.label == "money" for row in rows], np.int64)
    labels[: 2 * wrong : 2] ^= 1
    return [row.text for row in rows], labels


def test_the_value_is_that_of_an_exhaustive_search():
    texts, labels = texts_and_labels(150, wrong=12)
    found = choose_strength(texts, labels, np.arange(150))
    order = np.random.default_rng(0).permutation(150)
    folds = np.empty(150, np.int64)
    folds[order] = group_folds(labels[order], np.arange(150)[order], FOLDS)
    steps = make_pipeline(TfidfVectorizer(analyzer=count_units, sublinear_tf=True), LogisticRegression(max_iter=1000))
    search = GridSearchCV(steps, {"logisticregression__C": list(VALUES)}, cv=PredefinedSplit(folds)).fit(texts, labels)
    sizes = np.bincount(folds)
    scores = np.array([search.cv_results_[f"split{fold}_test_score"] for fold in range(FOLDS)])
    np.testing.assert_allclose(found.accuracies, sizes @ scores / sizes.sum(), atol=1e-9)
    assert found.value == VALUES[int(np.argmax(found.accuracies))]
    assert found.rows == 150
    assert f"C = {found.value:g}, the best of 0.3, 1, 3, 10, 30 by 3-fold cross-validation" in found.sentence()


def test_what_belongs_together_is_never_asked_about_what_it_was_fitted_to():
    """Each text is there three times under labels that are chance: only memory could tell them."""
    texts = [text for text in texts_and_labels(60)[0] for _ in range(3)]
    labels = np.repeat(np.random.default_rng(3).integers(0, 2, 60), 3)
    together = choose_strength(texts, labels, np.repeat(np.arange(60), 3))
    apart = choose_strength(texts, labels, np.arange(180))
    assert max(together.accuracies) < 0.75 < 0.9 < max(apart.accuracies)


def test_large_data_and_many_classes_are_chosen_by_a_part(monkeypatch):
    texts, labels = texts_and_labels(120)
    monkeypatch.setattr(strength, "MOST_ROWS", 80)
    assert choose_strength(texts, labels, np.arange(120)).rows == 80
    monkeypatch.setattr(strength, "MOST_SCORES", 90)  # of two classes: 45 rows
    monkeypatch.setattr(strength, "FEWEST_ROWS", 30)
    assert choose_strength(texts, labels, np.arange(120)).rows == 45
    monkeypatch.setattr(strength, "FEWEST_ROWS", 60)
    assert choose_strength(texts, labels, np.arange(120)).rows == 60


@pytest.mark.parametrize(
    ("texts", "labels"), [(["a b", "c d"], [0, 1]), (["!", "?", "...", ":", "-", "#"], [0, 1] * 3)]
)
def test_too_little_chooses_the_usual_value(texts, labels):
    found = choose_strength(texts, np.array(labels), np.arange(len(texts)))
    assert (found.value, found.accuracies) == (10.0, ())
    assert "the usual value" in found.sentence()


def test_it_is_written_down(tmp_path):
    made, path = Strength(3.0, (0.5, 0.75), (1.0, 3.0), 90), tmp_path / "tfidf.json"
    made.write(path)
    assert json.loads(path.read_text())["value"] == 3.0
    assert Strength.of_json(path) == made
    path.write_text("{}")
    with pytest.raises(UserError, match=r"tfidf\.json: cannot be read"):
        Strength.of_json(path)
