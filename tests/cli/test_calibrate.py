"""`textclf calibrate`: what a run keeps of its probabilities, what the command changes, what predict does with it."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from tests import tiny
from tests.trained import run
from textclf_jax.cli import main
from textclf_jax.config.file import dump_config
from textclf_jax.evaluation.confidence import limit_errors, stored_temperature
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.runs.checkpoint import load_model, read_metadata
from textclf_jax.runs.model_notes import replace_metadata
from textclf_jax.training.evaluating import load_for_evaluation
from textclf_jax.verdict.outcome import abstain

NAMES = ["sport", "film", "news"]
MODEL = Path("experiments/finetuning/news/model.ckpt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a finished run `news`, which has 60 validation rows."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tiny.write_data(Path("data"), val=60)
        Path("data/labels.txt").write_text("\n".join(NAMES) + "\n")
        changes = {"data": {"num_length_buckets": 1}, "architecture": tiny.architecture(num_layers=1)}
        config = tiny.finetuning(Path("data"), "news", **changes)
        MODEL.parent.mkdir(parents=True)
        (MODEL.parent / "config.yaml").write_text(dump_config(config))
        run(config, MODEL.parent)
    return root


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    shutil.copytree(trained, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")


def validation():
    """Logits and labels of the validation split."""
    saved, evaluator, data = load_for_evaluation(MODEL, "val", None, Path.cwd(), print)
    return evaluator.outcome(saved.variables, data)[1:3]


def predicted(*flags):
    """The rows that `textclf predict` writes for a few texts."""
    text = "word1 word2 word3"
    assert main(["predict", "news", "--text", text, "--text", "word5", "--out", "out.csv", *flags]) == 0
    return list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))


def test_a_run_keeps_the_temperature_of_its_validation_split(project):
    logits, labels = validation()
    temperature = read_metadata(MODEL)["temperature"]
    assert temperature == pytest.approx(stored_temperature(logits, labels)["temperature"], rel=1e-4)
    assert temperature != 1.0
    report = json.loads((MODEL.parent / "test_report/metrics.json").read_text())
    assert report["confidence"]["temperature"] == temperature
    assert report["confidence"]["max_error"] is None
    assert report["confidence"]["answered"] == 1.0
    assert 0 <= report["confidence"]["error"] <= 1


def test_probabilities_are_those_of_the_divided_logits(project):
    before = predicted()
    metadata = read_metadata(MODEL)
    replace_metadata(MODEL, metadata | {"temperature": 2 * metadata["temperature"]})
    load_model(MODEL)  # whose checksums hold
    after = predicted()
    for old, new in zip(before, after, strict=True):
        assert old["label"] == new["label"]
        p = np.array([float(old[f"p({name})"]) for name in NAMES])
        expected = softmax(np.log(p) / 2)
        np.testing.assert_allclose([float(new[f"p({name})"]) for name in NAMES], expected, atol=2e-6)


def test_a_limit_takes_labels_away_and_can_be_lifted(project, capsys):
    logits, labels = validation()
    assert main(["calibrate", "news", "--max-error", "0.3"]) == 0
    shown = capsys.readouterr().out
    p = softmax(logits / stored_temperature(logits, labels)["temperature"], axis=1)
    limit = limit_errors(p.max(axis=1), p.argmax(axis=1) == labels, 0.3)
    kept = read_metadata(MODEL)["abstention"]
    assert kept["threshold"] == pytest.approx(limit.threshold, rel=1e-4)
    assert f"{1 - limit.answered:.1%} of the rows get no label (don't know), {limit.wrong:.1%} a wrong one" in shown
    # what predict says of each text follows from its probability alone
    metadata = read_metadata(MODEL)
    for threshold, labelled in ((0.0, [True, True]), (0.9999, [False, False])):
        metadata["abstention"]["threshold"] = threshold
        replace_metadata(MODEL, metadata)
        rows = predicted()
        assert [bool(row["label"]) for row in rows] == labelled
    assert "2 of 2 texts have no label" in capsys.readouterr().err
    assert [p.labels for p in Predictor(MODEL)(["word1"])] == [()]
    assert main(["predict", "news", "--text", "word1", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] is None
    assert main(["predict", "news", "--text", "word1"]) == 0
    assert "(don't know)" in capsys.readouterr().out
    assert main(["calibrate", "news"]) == 0
    assert "abstention" not in read_metadata(MODEL)
    assert all(row["label"] in NAMES for row in predicted())


def test_textclf_run_writes_the_same_limit_and_tells_what_it_costs_on_both_splits(project):
    told = abstain("news", 0.3)
    kept = read_metadata(MODEL)["abstention"]
    assert (kept["max_error"], told["max_error"]) == (0.3, 0.3)
    assert main(["calibrate", "news", "--max-error", "0.3"]) == 0
    assert read_metadata(MODEL)["abstention"] == kept
    temperature = read_metadata(MODEL)["temperature"]
    for split in ("val", "test"):
        saved, evaluator, data = load_for_evaluation(MODEL, split, None, Path.cwd(), print)
        logits, labels = evaluator.outcome(saved.variables, data)[1:3]
        p = softmax(logits / temperature, axis=1)
        answered = p.max(axis=1) > kept["threshold"]
        assert told[split]["answered"] == pytest.approx(answered.mean())
        assert told[split]["wrong"] == pytest.approx((answered & (p.argmax(axis=1) != labels)).mean())
    refused = abstain("news", 0.001)
    assert "could not be chosen: --max-error 0.001 cannot be promised by 60 rows" in refused["sentence"]
    assert read_metadata(MODEL)["abstention"] == kept


def test_the_evaluation_says_what_the_limit_costs(project, capsys):
    assert main(["calibrate", "news", "--max-error", "0.4"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "news", "--split", "val", "--out", "report"]) == 0
    calibration = json.loads(Path("report/metrics.json").read_text())["confidence"]
    kept = read_metadata(MODEL)["abstention"]
    assert calibration["max_error"] == 0.4
    assert calibration["answered"] == pytest.approx(kept["answered"])
    assert calibration["wrong"] == pytest.approx(kept["wrong"])
    assert kept["wrong"] <= 0.4
    assert "the limit is 40.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-error", "1"], "--max-error 1 must be above 0 and below 1"),
        (["--max-error", "nan"], "--max-error nan must be above 0 and below 1"),
        (["--max-error", "0.01"], "--max-error 0.01 cannot be promised by 60 rows: 99 or more are needed"),
        (["--max-error", "0.01"], "Give more rows, or --max-error 0.017 or more."),
        (["--data", "gone.pt"], "--data gone.pt: there is no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(project, capsys, arguments, message):
    before = (MODEL / "metadata.json").read_bytes()
    assert main(["calibrate", "news", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert (MODEL / "metadata.json").read_bytes() == before
