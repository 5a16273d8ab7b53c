"""The linear path beside the encoder: what is fitted, and runs that have one."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tests import several_labels, tiny
from tests.trained import check_same_run, interrupted, read_column, run
from textclf_jax.config.schema import Linear
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import keys_of_ngrams, ngrams_of, padded_ngrams, restored_keys
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.interop.exporting import lost_in_export
from textclf_jax.model.linear_path import LinearPath
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.runs.pretrained import load_pretrained
from textclf_jax.training import linear_path
from textclf_jax.training.evaluating import evaluate_saved, predict_split
from textclf_jax.training.fit import fit
from textclf_jax.training.linear_path import Fitted, fit_linear_path

SETTINGS = Linear(enabled=True, max_features=3000, max_tokens=tiny.MAX_LENGTH)
HEAD: dict[str, Any] = {"num_labels": 3, "linear": {"enabled": True, "max_features": 3000}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"), val=60)


def dataset(count: int = 80, *, seed: int = 0, num_labels: int = 3, noise: float = 0.3) -> Dataset:
    """Rows of which some have a label of chance."""
    ids, mask, labels = tiny.rows(count, seed=seed, num_labels=num_labels)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < noise, rng.integers(0, num_labels, count), labels).astype(np.int32)
    return Dataset(Path("x.pt"), ids, (~mask).sum(axis=1).astype(np.int32), labels, "", ())


def logits_of(fitted: Fitted, data: Dataset) -> np.ndarray:
    """Of the model's own module."""
    counts = ngrams_of(data, slice(None), SETTINGS, restored_keys(fitted.keys))
    arrays = padded_ngrams(counts, len(data), 2 * tiny.MAX_LENGTH)
    variables = {LINEAR: {**fitted._asdict(), "weights": np.ones(2, np.float32)}}
    module = LinearPath(fitted.table.shape[1], len(fitted.table))
    logits: Any = module.apply(variables, arrays["ngram_ids"], arrays["ngram_values"])
    return np.asarray(logits)


def log_probabilities(fitted: Fitted, data: Dataset) -> np.ndarray:
    return log_softmax(logits_of(fitted, data), axis=1)


def texts_of(data: Dataset) -> list[list[str]]:
    """The 1- and 2-grams of each row, as words."""
    rows = [[str(i) for i in ids[:length]] for ids, length in zip(data.input_ids, data.lengths, strict=True)]
    return [[*row, *(f"{one} {other}" for one, other in pairwise(row))] for row in rows]


def logits_by_scikit_learn(train: Dataset, num_labels: int) -> np.ndarray:
    """Its own tokens, counts, idf and regressions; the ratio of each n-gram by the formula in the paper."""
    assert train.labels is not None
    truth = train.labels if train.labels.ndim == 2 else np.eye(num_labels)[train.labels]
    analyzer: Any = list
    features = np.asarray(
        TfidfVectorizer(analyzer=analyzer, sublinear_tf=True).fit_transform(texts_of(train)).todense()
    )
    columns = []
    for c in range(num_labels):
        belongs = truth[:, c] == 1
        alpha = [np.array([1 + np.count_nonzero(row) for row in features[rows].T]) for rows in (belongs, ~belongs)]
        ratio = np.log((alpha[0] / np.abs(alpha[0]).sum()) / (alpha[1] / np.abs(alpha[1]).sum()))
        # the solver penalises the intercept as a weight of a feature that is 1 everywhere
        inputs = np.hstack([features * ratio, np.ones((len(features), 1))])
        model = LogisticRegression(C=SETTINGS.inverse_regularisation, tol=1e-9, max_iter=5000, fit_intercept=False)
        columns.append(model.fit(inputs, belongs).decision_function(inputs))
    return np.stack(columns, axis=1)


def by_scikit_learn(train: Dataset, num_labels: int) -> np.ndarray:
    """Log probabilities of one label a text."""
    logits = logits_by_scikit_learn(train, num_labels)
    return log_softmax(np.stack([-logits[:, 1], logits[:, 1]], axis=1) / 2 if num_labels == 2 else logits, axis=1)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_path_is_scikit_learns_tfidf_and_its_regressions_against_the_rest(num_labels):
    train = dataset(num_labels=num_labels)
    found = log_probabilities(fit_linear_path(train, SETTINGS, num_labels, [].append), train)
    np.testing.assert_allclose(found, by_scikit_learn(train, num_labels), atol=0.02)


def test_every_class_has_a_column_and_one_without_rows_hardly_a_chance():
    train, notes = dataset(num_labels=3), []
    fitted = fit_linear_path(train, SETTINGS, 5, notes.append)
    assert fitted.table.shape == (3000, 5)
    found = np.exp(log_probabilities(fitted, train))
    assert 0 < found[:, 3:].max() < 1 / len(train)
    assert "knows no row of class 3, 4" in notes[-1]
    np.testing.assert_allclose(found[:, :3], np.exp(by_scikit_learn(train, 3)), atol=0.02)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_several_labels_a_text_have_a_regression_each(num_labels):
    """One that all texts have, or none, is as likely as half a text more would make it."""
    train, rng = dataset(num_labels=num_labels), np.random.default_rng(0)
    assert train.labels is not None
    truth = (np.eye(num_labels + 2)[train.labels] + (rng.random((len(train), num_labels + 2)) < 0.2) > 0).astype(
        np.uint8
    )
    truth[:, -2:] = [0, 1]
    several, notes = replace(train, labels=truth), []
    found = logits_of(fit_linear_path(several, SETTINGS, num_labels + 2, notes.append), train)
    np.testing.assert_allclose(found[:, :-2], logits_by_scikit_learn(several, num_labels), atol=0.02)
    np.testing.assert_allclose(found[:, -2:], np.log(np.array([[1 / 161, 161.0]] * 80)), rtol=1e-6)
    assert f"no row of class {num_labels}:" in notes[-1]


@pytest.mark.parametrize("num_labels", [2, 3])
def test_rows_of_one_class_alone_give_that_class(num_labels):
    train = dataset()
    one = replace(train, labels=np.full(len(train), 1, np.int32))
    found = log_probabilities(fit_linear_path(one, SETTINGS, num_labels, [].append), train)
    assert (found.argmax(axis=1) == 1).all()
    assert np.isfinite(found).all()


def test_of_more_ngrams_than_there_is_room_for_the_most_frequent_are_read():
    train = dataset()
    counts = Counter(ngram for text in texts_of(train) for ngram in text)
    settings = SETTINGS.model_copy(update={"max_features": 40})
    assert sorted(counts.values())[-41:-39] == [14, 14], "a tie, which the keys decide"
    fitted = fit_linear_path(train, settings, 3, [].append)
    keys = restored_keys(fitted.keys)
    assert (np.diff(keys.astype(object)) > 0).all()
    tokens, sizes = train.first_tokens(slice(None), tiny.MAX_LENGTH)
    _, every = keys_of_ngrams(tokens, sizes, max_n=2)
    frequency = Counter(every.tolist())
    assert keys.tolist() == sorted(sorted(frequency, key=lambda key: (-frequency[key], key))[:40])
    assert sorted(frequency.values()) == sorted(counts.values())


def test_room_that_is_not_needed_changes_nothing():
    train, notes = dataset(), []
    number = len({ngram for text in texts_of(train) for ngram in text})
    exact, roomy = (
        fit_linear_path(train, SETTINGS.model_copy(update={"max_features": room}), 3, notes.append)
        for room in (number, number + 7)
    )
    assert f"{number:,} n-grams" in notes[0]
    for name, array in exact._asdict().items():
        np.testing.assert_array_equal(array, getattr(roomy, name)[: len(array)])
    assert not roomy.idf[number:].any()
    assert not roomy.table[number:].any()
    assert exact.idf.min() >= 1


def test_more_rows_than_fit_are_drawn_and_told(monkeypatch):
    monkeypatch.setattr(linear_path, "MAX_NGRAMS", 1000)
    notes: list[str] = []
    fitted = [fit_linear_path(dataset(), SETTINGS, 3, notes.append) for _ in range(2)]
    assert "of 80 rows, drawn at random" in notes[0]
    assert fitted[0].table.tobytes() == fitted[1].table.tobytes()


def test_rows_counted_some_at_a_time_give_the_same(monkeypatch):
    whole = fit_linear_path(dataset(), SETTINGS, 3, [].append)
    monkeypatch.setattr(linear_path, "ROWS_AT_ONCE", 7)
    parts = fit_linear_path(dataset(), SETTINGS, 3, [].append)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(whole, parts, strict=True))


def test_an_unfinished_fit_is_told(monkeypatch):
    monkeypatch.setattr(linear_path, "MAX_ITERATIONS", 1)
    notes: list[str] = []
    fit_linear_path(dataset(), SETTINGS, 3, notes.append)
    assert "not fitted to the end after 1 iterations" in notes[-1]


# --- runs -------------------------------------------------------------------------------------------------------


def test_the_encoder_trains_as_without_a_linear_path(data, tmp_path):
    """To the bit; of the last state, since another model may be the best."""
    sections: dict[str, Any] = {"data": {"val": {"dataset_path": None}}}
    plain = run(tiny.finetuning(data, **sections), tmp_path / "plain")
    beside = run(tiny.finetuning(data, classification_head=HEAD, **sections), tmp_path / "beside")
    ours, theirs = (load_model(folder / "model.ckpt").variables for folder in (beside, plain))
    jax.tree.map(np.testing.assert_array_equal, ours["params"], theirs["params"])
    csv = "metrics/train/metrics.csv"
    assert (plain / csv).read_bytes() == (beside / csv).read_bytes()
    assert ours[LINEAR][LINEAR_PATH]["weights"].tolist() == [0.5, 0.5]


def test_an_interrupted_run_goes_on_bitwise(data, tmp_path, monkeypatch):
    config = tiny.finetuning(data, classification_head=HEAD, training={"epochs": 3})
    whole = run(config, tmp_path / "whole")
    stopped = interrupted(config, tmp_path / "stopped", monkeypatch, at_update=10)
    with monkeypatch.context() as patch:
        patch.setattr(linear_path, "fit_linear_path", None)  # it is in the checkpoint
        check_same_run(whole, run(config, stopped))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    config = tiny.finetuning(data, classification_head=HEAD, training={"use_amp": False})  # as predictions compute
    return run(config, tmp_path_factory.mktemp("run"))


def test_a_run_tells_what_each_part_gives(finished):
    results = json.loads((finished / "summary.json").read_text())["results"]
    for split in ("val", "test"):
        assert results[split]["linear_accuracy"] > 0.9
        assert results[split]["loss"] < min(results[split]["encoder_loss"], results[split]["linear_loss"]) + 0.05
    assert read_column(finished, "eval/linear_weight")[-1] > 0.5
    assert results["test"]["linear_weight"] == results["val"]["linear_weight"]
    assert list(read_metrics(finished / "metrics/eval/metrics.csv")[0])[:4] == ["step", "update", "epoch", "eval/loss"]


def test_evaluating_again_gives_the_figures_of_the_run(finished):
    results = json.loads((finished / "summary.json").read_text())["results"]
    for split in ("val", "test"):
        report = evaluate_saved(finished / "model.ckpt", split, note=[].append)
        assert report.metrics == results[split]


def test_what_the_linear_path_alone_predicts_has_its_figures(finished):
    for split in ("test", "train"):
        metrics = evaluate_saved(finished / "model.ckpt", split, note=[].append).metrics
        predicted, by_linear_path, rows = predict_split(finished / "model.ckpt", split, note=[].append)
        assert np.mean(by_linear_path == rows.labels) == pytest.approx(metrics["linear_accuracy"])
        assert np.mean(predicted == rows.labels) == pytest.approx(metrics["accuracy"])
    # of the last split, so that one part cannot be taken for another
    assert metrics["encoder_accuracy"] != metrics["linear_accuracy"]


def test_texts_are_classified_as_their_rows_are(finished, data, tmp_path):
    """The mixture, by an own computation from the texts."""
    texts = [f"word{i} word{(7 * i) % 55} word{(i + 1) % 55}" for i in range(20)]
    predictor = Predictor(finished / "model.ckpt")
    labels = [predictor.labels.index(p.label) for p in predictor(texts)]
    ids = np.zeros((20, tiny.MAX_LENGTH), np.int64)
    for i, text in enumerate(texts):
        ids[i, :5] = [2, *(int(word.removeprefix("word")) + len(tiny.SPECIALS) for word in text.split()), 3]
    write_tensors(tmp_path / "rows.pt", ids, ids == 0, np.array(labels))
    report = evaluate_saved(finished / "model.ckpt", "test", file=tmp_path / "rows.pt", note=[].append)
    assert report.metrics["accuracy"] == 1.0
    # the evaluation's figure is that of the logits as they are, predictions are those of logits by the temperature
    temperature = load_model(finished / "model.ckpt").metadata["temperature"]
    logits = temperature * np.log([p.probabilities for p in predictor(texts)])
    confidence = np.exp(log_softmax(logits, axis=1)).max(axis=1).mean()
    np.testing.assert_allclose(report.metrics["avg_prediction_confidence"], confidence, rtol=1e-5)


def test_an_export_tells_what_it_loses(finished):
    told, *_ = lost_in_export(load_model(finished / "model.ckpt"))
    results = json.loads((finished / "summary.json").read_text())["results"]["val"]
    assert f"accuracy is {results['encoder_accuracy']:.4f}, that of both together {results['accuracy']:.4f}" in told


def test_several_labels_a_text_are_learned_by_both_parts_together(tmp_path, monkeypatch, capsys):
    """To the same bits where the run is stopped; thresholds and export are of the mixture."""
    data = several_labels.write_data(tmp_path / "data")
    head = {"linear": {"enabled": True, "max_features": 1500}}
    config = several_labels.finetuning(data, classification_head=head, training={"epochs": 3})
    whole = run(config, tmp_path / "whole")
    shown = capsys.readouterr().out
    results = json.loads((whole / "summary.json").read_text())["results"]
    for figures in results.values():
        assert figures["f1_micro_at_half"] > 0.95
        assert figures["loss"] < min(figures["encoder_loss"], figures["linear_loss"]) + 0.02
    assert 0.8 < results["test"]["linear_f1_micro"] <= 1
    assert "what each part gives (f1_micro at the threshold 0.5)" in shown
    saved = load_model(whole / "model.ckpt")
    parts = saved.metadata["parts"]
    assert parts == {
        "f1_micro": results["val"]["f1_micro_at_half"],
        **{name: results["val"][name] for name in ("encoder_f1_micro", "linear_f1_micro")},
    }
    assert f"f1_micro is {parts['encoder_f1_micro']:.4f}" in lost_in_export(saved)[0]
    assert evaluate_saved(whole / "model.ckpt", "test", note=[].append).metrics == results["test"]
    predictor, (ids, _, labels) = Predictor(whole / "model.ckpt"), several_labels.rows(60, seed=2)
    found = list(predictor([several_labels.text_of(row) for row in ids]))
    wrong = np.array([[name in p.labels for name in several_labels.CLASSES] for p in found]) != labels.astype(bool)
    assert wrong.mean() == pytest.approx(results["test"]["hamming_loss"])
    check_same_run(whole, run(config, interrupted(config, tmp_path / "stopped", monkeypatch, at_update=25)))


def test_another_run_starts_from_its_encoder_alone(finished, data, tmp_path, capsys):
    pretrained = load_pretrained(finished / "model.ckpt")
    head = {"num_labels": 3, "linear": {"enabled": True, "max_features": 300}}
    assert (
        fit(tiny.finetuning(data, classification_head=head), tmp_path / "x", pretrained=pretrained, dry_run=True) == 0
    )
    shown = capsys.readouterr().out
    assert "new: classifier/bias, classifier/kernel, pooler/bias, pooler/kernel, linear/linear_path/bias" in shown
    assert "the 300 most frequent x 3 classes" in shown


def test_the_linear_path_reads_what_the_encoder_does_not(data, tmp_path):
    """The class of a text is told by its end, beyond the encoder's 8 tokens; rows are as wide as the file has them."""
    rng, files = np.random.default_rng(0), {}
    for name, count in (("train", 120), ("val", 60), ("test", 60)):
        labels = rng.integers(0, 3, count)
        ids = rng.integers(10, 30, (count, 20))
        ids[:, 0], ids[:, 15], ids[:, 19] = 2, 40 + labels, 3
        files[name] = {"dataset_path": str(tmp_path / f"{name}.pt")}
        write_tensors(tmp_path / f"{name}.pt", ids, np.zeros(ids.shape, bool), labels)
    architecture = tiny.architecture(max_sequence_length=8)
    config = tiny.finetuning(data, classification_head=HEAD, data=files, architecture=architecture)
    folder = run(config, tmp_path / "run")
    results = json.loads((folder / "summary.json").read_text())["results"]["test"]
    assert min(results["accuracy"], results["linear_accuracy"]) > 0.9
    assert results["encoder_accuracy"] < 0.7
    saved = load_model(folder / "model.ckpt").metadata
    assert saved["config"]["classification_head"]["linear"]["max_tokens"] == 20
    text = " ".join(["word8"] * 14 + ["word36"])
    predictor = Predictor(folder / "model.ckpt")
    found = list(predictor([text, text + " word9" * 20, "word8"]))
    assert [p.label for p in found[:2]] == ["1", "1"]
    assert [(p.is_cut, p.is_cut_for_one) for p in found] == [(False, True), (True, False), (False, False)]
