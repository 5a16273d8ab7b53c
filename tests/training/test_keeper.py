"""Which model is kept: the best by its validation score, and the last one where there is no such score."""

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from textclf_jax.config.scores import EarlyStopping
from textclf_jax.evaluation.evaluator import Outcome
from textclf_jax.runs.resuming import Position
from textclf_jax.training.keeper import Keeper
from textclf_jax.training.schedule import TrainingLength


def keeper(losses, position=None) -> tuple[Any, list[str]]:
    """A keeper whose evaluations give these losses in turn, and the lines that it prints."""
    lines: list[str] = []
    plan = SimpleNamespace(
        vocabulary_files=[],
        val="rows",
        length=TrainingLength(1, 9, 1, "standard"),
        config=SimpleNamespace(training=SimpleNamespace(early_stopping=EarlyStopping())),
    )
    session = SimpleNamespace(
        record={},
        stop=SimpleNamespace(immediate=nullcontext),
        logger=SimpleNamespace(log=lambda *_, **__: None),
        progress=SimpleNamespace(note=lines.append),
    )
    given = iter(losses)
    task = SimpleNamespace(metrics=lambda sums, *_: sums, thresholds=lambda *_: None)
    evaluator: Any = SimpleNamespace(
        task=task,
        outcome=lambda *_, **__: Outcome({"loss": next(given)}, *[np.zeros(0)] * 2),
        metrics=lambda outcome: outcome.sums,
    )
    made: Any = Keeper(plan, session, position or Position(step=1), evaluator)  # pyright: ignore
    return made, lines


def kept(losses, position=None) -> list[Any]:
    """Of each evaluation: which model, and its score, are kept; None where nothing is."""
    made, _ = keeper(losses, position)
    state: Any = SimpleNamespace(opt_state=SimpleNamespace(gradient_step=1), variables={})
    found = [made.evaluate(state) for _ in losses]
    return [model and (model["which"], model["score"]) for model in found]


LAST = ("last", None)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0, 2.0, 2.0, 2.5], [("best", 3.0), ("best", 2.0), None, None]),
        ([math.nan, math.inf, math.nan], [LAST, LAST, LAST]),
        ([math.nan, 1.5, math.nan, math.inf, 1.0], [LAST, ("best", 1.5), None, None, ("best", 1.0)]),
        ([0.0, math.nan], [("best", 0.0), None]),
    ],
)
def test_only_a_finite_loss_is_the_best_and_until_then_the_last_is_kept(losses, expected):
    assert kept(losses) == expected


def test_a_resumed_run_keeps_its_best_model():
    assert kept([math.nan, 2.5], Position(step=4, best_score=2.0)) == [None, None]


def test_the_figures_of_the_first_process_count_in_all(monkeypatch):
    monkeypatch.setattr("textclf_jax.training.keeper.by_first", lambda work: {"loss": 2.0})
    made, _ = keeper([3.0])
    made.evaluate(SimpleNamespace(variables={}))  # pyright: ignore
    assert (made.position.best_score, made.best_metrics) == (2.0, {"loss": 2.0})


def test_the_model_is_the_best_by_the_chosen_metric():
    made, lines = keeper([])
    made.plan.config.training.early_stopping = EarlyStopping(metric="accuracy")
    given = iter([(1.0, 0.5), (0.9, 0.4), (2.0, 0.6), (1.5, 0.6)])
    made.evaluator.outcome = lambda *_, **__: Outcome(
        dict(zip(("loss", "accuracy"), next(given), strict=True)), *[np.zeros(0)] * 2
    )
    state: Any = SimpleNamespace(variables={})
    found = [made.evaluate(state) for _ in range(4)]
    assert [model and (model["which"], model["metric"], model["score"]) for model in found] == [
        ("best", "accuracy", 0.5),
        None,
        ("best", "accuracy", 0.6),
        ("best", "accuracy", 0.6),
    ]
    assert made.best_metrics == {"loss": 1.5, "accuracy": 0.6}
    assert lines[2] == "epoch 1, update 1: validation loss 2.0000  accuracy 0.6000"


def test_a_loss_that_is_no_number_is_told_once():
    made, lines = keeper([math.nan, math.nan])
    state: Any = SimpleNamespace(opt_state=SimpleNamespace(gradient_step=1), variables={})
    for _ in range(2):
        made.evaluate(state)
    (warning,) = (line for line in lines if line.startswith("warning"))
    assert "the validation loss is nan, so this model cannot be the best" in warning
