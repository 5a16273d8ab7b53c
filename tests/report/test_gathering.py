"""Facts of a run against its files, scikit-learn and the model's own answers."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from tests import several_labels, tiny
from tests.report.cases import FLIPPED, MARKUP, NAMES, finetune, untrained, untrained_several, write_single
from textclf_jax.config.file import load_config
from textclf_jax.errors import UserError
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.files import json_text
from textclf_jax.report import mistakes
from textclf_jax.report.answers import answers_of
from textclf_jax.report.gathering import gather
from textclf_jax.report.page import report_page, write_report
from textclf_jax.report.run_files import commands_of, read_run
from textclf_jax.report.views import mistake_view
from textclf_jax.runs.checkpoint import load_model, read_metadata
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.training.evaluating import load_for_evaluation


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a run of one label a text and a linear path, and one of several labels."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_single(root / "single")
        (root / "several").mkdir()
        several_labels.write_data(root / "several", train=120, val=40, test=40)
        finetune("news")
        untrained_several("topics")
    return root


@pytest.fixture(scope="module")
def single(project):
    return facts_of(project, "news")


@pytest.fixture(scope="module")
def several(project):
    return facts_of(project, "topics")


@pytest.fixture
def changed(project, tmp_path, monkeypatch):
    """A copy of the project, which is the current folder."""
    shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return Path("experiments/finetuning")


def facts_of(root, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return gather(Path("experiments/finetuning") / name, note=lambda line: None)


@pytest.fixture(scope="module")
def loaded(project):
    """The saved models with their test rows, by the name of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        folders = {name: Path("experiments/finetuning") / name / "model.ckpt" for name in ("news", "topics")}
        return {n: load_for_evaluation(f, "test", None, Path(), lambda line: None) for n, f in folders.items()}


def answers(loaded):
    """True labels, the logits of a saved model, and its metadata."""
    saved, evaluator, data = loaded
    return data.labels, evaluator.outcome(saved.variables, data).logits, saved.metadata


def test_the_facts_are_json_and_those_of_the_run(project, single):
    content = json.loads(json_text(asdict(single)))
    summary = json.loads((project / "experiments/finetuning/news/summary.json").read_text())
    assert content["results"] == summary["results"]
    assert (single.name, single.kind, single.state, single.which) == ("news", "finetuning", "finished", "best")
    assert single.labels == tuple(NAMES)
    assert {each.split for each in single.data.splits} == {"train", "val", "test"}
    assert single.data.splits[0].path == "single/cls/train.pt"
    assert [each.what for each in single.missing] == ["where the data is from"]
    assert "jax" in single.environment


def test_figures_classes_and_confusion_are_those_of_scikit_learn(loaded, single):
    labels, logits, _ = answers(loaded["news"])
    predicted, found = logits.argmax(axis=1), {figure.name: figure for figure in single.answers.figures}
    assert found["accuracy"].value == pytest.approx(accuracy_score(labels, predicted))
    assert found["f1_macro"].value == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["accuracy"].low <= found["accuracy"].value <= found["accuracy"].high
    assert found["loss"].value == pytest.approx(single.results["test"]["loss"], abs=1e-6)
    assert single.answers.confusion == confusion_matrix(labels, predicted, labels=[0, 1, 2]).tolist()
    assert [row["label"] for row in single.answers.classes] == NAMES


def test_mistakes_are_the_rows_whose_labels_were_flipped(loaded, single):
    labels, logits, metadata = answers(loaded["news"])
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    found = single.answers.mistakes
    assert single.answers.wrong == len(wrong)
    assert set(FLIPPED) <= {each.row - 1 for each in found}
    probabilities = softmax(logits / metadata["temperature"], axis=1)
    of_truth = [probabilities[i, labels[i]] for i in wrong]
    assert [each.true_probability for each in found] == pytest.approx(sorted(of_truth)[:10])
    for each in found:
        row = each.row - 1
        assert (each.true, each.predicted) == (NAMES[labels[row]], NAMES[logits[row].argmax()])
        assert each.probability == pytest.approx(probabilities[row].max())
        # what both parts add is the log odds of the answer
        odds = logits[row].max() - logits[row, labels[row]]
        assert sum(each.from_parts.values()) == pytest.approx(odds, abs=1e-4)


def test_the_effect_of_a_word_is_what_predict_says_without_it(project, single):
    """By the tokenizer and the model as `textclf predict` has them, which read texts."""
    mistake = min(single.answers.mistakes, key=lambda each: len(each.words))
    words = [word.text.strip() for word in mistake.words]
    assert words == "".join(word.text for word in mistake.words).split()
    predictor = Predictor(project / "experiments/finetuning/news/model.ckpt")
    texts = [" ".join(words), *(" ".join(words[:i] + words[i + 1 :]) for i in range(len(words)))]
    found = np.log(np.stack([each.probabilities for each in predictor(texts)]))
    names = predictor.labels
    odds = found[:, names.index(mistake.predicted)] - found[:, names.index(mistake.true)]
    odds *= read_metadata(project / "experiments/finetuning/news/model.ckpt")["temperature"]
    np.testing.assert_allclose([word.effect for word in mistake.words], odds[0] - odds[1:], atol=2e-3)
    assert any(abs(word.effect) > 0.05 for word in mistake.words)


def test_parts_are_those_of_the_metrics(single):
    parts, metrics = single.answers.parts, single.results["test"]
    assert [(part.name, part.score) for part in parts.parts] == [
        ("encoder", metrics["encoder_accuracy"]),
        ("linear path", metrics["linear_accuracy"]),
    ]
    assert sum(part.share for part in parts.parts) == pytest.approx(1.0)
    assert sum(parts.agreement.values()) == 30
    right = parts.agreement["both"] + parts.agreement["encoder only"]
    assert right / 30 == pytest.approx(metrics["encoder_accuracy"])


def test_several_labels_have_thresholds_and_no_confusion(loaded, several):
    labels, logits, metadata = answers(loaded["topics"])
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    predicted, truth = probabilities >= np.array(metadata["thresholds"]["values"]), labels.astype(bool)
    found = {figure.name: figure.value for figure in several.answers.figures}
    assert found["f1_micro"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert several.answers.confusion is None
    assert several.answers.parts is None
    assert [row["threshold"] for row in several.answers.classes] == metadata["thresholds"]["values"]
    assert several.answers.reliability.count == truth.size
    assert several.answers.wrong == (predicted != truth).sum()
    for each in several.answers.mistakes:
        number = several.labels.index(each.true)
        assert predicted[each.row - 1, number] == (each.predicted == "given")
        assert each.threshold == metadata["thresholds"]["values"][number]
        assert truth[each.row - 1, number] != predicted[each.row - 1, number]


def test_cost_is_that_of_the_log(project, single):
    rows = read_metrics(project / "experiments/finetuning/news/metrics/train/throughput.csv")
    seconds = np.array([row["throughput/seconds"] for row in rows])
    speeds = np.array([row["throughput/tokens_per_second"] for row in rows])
    assert single.cost.minutes == pytest.approx(seconds.sum() / 60)
    assert single.cost.tokens_per_second == pytest.approx((speeds * seconds).sum() / seconds.sum())
    assert single.cost.peak_memory_mb > 50
    assert single.cost.updates == rows[-1]["update"]


def test_the_command_repeats_the_run_although_its_file_has_changed(changed):
    config = changed / "news" / "config.yaml"
    config.write_text(config.read_text().replace("learning_rate: 0.003", "learning_rate: 0.5"), encoding="utf-8")
    command = commands_of(read_run(changed / "news", []), [])[-1]
    assert command.startswith("textclf finetune news --fresh --set ")
    overrides = command.split(" --set ")[1].split()
    assert overrides == ["training.learning_rate=0.003"]
    used = load_config(changed / "news" / "config.resolved.yaml").config
    again = load_config(config, overrides).config
    assert again.training == used.training


def test_what_an_older_or_unfinished_run_lacks_is_said(changed, tmp_path):
    folder = changed / "news"
    for name in ("summary.json", "record.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "model.ckpt")
    throughput = folder / "metrics/train/throughput.csv"
    throughput.write_text("step,update,epoch,throughput/tokens_per_second\n10,10,1,50.0\n", encoding="utf-8")
    (folder / "metrics/eval/metrics.csv").write_text("step,update,epoch,eval/loss\n1,what\n", encoding="utf-8")
    facts = gather(folder)
    assert (facts.state, facts.answers, facts.cost.minutes) == ("unfinished", None, None)
    assert facts.cost.tokens_per_second == 50.0
    told = {each.what.split(":")[0]: each.why for each in facts.missing}
    assert "textclf finetune news" in told["answers of the model"]
    assert {"environment and data", "what metrics.csv of eval holds"} <= told.keys()
    page = write_report(facts, folder, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "There is no result yet." in page
    assert "not recorded" in page


def test_an_unfinished_run_does_not_touch_its_test_split(changed):
    (changed / "news/summary.json").unlink()
    facts = gather(changed / "news", note=lambda line: None)
    assert facts.answers.split == "val"
    assert facts.answers.rows == 24


def test_a_pretraining_run_is_told_by_its_summary(changed):
    results = {"val": {"loss": 2.0, "perplexity": 7.5, "accuracy": 0.25, "num_tokens": 40.0}}
    folder = untrained(tiny.pretraining(Path("single"), "wiki", architecture=tiny.architecture(num_layers=1)), results)
    facts = gather(folder)
    assert (facts.kind, facts.labels, facts.answers, facts.results) == ("pretraining", (), None, results)
    saved = load_model(folder / "model.ckpt")
    assert facts.cost.parameters == sum(leaf.size for leaf in jax.tree.leaves(saved.variables["params"]))
    assert [each.what for each in facts.missing] == ["where the data is from"]
    assert facts.commands == ("textclf pretrain wiki --fresh",)
    assert "7.5000" in report_page(facts, {})


def test_of_long_texts_the_first_is_explained(loaded, monkeypatch):
    monkeypatch.setattr(mistakes, "MOST_TOKENS", 1)
    first, *others = answers_of(loaded["news"], "test").mistakes
    assert all(word.effect is not None for word in first.words)
    assert others
    assert all(word.effect is None for each in others for word in each.words)
    assert "too long to leave its words out" in mistake_view(others[0], 2)["details"]


def test_other_rows_than_those_of_the_run_are_not_taken_for_them(changed):
    shutil.copy("single/cls/val.pt", "single/cls/test.pt")
    facts = gather(changed / "news", note=lambda line: None)
    assert facts.answers is None
    assert "has changed since the model was trained" in facts.missing[0].why
    assert f"{facts.results['test']['accuracy']:.4f}" in report_page(facts, {}), "the run's own figures are told"


def test_missing_rows_leave_the_figures_of_the_run(changed):
    Path("single/cls/test.pt").unlink()
    facts = gather(changed / "news", note=lambda line: None)
    assert facts.answers is None
    assert "there is no such file" in facts.missing[0].why
    assert facts.results["test"]["accuracy"] > 0.5


def test_a_run_that_has_not_begun_and_a_check_that_is_no_check_are_refused(changed):
    folder = changed / "other"
    folder.mkdir()
    shutil.copy(changed / "news/config.yaml", folder)
    with pytest.raises(UserError, match="has not begun"):
        gather(folder)
    Path("check.json").write_text("[1]")
    with pytest.raises(UserError, match="holds no JSON object"):
        gather(changed / "news", check=Path("check.json"))


def test_a_token_that_looks_like_markup_is_among_the_words(single):
    words = [word.text.strip() for mistake in single.answers.mistakes for word in mistake.words]
    assert words
    assert all(word == MARKUP or word.startswith("word") for word in words)
