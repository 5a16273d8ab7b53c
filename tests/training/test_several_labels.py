"""Runs whose texts have several labels each: learned, stopped and resumed, evaluated again, predicted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests import several_labels
from tests.several_labels import CLASSES
from tests.trained import check_same_run, interrupted, read_column, run
from textclf_jax.cli import main
from textclf_jax.config.file import dump_config
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.tasks.multi_label import multi_label_metrics
from textclf_jax.tasks.thresholds import Thresholds

# too short to learn it all: so thresholds differ from 0.5
SHORT = {
    "training": {"learning_rate": 1e-2, "epochs": 2, "grad_accum_steps": 2},
    "data": {"packing": True, "num_length_buckets": 1},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose data is in `data`, with a finished run that has learned little, `short`."""
    root = tmp_path_factory.mktemp("project")
    several_labels.write_data(root / "data")
    folder = root / "experiments/finetuning/short"
    folder.mkdir(parents=True)
    config = several_labels.finetuning(root / "data", "short", **SHORT)
    (folder / "config.yaml").write_text(dump_config(config))
    run(config, folder)
    return root


@pytest.fixture
def short(project, monkeypatch) -> Path:
    """The folder of that run, in its project."""
    monkeypatch.chdir(project)
    return project / "experiments/finetuning/short"


def test_the_classes_of_made_up_texts_are_learned(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    folder = project / "experiments/finetuning/learned"
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(several_labels.finetuning(project / "data", "learned")))
    assert main(["finetune", "learned"]) == 0
    assert read_column(folder, "test/f1_micro")[0] > 0.95
    assert read_column(folder, "test/subset_accuracy")[0] > 0.9
    shown = capsys.readouterr().out
    assert "thresholds are from the validation split" in shown
    assert "  f1_micro 0." in shown
    predictor = Predictor(folder / "model.ckpt")
    ids, _, labels = several_labels.rows(40, seed=9)
    found = [p.labels for p in predictor([several_labels.text_of(row) for row in ids])]
    expected = [tuple(CLASSES[i] for i in np.flatnonzero(row)) for row in labels]
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 38
    assert () in found


def test_a_stopped_run_goes_on_bitwise_and_with_its_thresholds(short, tmp_path, monkeypatch):
    config = several_labels.finetuning(short.parents[2] / "data", "short", **SHORT)
    stopped = interrupted(config, tmp_path / "stopped", monkeypatch, at_update=12)
    assert load_model(stopped / "model.ckpt").metadata["thresholds"]  # of the first epoch, beside its weights
    check_same_run(short, run(config, stopped))
    one, other = (load_model(folder / "model.ckpt").metadata for folder in (short, stopped))
    assert one["thresholds"] == other["thresholds"]
    assert set(one["thresholds"]["values"]) != {0.5}
    for name in ("summary.json", "test_report/metrics.json", "test_report/per_class.csv"):
        assert (short / name).read_bytes() == (stopped / name).read_bytes(), name


def test_evaluating_again_gives_the_figures_of_the_run(short, tmp_path, capsys):
    results = json.loads((short / "summary.json").read_text())["results"]
    for split in ("val", "test"):
        assert main(["evaluate", "short", "--split", split, "--out", str(tmp_path / split)]) == 0
        report = json.loads((tmp_path / split / "metrics.json").read_text())
        assert report["results"] == results[split]
    # the figures at 0.5 are those that were logged while it was trained; no threshold is worse on its own split
    last = {name: read_column(short, f"eval/{name}")[-1] for name in ("f1_micro", "f1_macro")}
    assert last["f1_micro"] == results["val"]["f1_micro_at_half"]
    assert results["val"]["f1_macro"] > results["val"]["f1_macro_at_half"] == last["f1_macro"]
    assert read_column(short, "test/f1_micro_at_half")[0] == results["test"]["f1_micro_at_half"]
    shown = capsys.readouterr().out
    assert "threshold" in shown
    assert all(name in shown for name in CLASSES)


def test_the_report_counts_answers_under_the_names_of_the_classes(short):
    report = short / "test_report"
    assert {path.name for path in report.iterdir()} == {"metrics.json", "per_class.csv"}
    with (report / "per_class.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    thresholds = Thresholds.of_model(load_model(short / "model.ckpt").metadata)
    assert thresholds is not None
    assert [row["label"] for row in rows] == CLASSES
    assert [float(row["threshold"]) for row in rows] == thresholds.values
    _, _, labels = several_labels.rows(60, seed=2)
    for row, truth in zip(rows, labels.T, strict=True):
        tp, fp, fn, tn = (int(row[name]) for name in ("tp", "fp", "fn", "tn"))
        assert (tp + fn, fp + tn) == (truth.sum(), (1 - truth).sum())
        assert (tp + fp, tp + fn) == (int(row["predicted"]), int(row["support"]))
        assert float(row["f1"]) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    content = json.loads((report / "metrics.json").read_text())
    assert content["results"]["class_1_f1"] == content["classes"][1]["f1"]


def test_predicting_the_test_texts_gives_its_figures(short, tmp_path):
    """Through texts instead of rows, by the thresholds of the model."""
    ids, _, labels = several_labels.rows(60, seed=2)
    predictor = Predictor(short / "model.ckpt")
    predictions = list(predictor([several_labels.text_of(row) for row in ids]))
    found = np.array([[name in p.labels for name in CLASSES] for p in predictions])
    results = json.loads((short / "summary.json").read_text())["results"]["test"]
    assert float((found != labels.astype(bool)).mean()) == pytest.approx(results["hamming_loss"])
    probabilities = np.array([p.probabilities for p in predictions])
    again = multi_label_metrics(np.log(probabilities) - np.log1p(-probabilities), labels, loss=0.0)
    assert again["f1_micro"] == pytest.approx(results["f1_micro_at_half"])
