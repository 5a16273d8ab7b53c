"""A saved model evaluated again, and what a run leaves of its own evaluation."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests import tiny
from tests.trained import read_column, run
from textclf_jax.cli import main
from textclf_jax.config.file import dump_config
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.torch_files import read_tensors, write_tensors
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.metrics_files import read_metrics
from textclf_jax.training.report import REPORT_FOLDER, EvaluationReport

LABELS = ["sport, football", '"quoted"', "नमस्ते"]
REPORT = ("metrics.json", "per_class.csv", "confusion_matrix.csv", "confusion_matrix.png")
KINDS = {"pretraining": tiny.pretraining, "finetuning": tiny.finetuning}


def train(kind, name, **changes):
    """A run of the current folder by its name, whose data is in `data`."""
    changes = {"data": {"num_length_buckets": 1}, "architecture": tiny.architecture(num_layers=1), **changes}
    config = KINDS[kind](tiny.Path("data"), name, **changes)
    folder = tiny.Path("experiments") / kind / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    return run(config, folder)


def evaluated(name, *options):
    """The metrics that `textclf evaluate` writes."""
    assert main(["evaluate", name, *options, "--out", "report"]) == 0
    return json.loads((tiny.Path("report") / "metrics.json").read_text())["results"]


def results_of(kind, name):
    """The metrics that a run has written, by split."""
    return json.loads((tiny.Path("experiments") / kind / name / "summary.json").read_text())["results"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a finished finetuning run, `news`."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tiny.write_data(root / "data")
        (root / "data" / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
        train("finetuning", "news")
    return root


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of it, which is the current folder; data is found there as it was."""
    shutil.copytree(trained, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_data_in_several_files_gives_the_figures_of_one(project, capsys):
    tensors = read_tensors(project / "data/cls/test.pt")
    for number, rows in enumerate((slice(0, 5), slice(5, None))):
        write_tensors(project / f"data/cls/part-{number}.pt", *(tensor[rows] for tensor in tensors))
    expected = evaluated("news", "--data", "data/cls/test.pt")
    assert evaluated("news", "--data", "data/cls/part-*.pt") == expected
    assert main(["evaluate", "news", "--data", "data/cls/prt-*.pt"]) == 2
    assert "--data data/cls/prt-*.pt: there is no such file" in capsys.readouterr().err


def test_the_test_split_gives_the_run_s_own_figures_and_files(project, capsys):
    assert main(["evaluate", "news", "--out", "report"]) == 0
    shown = capsys.readouterr().out
    own = project / "experiments/finetuning/news"
    for name in REPORT[1:]:
        assert (project / "report" / name).read_bytes() == (own / REPORT_FOLDER / name).read_bytes(), name
    ours, theirs = (
        json.loads((folder / REPORT[0]).read_text()) for folder in (project / "report", own / "test_report")
    )
    assert ours["results"] == theirs["results"] == json.loads((own / "summary.json").read_text())["results"]["test"]
    assert ours["classes"] == theirs["classes"]
    assert [row["label"] for row in ours["classes"]] == LABELS
    assert ours["results"]["accuracy"] == read_column(own, "test/accuracy")[0]
    assert all(label in shown for label in LABELS)
    assert "changed" not in shown
    with (own / "test_report/confusion_matrix.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows] == LABELS
    assert sum(int(cell) for row in rows for cell in row[1:]) == 12


def test_another_split_gives_the_figures_of_the_run_too(project):
    assert evaluated("news", "--split", "val") == results_of("finetuning", "news")["val"]


def test_the_training_split_is_never_cut(project, capsys):
    """Its texts are longer than those of the other splits, whose lengths the run's evaluation is made for."""
    for split in ("val", "test"):
        ids, mask, labels = tiny.rows(12, seed=5, length=8)
        write_tensors(project / f"data/cls/{split}.pt", ids, mask, labels)
    results = evaluated("news", "--split", "train")
    assert results == evaluated("news", "--data", "data/cls/train.pt")
    assert results["num_examples"] == 50
    assert "x 24 tokens" in capsys.readouterr().out


def test_data_that_has_changed_is_told(project, capsys):
    shutil.copy(project / "data/cls/val.pt", project / "data/cls/test.pt")
    assert main(["evaluate", "news"]) == 0
    assert "data/cls/test.pt has changed since the model was trained" in capsys.readouterr().out
    (project / "data/cls/val.pt").unlink()
    assert main(["evaluate", "news"]) == 0
    assert "data/cls/val.pt is missing: batches" in capsys.readouterr().out


def test_classes_of_other_data_are_matched_by_name_or_refused(project, capsys):
    other = project / "other"
    other.mkdir()
    ids, mask, labels = tiny.rows(12, seed=2)
    order = [2, 0, 1]
    write_tensors(other / "rows.pt", ids, mask, np.argsort(order)[labels])
    (other / "labels.txt").write_text("\n".join(LABELS[i] for i in order) + "\n", encoding="utf-8")
    evaluated("news", "--data", "other/rows.pt")
    assert "mapped to the classes of the model by their names" in capsys.readouterr().out
    own = project / "experiments/finetuning/news/test_report/confusion_matrix.csv"
    assert (project / "report/confusion_matrix.csv").read_bytes() == own.read_bytes()
    (other / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    assert main(["evaluate", "news", "--data", "other/rows.pt"]) == 2
    assert "classes that the run lacks" in capsys.readouterr().err
    (other / "labels.txt").unlink()
    assert main(["evaluate", "news", "--data", "other/rows.pt"]) == 0
    assert "nothing beside it names its classes" in capsys.readouterr().out


def test_within_experiments_it_works_in_the_folder_above(project, monkeypatch, capsys):
    shutil.copy(project / "data/cls/test.pt", project / "experiments/rows.pt")
    shutil.copy(project / "data/labels.txt", project / "experiments/labels.txt")
    monkeypatch.chdir(project / "experiments")
    assert main(["evaluate", "finetuning/news/model.ckpt", "--data", "rows.pt", "--out", "report"]) == 0
    assert capsys.readouterr().err == f"note: working in {project}, the folder of the project\n"
    written = json.loads((project / "experiments/report/metrics.json").read_text())
    assert written["results"] == results_of("finetuning", "news")["test"]


def test_the_vocabulary_of_the_model_counts_not_what_its_folder_holds_now(project, capsys):
    path = project / "data/vocab/vocab.txt"
    *others, last, end = path.read_text().split("\n")
    path.write_text("\n".join([*others[:-1], last, others[-1], end]))
    assert main(["evaluate", "news"]) == 2
    said = capsys.readouterr().err
    assert "is another one" in said
    assert "experiments/finetuning/news/model.ckpt/vocab" in said


def test_files_of_others_are_left_alone(tmp_path):
    """A report without classes removes what an earlier report had by class."""
    report = EvaluationReport("best", {}, "data", Dataset(*[tmp_path, *[np.zeros(0)] * 2, None, "", ()]), {}, None)
    for name in REPORT[1:]:
        (tmp_path / name).touch()
    report.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(REPORT)
    report.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {REPORT[0]}


def test_a_validation_split_without_a_masked_token_is_told_and_decides_nothing(project, capsys):
    write_tensors(project / "data/mlm/val.pt", np.array([[2, 7, 3]]), np.zeros((1, 3), bool))
    capsys.readouterr()
    folder = train("pretraining", "small")
    before, after = capsys.readouterr().out.split("pretraining: updates")
    assert "warning: the validation split is too small: none of its 3 tokens is masked" in before
    tested = results_of("pretraining", "small")["test"]
    assert f"the test split is small: its figures rest on {tested['num_tokens']:.0f} masked tokens" in before
    assert after.count("warning: the validation loss is nan, so this model cannot be the best") == 1
    assert "so there is no best model: this is the last one" in after
    found = read_metrics(folder / "metrics/eval/metrics.csv")
    assert [row["eval/num_tokens"] for row in found] == [0, 0]
    assert all(np.isnan(row[f"eval/{name}"]) for row in found for name in ("loss", "perplexity", "accuracy"))
    saved = load_model(folder / "model.ckpt").metadata
    assert (saved["which"], saved["score"], saved["epoch"]) == ("last", None, 2)
    nothing = {"loss": None, "perplexity": None, "accuracy": None, "num_tokens": 0.0}
    assert results_of("pretraining", "small")["val"] == evaluated("small", "--split", "val") == nothing
    assert "no figures: none of the 3 tokens of" in capsys.readouterr().out
    assert evaluated("small") == tested
    assert sorted(path.name for path in (project / "report").iterdir()) == ["metrics.json"]
