"""`textclf_jax.Classifier`: what it takes, what it gives, in threads and pickled."""

import pickle
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from textclf_jax import Classifier, UserError
from textclf_jax.errors import ArgumentError
from textclf_jax.evaluation import text_logits
from textclf_jax.evaluation.explaining import log_odds
from textclf_jax.evaluation.prediction import buckets_up_to
from textclf_jax.evaluation.text_logits import CPU_ROWS

LABELS = ("fee", "fi", "fo")
TEXTS = ["word1 word2", "word3", "", " ".join(f"word{i}" for i in range(20)), "word4 " * 60]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("run"), LABELS)


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Classifier:
    """A classifier that gives a text any number of labels."""
    head = {"num_labels": 3, "multi_label": True}
    return Classifier.load(tiny.untrained(tmp_path_factory.mktemp("run"), LABELS, classification_head=head))


@pytest.fixture(scope="module")
def classifier(model) -> Classifier:
    return Classifier.load(model)


def test_it_is_loaded_from_a_run_or_its_model(model, classifier):
    for path in (str(model), model.parent, f"{model.parent}/"):
        np.testing.assert_array_equal(Classifier.load(path).predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert (classifier.labels, classifier.multi_label, classifier.max_length) == (LABELS, False, tiny.MAX_LENGTH)


@pytest.mark.parametrize("path", ["gone", "gone/model.ckpt"])
def test_what_is_not_there_is_refused(tmp_path, path):
    with pytest.raises(UserError, match=r"gone/model.ckpt: there is no saved model. .*gone does not exist"):
        Classifier.load(tmp_path / path)


def test_labels_are_those_of_the_highest_probability(classifier):
    probabilities = classifier.predict_proba(TEXTS)
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert classifier.predict(TEXTS) == [LABELS[i] for i in probabilities.argmax(axis=1)]
    marks = [(p.is_empty, p.is_cut) for p in classifier.predictions(TEXTS)]
    assert marks == [(False, False), (False, False), (True, False), (False, False), (False, True)]


def test_of_no_texts_there_is_nothing(classifier):
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)


def test_several_labels_are_those_of_half_or_more(several):
    probabilities = several.predict_proba(TEXTS)
    assert several.predict(TEXTS) == [tuple(np.array(LABELS)[row >= 0.5]) for row in probabilities]
    assert 0 < (probabilities >= 0.5).sum() < probabilities.size


def test_where_the_model_does_not_know_the_label_is_none(tmp_path, model):
    from textclf_jax.runs.checkpoint import load_model, save_model
    from textclf_jax.tasks.confidence import Abstention

    saved = load_model(model)
    threshold = float(np.sort(Classifier.load(model).predict_proba(TEXTS).max(axis=1))[2])
    limit = Abstention(0.1, threshold, 5, 0.4, 0.0).stored()
    keep = tmp_path / "run"
    keep.mkdir()
    path = save_model(
        keep,
        saved.variables,
        saved.metadata | limit,
        lambda to: shutil.copytree(saved.vocab_dir, to, dirs_exist_ok=True),
    )
    labels = Classifier.load(path).predict(TEXTS)
    assert labels.count(None) == 3
    assert len(set(labels) & set(LABELS)) > 0


def test_columns_and_arrays_are_texts(classifier):
    pandas = pytest.importorskip("pandas")
    expected = classifier.predict_proba(TEXTS)
    series = pandas.Series(TEXTS, index=range(7, 12))
    for texts in (
        *(tuple(TEXTS), iter(TEXTS), np.array(TEXTS), np.array(TEXTS, object), np.array(TEXTS)[:, None]),
        *(series, series.astype("string"), series.to_frame()),
    ):
        np.testing.assert_array_equal(classifier.predict_proba(texts), expected)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ("word1", r"a single text; put it into a list"),
        (b"word1", r"a single text"),
        ({"a": "word1"}, "a dict, which has no rows"),
        ({"word1"}, "a set, which has no rows"),
        (["word1", None], r"texts\[1\] is None of type NoneType, not a text"),
        (["word1", "word2", float("nan")], r"texts\[2\] is nan of type float"),
        ([b"word1"], r"texts\[0\] is b'word1' of type bytes"),
        (np.array([["word1", "word2"]]), r"the shape \(1, 2\): it must be one column"),
        (np.array("word1"), r"the shape \(\)"),
        (7, "texts is 7; give a list"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(classifier, texts, told):
    with pytest.raises(ArgumentError, match=told):
        classifier.predict(texts)


def test_missing_values_of_pandas_are_no_texts(classifier):
    pandas = pytest.importorskip("pandas")
    for series in (pandas.Series(["word1", None]), pandas.Series(["word1", None], dtype="string")):
        with pytest.raises(ArgumentError, match=r"texts\[1\] is .* not a text"):
            classifier.predict(series)
    with pytest.raises(ArgumentError, match=r"the shape \(1, 2\)"):
        classifier.predict(pandas.DataFrame({"a": ["word1"], "b": ["word2"]}))


def test_half_a_character_is_no_crash(classifier):
    assert len(classifier.predict(["word1 \ud83d"])) == 1


# --- threads and programs ---------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch) -> Counter:
    """Counts how often each shape is compiled; a moment passes meanwhile, in which other threads come."""
    counts: Counter = Counter()
    original = text_logits.prediction_program

    def program(task, module, empty, variables, **options):
        counts[empty.shape] += 1
        time.sleep(0.05)
        return original(task, module, empty, variables, **options)

    monkeypatch.setattr(text_logits, "prediction_program", program)
    return counts


def test_40_cold_threads_compile_each_shape_once(model, classifier, compiled):
    expected = classifier.predict_proba(TEXTS), classifier.predict_proba(TEXTS[:1])
    cold, start = Classifier.load(model), threading.Barrier(40)

    def ask(number: int) -> np.ndarray:
        start.wait()
        return cold.predict_proba(TEXTS if number % 2 else TEXTS[:1])

    compiled.clear()
    with ThreadPoolExecutor(40) as threads:
        found = list(threads.map(ask, range(40)))
    assert compiled == {(CPU_ROWS, 16): 1, (CPU_ROWS, 24): 1}
    for number, probabilities in enumerate(found):
        np.testing.assert_array_equal(probabilities, expected[1 - number % 2])


def test_after_warming_up_nothing_is_compiled(model, compiled):
    cold = Classifier.load(model)
    cold.warm_up()
    assert compiled == {(CPU_ROWS, 16): 1, (CPU_ROWS, 24): 1}
    for count in range(30):
        cold.predict(["word1 " * count])
    assert compiled.total() == 2


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(5, (5,)), (16, (16,)), (17, (16, 17)), (24, (16, 24)), (128, (16, 24, 32, 48, 64, 96, 128))],
)
def test_texts_are_padded_to_few_lengths(longest, expected):
    assert buckets_up_to(longest) == expected
    assert len(buckets_up_to(16_384)) == 21


# --- explaining -------------------------------------------------------------------------------------------------


def odds(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities) - np.log1p(-probabilities)


@pytest.mark.parametrize("kind", ["classifier", "several"])
@pytest.mark.parametrize("label", [None, "fi"])
def test_an_effect_is_what_the_log_odds_lose_without_the_word(request, kind, label):
    asked = request.getfixturevalue(kind)
    words = ["word1", "word7", "word1", "word30"]
    found = asked.explain(" ".join(words), label)
    assert [word.text for word in found.words] == words
    without = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    probabilities = asked.predict_proba([" ".join(words), *without])
    number = probabilities[0].argmax() if label is None else LABELS.index(label)
    assert found.label == LABELS[number]
    log_odds = odds(probabilities[:, number])
    assert found.log_odds == pytest.approx(log_odds[0], abs=1e-6)
    np.testing.assert_allclose([word.effect for word in found.words], log_odds[0] - log_odds[1:], atol=1e-6)


def test_log_odds_are_those_of_the_softmax():
    logits = np.array([[1.0, 2.0, -1.0], [800.0, 0.0, 1.0]])
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert log_odds(logits, 1, several=False)[0] == pytest.approx(np.log(chances[1] / (1 - chances[1])))
    assert np.isfinite(log_odds(logits, 1, several=False)).all()
    assert log_odds(logits, 1, several=True).tolist() == [2.0, 0.0]


def test_a_long_text_is_explained_as_it_is_read(classifier):
    text = " ".join(f"word{i}" for i in range(50))
    found = classifier.explain(text)
    assert len(found.words) == tiny.MAX_LENGTH - 2
    assert found.log_odds == pytest.approx(odds(classifier.predict_proba([text]).max()), abs=1e-6)


def test_a_text_without_a_word_has_no_effects(classifier):
    assert classifier.explain("").words == ()


@pytest.mark.parametrize(
    ("arguments", "told"), [(("word1", "fum"), "no label 'fum'; there are fee, fi, fo"), ((["word1"],), "one text")]
)
def test_what_cannot_be_explained_is_refused(classifier, arguments, told):
    with pytest.raises(ArgumentError, match=told):
        classifier.explain(*arguments)


# --- kept -------------------------------------------------------------------------------------------------------


def test_pickled_it_carries_the_whole_model(tmp_path, model, classifier):
    folder = tmp_path / "run"
    shutil.copytree(model.parent, folder)
    whole = pickle.dumps(Classifier.load(folder))
    shutil.rmtree(folder)
    restored = pickle.loads(whole)
    assert restored.labels == LABELS
    np.testing.assert_array_equal(restored.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert pickle.loads(pickle.dumps(restored)).predict(TEXTS) == classifier.predict(TEXTS)


def test_a_saved_one_is_loaded_again(tmp_path, classifier):
    path = classifier.save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "model.ckpt"
    np.testing.assert_array_equal(Classifier.load(path.parent).predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    with pytest.raises(ArgumentError, match="is there already"):
        classifier.save(path.parent)
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="cannot be written"):
        classifier.save(tmp_path / "file" / "folder")
