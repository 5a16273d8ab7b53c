"""Runs that end when their validation score has not become better for too long; and which evaluation is the best."""

import json
import math
import os
import shutil
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiny
from tests.trained import check_same_run, interrupted, read_column, run, saved_steps
from textclf_jax.config.scores import EarlyStopping
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.runs import resuming
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runs.resuming import Position
from textclf_jax.training import loop
from textclf_jax.training.early_stopping import count_evaluation, decided_by, is_over
from textclf_jax.training.fit import fit
from textclf_jax.training.keeper import Keeper
from textclf_jax.training.plan import make_plan
from textclf_jax.training.schedule import make_schedule
from textclf_jax.training.summary import count_evaluations, patience_warning

EPOCHS, PATIENCE, STEPS = 9, 2, 2
NAN = math.nan


@pytest.mark.parametrize(
    ("metric", "evaluations", "expected"),
    [
        # (score, loss) of each evaluation; (best so far, evaluations without a better score) after it
        ("accuracy", [(0.5, 1.0), (0.6, 2.0), (0.4, 0.1)], [(True, 0), (True, 0), (False, 1)]),
        ("accuracy", [(0.5, 1.0), (0.5, 0.9), (0.5, 0.9), (0.5, 1.1)], [(True, 0), (True, 1), (False, 2), (False, 3)]),
        ("accuracy", [(NAN, 1.0), (0.1, NAN), (0.1, 2.0), (NAN, 0.1)], [(False, 1), (False, 2), (True, 0), (False, 1)]),
        ("accuracy", [(0.0, 1.0), (0.1, 1.0)], [(True, 0), (True, 0)]),
        ("perplexity", [(9.0, 2.2), (8.0, 2.1), (math.inf, 90.0)], [(True, 0), (True, 0), (False, 1)]),
        ("loss", [(2.0, 2.0), (2.0, 2.0), (1.5, 1.5)], [(True, 0), (False, 1), (True, 0)]),
    ],
)
def test_the_best_evaluation_is_that_of_the_best_score_then_of_the_lowest_loss_then_the_earlier(
    metric, evaluations, expected
):
    position = Position()
    found = []
    for score, loss in evaluations:
        is_best = count_evaluation(position, metric, {metric: score, "loss": loss})
        found.append((is_best, position.without_better))
    assert found == expected


def test_patience_of_0_never_ends_a_run():
    counts = range(5)
    positions = [Position(without_better=count) for count in counts]
    assert [is_over(position, EarlyStopping(patience=0)) for position in positions] == [False] * 5
    assert [is_over(position, EarlyStopping(patience=2)) for position in positions] == [count >= 2 for count in counts]


def test_positions_of_before_have_the_loss_as_score():
    position = Position.restored({"step": 3, "best_score": 1.5, "loss": 0.0})
    assert (position.best_score, position.best_loss, position.without_better) == (1.5, 1.5, 0)
    assert not count_evaluation(position, "loss", {"loss": 1.5})
    position = Position(best_score=0.5, best_loss=1.0, without_better=2)
    assert Position.restored(position.stored()) == position


def test_a_saved_model_tells_what_it_is_the_best_by():
    found = [decided_by(data) for data in ({"score": 0.5, "metric": "accuracy"}, {"score": 1.5}, {"score": None}, {})]
    assert found == ["accuracy", "loss", None, None]


@pytest.fixture
def restored(monkeypatch) -> Position:
    """What a checkpoint has that was saved when a run had ended early."""
    position = Position(step=4, best_score=0.5, best_loss=1.0, without_better=2)
    stored = position.stored() | {"fingerprint": {}}
    fake = SimpleNamespace(close=lambda: None, restore=lambda like, notes, check: (check(stored), ({}, stored))[1])
    monkeypatch.setattr(resuming, "Checkpoints", lambda *_, **__: fake)
    monkeypatch.setattr(resuming, "_checkpoints_folder", lambda path: path)
    return position


def test_the_count_goes_on_when_resumed_and_starts_anew_with_other_data_or_in_another_run(restored, tmp_path):
    checkpoints: Any = resuming.Checkpoints(tmp_path)
    anew = Position(step=4)

    def resumed(changed_data):
        return resuming.resume(checkpoints, None, {}, changed_data=changed_data)

    assert resumed(changed_data=False) == ({}, restored)
    assert resumed(changed_data=True) == ({}, anew)
    assert resuming.continue_earlier(tmp_path, None, {}, length="training.epochs to more than 9", steps=9) == ({}, anew)


# --- whole runs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run whose weights hardly move, so that its accuracy stays what it is."""
    data = tiny.write_data(tmp_path_factory.mktemp("data"), train=16)
    return tiny.finetuning(
        data,
        training={
            "learning_rate": 1e-9,
            "epochs": EPOCHS,
            "weight_decay": 0.0,
            "early_stopping": {"metric": "accuracy", "patience": PATIENCE},
        },
        data={"num_length_buckets": 1},
        architecture=tiny.architecture(num_layers=1),
        logging={"log_interval_updates": 1},
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    return run(config, tmp_path_factory.mktemp("whole"))


def test_a_run_ends_after_so_many_evaluations_without_a_better_score(config, whole):
    last = (PATIENCE + 1) * STEPS
    assert read_column(whole, "eval/accuracy") == [read_column(whole, "eval/accuracy")[0]] * 3
    assert saved_steps(whole)[-1] == last
    summary = json.loads((whole / "summary.json").read_text())
    score = summary["results"]["val"]["accuracy"]
    assert summary["stopped_early"] == {
        "step": last,
        "update": last,
        "epoch": PATIENCE + 1,
        "why": f"2 evaluations in a row had no better validation accuracy than {score:.4g} (training.early_stopping)",
    }
    assert (summary["model"], summary["metric"], summary["score"]) == ("best", "accuracy", score)
    metadata = load_model(whole / "model.ckpt").metadata
    assert (metadata["which"], metadata["metric"], metadata["score"]) == ("best", "accuracy", score)
    # of equal scores the lowest loss
    losses = read_column(whole, "eval/loss")
    assert summary["step"] == (losses.index(min(losses)) + 1) * STEPS
    # the learning rate is that of the whole run
    schedule = make_schedule(config.training, EPOCHS * STEPS, 1.0)
    assert read_column(whole, "train/lr") == pytest.approx([float(schedule(i)) for i in range(last)], rel=1e-5)
    with pytest.raises(UserError, match="this run is finished"):
        fit(config, whole)


def stopped_at(config, folder, monkeypatch, owner, name, when):
    """Runs until SIGINT comes before the call of owner.name for which `when` holds."""
    original = getattr(owner, name)

    def call(self, *arguments):
        if when(self):
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, call)
        assert fit(config, folder) == 130
    assert not (folder / "summary.json").exists()


def check_ends_without_training(config, folder, whole, monkeypatch):
    def training_batches(*_):
        raise AssertionError("it trains on")

    monkeypatch.setattr(loop, "training_batches", training_batches)
    check_same_run(whole, run(config, folder))
    assert (folder / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()


def test_a_run_that_was_stopped_ends_at_the_same_evaluation(config, whole, tmp_path, monkeypatch, capsys):
    """On its way, and between the last evaluation and its end: its checkpoint is then that of a run that was killed."""
    stopped = interrupted(config, tmp_path / "run", monkeypatch, at_update=STEPS + 1)
    stopped_at(config, stopped, monkeypatch, Keeper, "save", lambda k: k.position.without_better == PATIENCE)
    assert "stopped and saved after step 6" in capsys.readouterr().out
    check_ends_without_training(config, stopped, whole, monkeypatch)
    assert "stopped early, after epoch 3, update 6: 2 evaluations in a row had no better" in capsys.readouterr().out


def test_a_signal_in_the_last_evaluation(config, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/6")
    (tmp_path / "run/summary.json").unlink()
    stopped_at(config, tmp_path / "run", monkeypatch, Evaluator, "__call__", lambda _: True)
    check_ends_without_training(config, tmp_path / "run", whole, monkeypatch)


def with_early_stopping(config, **changes):
    training = config.training.model_copy(update={"early_stopping": EarlyStopping(**changes)})
    return config.model_copy(update={"training": training})


def test_a_patience_that_cannot_count_is_told(config):
    plan = make_plan(config, tiny.Path("/"))
    assert (count_evaluations(plan), patience_warning(plan)) == (EPOCHS, "")
    assert patience_warning(make_plan(with_early_stopping(config, patience=EPOCHS - 2), tiny.Path("/"))) == ""
    assert patience_warning(make_plan(with_early_stopping(config, patience=0), tiny.Path("/"))) == ""
    idle = patience_warning(make_plan(with_early_stopping(config, patience=EPOCHS - 1), tiny.Path("/")))
    assert idle.startswith("note: training.early_stopping.patience 8 has no effect: the run has only 9 evaluations.")
