"""A study from its texts to its tables, with a stand-in for training: what it runs, how long, and what it counts."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.study.cases import MEASURING, PREPARING, TRAINING, Machine, design, write_texts
from textclf_jax.config.file import load_config
from textclf_jax.errors import UserError
from textclf_jax.study.running import run_study


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    write_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Machine(monkeypatch)


def run(machine: Machine, **changes: Any) -> int:
    return run_study(design(**changes), machine.prepare, machine.train, machine.clock)


def results() -> dict[str, Any]:
    return json.loads(Path("studies/toy/results.json").read_text())


def test_every_run_is_an_ordinary_experiment(machine, capsys):
    """Named by study, method and seed; of equal length for all seeds; pretraining never sees the test texts."""
    assert run(machine) == 0
    parts = ("scratch-short", "scratch-long", "pretraining", "pretrained")
    assert machine.trained == [f"toy-{part}-seed{seed}" for seed in (1, 2) for part in parts]
    for seed in (1, 2):
        config: Any = load_config(Path(f"experiments/pretraining/toy-pretraining-seed{seed}/config.yaml")).config
        assert (config.experiment.seed, config.training.max_updates, config.training.epochs) == (seed, 12, 3)
        assert config.architecture.embedding_dim == 128
        assert config.data.test.dataset_path is None
        config = load_config(Path(f"experiments/finetuning/toy-pretrained-seed{seed}/config.yaml")).config
        assert config.pretrained_experiment.path == f"experiments/pretraining/toy-pretraining-seed{seed}"
        assert (config.experiment.seed, config.classification_head.num_labels) == (seed, 3)
        config = load_config(Path(f"experiments/finetuning/toy-scratch-long-seed{seed}/config.yaml")).config
        assert (config.pretrained_experiment.path, config.training.learning_rate) == (None, 2e-3)
    assert "TF-IDF + logistic regression" in capsys.readouterr().out


def test_the_epochs_of_finetuning_end_it_before_its_time(machine):
    """Not those from scratch, nor pretraining: these fill the time that was measured, 12 updates here."""
    run(machine, finetuning_keys=("training.epochs=2",))
    lengths = {}
    for part in ("scratch-short", "scratch-long", "pretraining", "pretrained"):
        kind = "pretraining" if part == "pretraining" else "finetuning"
        config: Any = load_config(Path(f"experiments/{kind}/toy-{part}-seed1/config.yaml")).config
        lengths[part] = config.training.max_updates
    assert lengths == {"scratch-short": 12, "scratch-long": 12, "pretraining": 12, "pretrained": 8}


def test_the_minutes_are_shared_out(machine):
    """What the data took is nobody's; the rest is divided."""
    run(machine)
    left = 10 - PREPARING / 60
    shares = {"scratch-short": 0.2, "scratch-long": 0.8, "pretraining": 0.8, "pretrained": 0.2}
    expected = [(f"toy-{part}-seed1", pytest.approx(share * left)) for part, share in shares.items()]
    assert machine.measured == expected
    minutes = {each["method"]: each["minutes"] for each in results()["methods"]}
    assert minutes["pretrained"] == pytest.approx((PREPARING + 2 * (MEASURING + TRAINING)) / 60)
    assert minutes["scratch"] == minutes["pretrained"]


def test_figures_are_those_of_the_predictions(machine):
    machine.accuracies = {"scratch-short-seed1": 0.9, "scratch-long-seed2": 0.9}
    run(machine)
    found = {each["method"]: each for each in results()["methods"]}
    assert found["majority"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert found["tfidf"]["accuracy"]["value"] == 1.0
    assert found["pretrained"]["accuracy"]["value"] == pytest.approx(27 / 30)
    # the run that is better on the validation split, seed by seed
    assert [each["run"] for each in found["scratch"]["by_seed"]] == [
        "toy-scratch-short-seed1",
        "toy-scratch-long-seed2",
    ]
    assert [each["accuracy"] for each in found["scratch"]["by_seed"]] == [18 / 30, 21 / 30]
    assert found["scratch"]["accuracy"]["value"] == pytest.approx(19.5 / 30)
    difference = {(each["method"], each["less"]): each for each in results()["differences"]}["pretrained", "scratch"]
    assert difference["accuracy"]["value"] == pytest.approx(7.5 / 30)
    # rows 3 to 8 are right with pretraining alone in both seeds, rows 9 to 11 in one: exchanged, 2 of 2^9 are as far
    assert difference["p_value"] == pytest.approx(2 / 2**9)
    with Path("studies/toy/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["majority", "tfidf", "scratch", "pretrained"]
    assert float(rows[3]["accuracy"]) == pytest.approx(0.9)
    page = Path("studies/toy/results.md").read_text()
    assert "| pretrained encoder | 90.00 |" in page
    assert "| pretrained encoder | encoder from scratch | +25.00 |" in page
    assert "jax 1.2.3" in page


def test_an_interrupted_study_goes_on_where_it_was(machine, capsys):
    machine.stop_at = "toy-pretrained-seed1"
    assert run(machine) == 130
    assert "the same command goes on" in capsys.readouterr().out
    before = list(machine.trained)
    assert not Path("studies/toy/results.json").exists()
    assert run(machine) == 0
    assert machine.trained[: len(before)] == before
    assert len(machine.trained) == len(set(machine.trained)) == 8
    assert [name for name, _ in machine.measured] == [f"toy-{part}-seed1" for part in
        ("scratch-short", "scratch-long", "pretraining", "pretrained")]  # fmt: skip
    # both times that it was at work count
    (part,) = (each for each in results()["parts"] if each["part"] == "pretrained")
    assert part["seconds"] == [2 * TRAINING, TRAINING]


def test_a_finished_study_prints_its_table_again(machine, capsys):
    run(machine, seeds=1)
    table = capsys.readouterr().out.partition("study toy: 30 test rows")[2]
    trained, files = list(machine.trained), Path("studies/toy/results.json").read_bytes()
    assert run(machine, seeds=1) == 0
    assert capsys.readouterr().out == f"study toy: 30 test rows{table}"
    assert (machine.trained, Path("studies/toy/results.json").read_bytes()) == (trained, files)


def test_other_arguments_or_texts_are_refused_with_the_difference(machine):
    run(machine, methods=("majority",))
    with pytest.raises(UserError, match=r"--minutes: 10\.0 before, 20\.0 now\n  --preset: not given before, x now"):
        run(machine, arguments={"--minutes": 20.0, "--seeds": 2, "--preset": "x"})
    Path("val.csv").write_text(Path("val.csv").read_text().replace("goal", "fish"))
    with pytest.raises(UserError, match=r"val\.csv: its content has changed"):
        run(machine, methods=("majority",))


def test_runs_that_are_not_the_study_s_are_left_alone(machine):
    folder = Path("experiments/pretraining/toy-pretraining-seed1")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match="is there already, and is no run of this study"):
        run(machine, methods=("pretrained",))
    assert (folder / "config.yaml").read_text() == "mine"


def test_a_changed_config_is_refused(machine):
    machine.stop_at = "toy-pretraining-seed1"
    run(machine, methods=("pretrained",))
    path = Path("experiments/pretraining/toy-pretraining-seed1/config.yaml")
    text = path.read_text()
    path.write_text(text.replace("mask_p: 0.2", "mask_p: 0.25"))
    with pytest.raises(UserError, match=r"config\.yaml: has changed since the study wrote it"):
        run(machine, methods=("pretrained",))
    path.write_text(text)
    assert run(machine, methods=("pretrained",)) == 0


def test_the_linear_path_alone_has_a_row_without_a_run_of_its_own(machine):
    assert run(machine, methods=("majority", "pretrained+linear", "pretrained"), seeds=2) == 0
    found = {each["method"]: each for each in results()["methods"]}
    assert list(found) == ["majority", "linear", "pretrained", "pretrained+linear"]
    alone = found["linear"]
    assert alone["title"] == "linear path alone"
    assert alone["accuracy"]["value"] == pytest.approx(25 / 30)
    assert found["pretrained+linear"]["accuracy"]["value"] == pytest.approx(27 / 30)
    assert alone["minutes"] is None
    assert [each["run"] for each in alone["by_seed"]] == [f"toy-pretrained-linear-seed{seed}" for seed in (1, 2)]
    assert len(results()["differences"]) == 6
    assert "| linear path alone | 83.33 |" in Path("studies/toy/results.md").read_text()


def test_a_model_that_predicts_nothing_is_wrong_everywhere(machine, monkeypatch, capsys):
    original = machine.predict_split

    def nothing(model, split, *, note):
        return np.full(30, -1), None, original(model, split, note=note)[2]

    monkeypatch.setattr("textclf_jax.study.running.predict_split", nothing)
    assert run(machine, methods=("majority", "pretrained"), seeds=1) == 0
    assert "toy-pretrained-seed1 predicts nothing" in capsys.readouterr().out
    assert results()["methods"][1]["accuracy"]["value"] == 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "bert-huge"}, "There are: bert-base, bert-mini"),
        ({"pretraining_keys": ("mlm_head.mask_p=2",)}, "--set mlm_head.mask_p=2"),
        ({"finetuning_keys": ("training.learnin_rate=1",)}, "unknown key"),
    ],
)
def test_settings_are_checked_before_anything_is_done(machine, changes, words):
    with pytest.raises(UserError, match=words):
        run(machine, **changes)
    assert not Path("studies").exists()


def test_a_folder_of_something_else_is_left_alone(machine):
    Path("studies/toy").mkdir(parents=True)
    Path("studies/toy/notes.txt").touch()
    with pytest.raises(UserError, match="is there already and holds no study"):
        run(machine)


def test_texts_that_cannot_be_read_leave_nothing(machine):
    Path("test.csv").write_text("text\nno label\n")
    with pytest.raises(UserError, match=r"test\.csv: has no labels.*\(--task is a flag of `textclf prepare`; a study"):
        run(machine)
    assert not Path("studies/toy").exists()
