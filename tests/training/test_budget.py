"""How many updates fit into a time: against runs counted step by step."""

import itertools

import pytest

from tests import tiny
from textclf_jax.training.batches import MicroBatch
from textclf_jax.training.budget import RunCost
from textclf_jax.training.loop import due_after
from textclf_jax.training.schedule import epochs_begun, training_length


def cost(**changes) -> RunCost:
    parts = {"start": 8.0, "update": 0.25, "evaluation": 3.0, "end": 5.0}
    return RunCost(**{**parts, "steps_per_epoch": 10, "accumulation": 1, "evaluation_interval": 0, **changes})


def evaluations_counted(updates: int, of: RunCost) -> int:
    """Those that the loop makes, by the rules for each step of the run."""
    keys = {"batch_size": 1, "grad_accum_steps": of.accumulation, "eval_interval_updates": of.evaluation_interval}
    epochs = epochs_begun(updates, of.steps_per_epoch, of.accumulation)
    config = tiny.finetuning(tiny.Path("x"), training={**keys, "epochs": epochs, "max_updates": updates})
    length = training_length(config.training, of.steps_per_epoch)
    count, end = 0, length.updates * length.accumulation
    for step in range(end):
        index = step % length.steps_per_epoch
        ends = step == end - 1 or (step + 1 < length.steps and index == length.steps_per_epoch - 1)
        batch = MicroBatch(step, step // length.steps_per_epoch, ends, (1, 1), 1, {})
        count += due_after(batch, config.training, length).evaluation
    return count


@pytest.mark.parametrize(
    ("steps", "accumulation", "interval"), [*itertools.product((1, 4, 7, 10), (1, 3, 4), (0, 1, 5))]
)
def test_evaluations_are_those_of_the_loop(steps, accumulation, interval):
    of = cost(steps_per_epoch=steps, accumulation=accumulation, evaluation_interval=interval)
    for updates in (1, 2, 3, 7, 10, 12, 20):
        # a last window that the epochs end within runs on in empty steps, which belong to no epoch
        if updates * accumulation <= steps * epochs_begun(updates, steps, accumulation):
            assert of.evaluations(updates) == evaluations_counted(updates, of), updates


@pytest.mark.parametrize("seconds", [16.3, 20, 61, 100, 3600])
@pytest.mark.parametrize("changes", [{}, {"evaluation_interval": 3}, {"accumulation": 4}, {"evaluation": 0.0}])
def test_one_update_more_would_be_too_long(seconds, changes):
    of = cost(**changes)
    updates = of.updates_within(seconds)
    assert of.seconds(updates) <= seconds
    assert of.seconds(updates + 1) > seconds


def test_there_may_be_no_time_for_one():
    assert [cost().updates_within(seconds) for seconds in (-5.0, 16.2, 16.25)] == [0, 0, 1]
