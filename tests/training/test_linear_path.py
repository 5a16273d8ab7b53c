"""The linear path beside the encoder: what is fitted, and runs that have one."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from tests import tiny
from tests.trained import check_same_run, interrupted, read_column, run
from textclf_jax.config.schema import Linear
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import ngrams_of, padded_ngrams
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.interop.exporting import lost_in_export
from textclf_jax.model.linear_path import LinearPath
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.runs.pretrained import load_pretrained
from textclf_jax.training import linear_path
from textclf_jax.training.evaluating import evaluate_saved
from textclf_jax.training.fit import fit
from textclf_jax.training.linear_path import fit_linear_path

SETTINGS = Linear(enabled=True, buckets=512, max_tokens=tiny.MAX_LENGTH)
HEAD: dict[str, Any] = {"num_labels": 3, "linear": {"enabled": True, "buckets": 512}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"), val=60)


def dataset(count: int = 80, *, seed: int = 0, num_labels: int = 3, noise: float = 0.3) -> Dataset:
    """Rows of which some have a label of chance."""
    ids, mask, labels = tiny.rows(count, seed=seed, num_labels=num_labels)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < noise, rng.integers(0, num_labels, count), labels).astype(np.int32)
    return Dataset(Path("x.pt"), ids, (~mask).sum(axis=1).astype(np.int32), labels, "", ())


def log_probabilities(fitted: linear_path.Fitted, data: Dataset) -> np.ndarray:
    """Of the model's own module."""
    arrays = padded_ngrams(ngrams_of(data, slice(None), SETTINGS), len(data), 2 * tiny.MAX_LENGTH)
    variables = {LINEAR: {**fitted._asdict(), "weights": np.ones(2, np.float32)}}
    module = LinearPath(fitted.table.shape[1], SETTINGS.buckets)
    logits: Any = module.apply(variables, arrays["ngram_ids"], arrays["ngram_values"])
    return np.asarray(jax.nn.log_softmax(logits))


def by_scikit_learn(train: Dataset) -> np.ndarray:
    found = ngrams_of(train, slice(None), SETTINGS)
    counts = csr_matrix((found.counts.astype(float), found.buckets, found.starts), (len(train), SETTINGS.buckets))
    features = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    model = LogisticRegression(C=SETTINGS.inverse_regularisation, tol=1e-8, max_iter=5000).fit(features, train.labels)
    return model.predict_log_proba(features)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_path_is_scikit_learns_tfidf_and_logistic_regression(num_labels, monkeypatch):
    train = dataset(num_labels=num_labels)
    exact = by_scikit_learn(train)
    usual = log_probabilities(fit_linear_path(train, SETTINGS, num_labels, [].append), train)
    np.testing.assert_allclose(usual, exact, atol=0.1)
    monkeypatch.setattr(linear_path, "TOLERANCE", 1e-7)
    found = log_probabilities(fit_linear_path(train, SETTINGS, num_labels, [].append), train)
    np.testing.assert_allclose(found, exact, atol=0.005)


def test_every_class_has_a_column_and_one_without_rows_hardly_a_chance():
    train, notes = dataset(num_labels=3), []
    fitted = fit_linear_path(train, SETTINGS, 5, notes.append)
    assert fitted.table.shape == (512, 5)
    found = np.exp(log_probabilities(fitted, train))
    assert 0 < found[:, 3:].max() < 1 / len(train)
    assert "knows no row of class 3, 4" in notes[-1]
    np.testing.assert_allclose(found[:, :3], np.exp(by_scikit_learn(train)), atol=0.02)


def test_rows_of_one_class_alone_give_that_class():
    train = dataset()
    one = Dataset(train.path, train.input_ids, train.lengths, np.full(len(train), 1, np.int32), "", ())
    found = log_probabilities(fit_linear_path(one, SETTINGS, 3, [].append), train)
    assert (found.argmax(axis=1) == 1).all()
    assert np.isfinite(found).all()


def test_of_more_features_than_fit_the_most_frequent_stay(monkeypatch):
    train = dataset()
    buckets = ngrams_of(train, slice(None), SETTINGS).buckets
    frequency = np.bincount(buckets, minlength=512)
    monkeypatch.setattr(linear_path, "MAX_COEFFICIENTS", 3 * 20)
    fitted = fit_linear_path(train, SETTINGS, 3, [].append)
    kept = fitted.idf > 0
    assert kept.sum() == 20
    assert frequency[kept].min() >= frequency[~kept].max()
    assert not fitted.table[~kept].any()


def test_more_rows_than_fit_are_drawn_and_told(monkeypatch):
    monkeypatch.setattr(linear_path, "MAX_NGRAMS", 1000)
    notes: list[str] = []
    fitted = [fit_linear_path(dataset(), SETTINGS, 3, notes.append) for _ in range(2)]
    assert "of 80 rows, drawn at random" in notes[0]
    assert fitted[0].table.tobytes() == fitted[1].table.tobytes()


# --- runs -------------------------------------------------------------------------------------------------------


def test_the_encoder_trains_as_without_a_linear_path(data, tmp_path):
    """To the bit; of the last state, since another model may be the best."""
    sections = {"data": {"val": {"dataset_path": None}}}
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
    confidence = np.mean([p.probability for p in predictor(texts)])
    np.testing.assert_allclose(report.metrics["avg_prediction_confidence"], confidence, rtol=1e-5)


def test_an_export_tells_what_it_loses(finished):
    told = lost_in_export(load_model(finished / "model.ckpt"))
    results = json.loads((finished / "summary.json").read_text())["results"]["val"]
    assert f"{results['encoder_accuracy']:.4f}, that of both together {results['accuracy']:.4f}" in told


def test_another_run_starts_from_its_encoder_alone(finished, data, tmp_path, capsys):
    pretrained = load_pretrained(finished / "model.ckpt")
    head = {"num_labels": 3, "linear": {"enabled": True, "buckets": 300}}
    assert (
        fit(tiny.finetuning(data, classification_head=head), tmp_path / "x", pretrained=pretrained, dry_run=True) == 0
    )
    shown = capsys.readouterr().out
    assert "new: classifier/bias, classifier/kernel, pooler/bias, pooler/kernel, linear/linear_path/bias" in shown
    assert "300 buckets x 3 classes" in shown


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
