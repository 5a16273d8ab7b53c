"""Which model is kept: the best by its validation loss, and the last one where there is no such loss."""

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from textclf_jax.runs.resuming import Position
from textclf_jax.training.keeper import Keeper


def keeper(losses, position=None) -> tuple[Any, list[str]]:
    """A keeper whose evaluations give these losses in turn, and the lines that it prints."""
    lines: list[str] = []
    plan = SimpleNamespace(vocabulary_files=[], val="rows", length=SimpleNamespace(steps_per_epoch=1, epochs=9))
    session = SimpleNamespace(
        record={},
        stop=SimpleNamespace(immediate=nullcontext),
        logger=SimpleNamespace(log=lambda *_, **__: None),
        progress=SimpleNamespace(note=lines.append),
    )
    given = iter(losses)
    made: Any = Keeper(plan, session, position or Position(step=1), lambda *_, **__: {"loss": next(given)})  # pyright: ignore
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


def test_a_loss_that_is_no_number_is_told_once():
    made, lines = keeper([math.nan, math.nan])
    state: Any = SimpleNamespace(opt_state=SimpleNamespace(gradient_step=1), variables={})
    for _ in range(2):
        made.evaluate(state)
    (warning,) = (line for line in lines if line.startswith("warning"))
    assert "the validation loss is nan, so this model cannot be the best" in warning
