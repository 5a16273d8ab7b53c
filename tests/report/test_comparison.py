"""Runs in one table, from the files of runs that were never trained."""

import csv
import json
import statistics

import pytest

from tests import tiny
from tests.report.cases import Page, write_finished
from textclf_jax.cli import main
from textclf_jax.errors import UserError
from textclf_jax.report.comparison import compare_runs, spread
from textclf_jax.report.comparison_page import table_of


def runs(root, **more):
    """Two learning rates of two seeds each."""
    folders = []
    for rate, accuracies in {1e-3: (0.5, 0.75), 3e-3: (0.75, 0.875)}.items():
        for seed, accuracy in enumerate(accuracies):
            results = {"accuracy": accuracy, "f1_micro": accuracy, "loss": 1 - accuracy}
            training = {"learning_rate": rate}
            folders.append(write_finished(root, f"n{rate}-{seed}", results, seed=seed, training=training, **more))
    return folders


def test_runs_that_differ_by_their_seed_are_one_line(tmp_path):
    found = compare_runs(runs(tmp_path), "test")
    assert found.keys == ("training.learning_rate",)
    assert found.metrics == ("accuracy", "loss")
    assert [group.keys["training.learning_rate"] for group in found.groups] == ["0.003", "0.001"], "the best first"
    assert [group.seeds for group in found.groups] == [(0, 1), (0, 1)]
    best = found.groups[0].figures["accuracy"]
    assert best.mean == pytest.approx(statistics.mean((0.75, 0.875)))
    assert best.deviation == pytest.approx(statistics.stdev((0.75, 0.875)))
    columns, rows = table_of(found)
    assert columns == ["learning rate", "runs", "accuracy", "loss, nats", "names"]
    assert rows[0] == ["0.003", "2", "0.8125 ± 0.0884", "0.1875 ± 0.0884", "n0.003-0, n0.003-1"]
    assert found.remarks == ()


def test_one_run_has_no_deviation():
    assert spread([0.5]).deviation is None
    assert spread([1.0, 2.0, 3.0]).deviation == pytest.approx(1.0)


def test_attention_kinds_are_columns_and_numbers_that_look_alike_are_not_the_same(tmp_path):
    local = tiny.architecture(attention={"kind": "local", "local": {"window": 8}})
    folders = [
        write_finished(tmp_path, "exact", {"accuracy": 0.5}, seed=0),
        write_finished(tmp_path, "local", {"accuracy": 0.4}, seed=0, architecture=local),
        write_finished(tmp_path, "close", {"accuracy": 0.3}, seed=0, training={"learning_rate": 0.0030000001}),
    ]
    found = compare_runs(folders, "test")
    assert "architecture.attention.kind" in found.keys
    assert "training.learning_rate" in found.keys
    assert [len(group.runs) for group in found.groups] == [1, 1, 1]
    assert [group.keys["architecture.attention.kind"] for group in found.groups] == ["mha", "local", "mha"]


def test_equal_runs_are_not_taken_for_seeds(tmp_path):
    folders = [write_finished(tmp_path, name, {"accuracy": 0.5}, seed=3) for name in ("one", "two")]
    found = compare_runs(folders, "test")
    assert len(found.groups) == 1
    assert "one, two have the seed 3 more than once" in found.remarks[0]


def test_starts_of_the_same_training_are_one_thing(tmp_path, monkeypatch):
    """Pretraining runs of several seeds; another rate is another start."""
    monkeypatch.chdir(tmp_path)
    folders = []
    for name, seed, rate in (("a", 0, 1e-3), ("b", 1, 1e-3), ("c", 0, 2e-3)):
        start = tmp_path / "experiments/pretraining" / name
        (start / "model.ckpt").mkdir(parents=True)
        config = tiny.pretraining(tmp_path, name, experiment={"seed": seed}, training={"learning_rate": rate})
        (start / "model.ckpt/metadata.json").write_text(json.dumps({"config": config.model_dump(mode="json")}))
        pretrained = {"path": f"experiments/pretraining/{name}"}
        folders.append(
            write_finished(tmp_path, f"from-{name}", {"accuracy": 0.5}, seed=seed, pretrained_experiment=pretrained)
        )
    found = compare_runs(folders, "test")
    assert found.keys == ("starts from",)
    assert [(group.runs, group.keys["starts from"]) for group in found.groups] == [
        (("from-a", "from-b"), "a"),
        (("from-c",), "c"),
    ]


def test_runs_of_different_test_data_are_refused_and_named(tmp_path):
    folders = [
        write_finished(tmp_path, "one", {"accuracy": 0.5}, seed=0, data="x"),
        write_finished(tmp_path, "two", {"accuracy": 0.9}, seed=0, data="y"),
    ]
    with pytest.raises(UserError, match=r"not have the same test data.*test-x: one; test-y: two.*--different-data"):
        compare_runs(folders, "test")
    found = compare_runs(folders, "test", different_data=True)
    assert "test-x: one; test-y: two" in found.remarks[0]
    assert "data of train" in found.keys, "they are not trained on the same, either"


def test_a_run_that_tells_nothing_of_its_data_is_not_the_same(tmp_path):
    folders = runs(tmp_path)
    (folders[0] / "record.json").write_text("{}")
    with pytest.raises(UserError, match=r"not recorded: n0\.001-0"):
        compare_runs(folders, "test")


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        (lambda folder: (folder / "summary.json").unlink(), "test", "is not finished"),
        (lambda folder: (folder / "summary.json").write_text("{"), "test", "cannot be read"),
        (lambda folder: None, "val", "no results of the val split, but of: test"),
    ],
)
def test_runs_without_results_are_refused(tmp_path, change, split, message):
    folders = runs(tmp_path)
    change(folders[0])
    with pytest.raises(UserError, match=message):
        compare_runs(folders, split)


def test_the_command_prints_and_writes(tmp_path, monkeypatch, capsys):
    runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ["n0.001-0", "n0.001-1", "n0.003-0", "n0.003-1"]
    assert main(["compare", *names, "--out", "table.csv"]) == 0
    assert "0.8125 ± 0.0884" in capsys.readouterr().out
    with open("table.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["training.learning_rate"] == "0.003"
    assert float(first["accuracy_mean"]) == 0.8125
    assert float(second["accuracy_deviation"]) == pytest.approx(statistics.stdev((0.5, 0.75)))
    monkeypatch.chdir(tmp_path / "experiments/finetuning")  # paths start there
    assert main(["compare", *names[:3], "./n0.003-1", "--out", "../../table.html"]) == 0
    page = Page((tmp_path / "table.html").read_text(encoding="utf-8"))
    assert page.faults == []
    assert "0.8125 ± 0.0884" in page.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["n0.001-0"], "name two runs or more"),
        (["n0.001-0", "n0.001-0"], "is named twice"),
        (["n0.001-0", "n0.001-1", "--out", "t.pdf"], "its ending tells no format"),
        (["n0.001-0", "n0.001-9"], "there is no finetuning run"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, monkeypatch, capsys, arguments, message):
    runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err
