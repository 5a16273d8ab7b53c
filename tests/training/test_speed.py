"""The length of a run by measured speed: with a clock that the work itself moves on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import tiny
from textclf_jax.config.schema import RunConfig
from textclf_jax.errors import UserError
from textclf_jax.training import speed
from textclf_jax.training.batches import training_batches
from textclf_jax.training.budget import RunCost
from textclf_jax.training.loop import due_after
from textclf_jax.training.plan import Plan, make_plan
from textclf_jax.training.speed import MeasuredLength, length_within

COMPILING, FROM_CACHE, SAVING = 11.0, 0.5, 2.0
SECONDS_PER_FLOP = {True: 1e-7, False: 2e-8}  # in training, and without


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=100)


class Machine:
    """A clock that goes on by what is done: compiling, training, evaluating."""

    def __init__(self, monkeypatch):
        self.now, self.cached = 100.0, set()
        state = SimpleNamespace(variables={})
        monkeypatch.setattr(Plan, "draw_variables", lambda plan: {})
        monkeypatch.setattr(Plan, "initial_state", lambda plan, variables: state)
        monkeypatch.setattr(Plan, "training_program", lambda plan, shape: self.program(plan, shape, train=True))
        monkeypatch.setattr(Plan, "evaluation_program", lambda plan, shape: self.program(plan, shape, train=False))
        monkeypatch.setattr(speed, "_time_saving", lambda *_: SAVING)

    def clock(self) -> float:
        return self.now

    def factor(self) -> float:
        """How many times as long a step takes as usual."""
        return 1.0

    def program(self, plan: Plan, shape: tuple[int, int], *, train: bool):
        key = (shape, plan.length if train else None)
        self.now += FROM_CACHE if key in self.cached else COMPILING
        self.cached.add(key)

        def run(state: Any, arrays: Any):
            self.now += self.factor() * plan.task.flops(shape, train=train) * SECONDS_PER_FLOP[train]
            return (state, {"loss": 0.0}) if train else ({"loss": 0.0}, None)

        return run


def work_of(config: RunConfig) -> float:
    """Seconds of a run that compiles its training program, counted batch by batch."""
    plan = make_plan(config, tiny.Path("/"))

    def evaluation(split: str) -> float:
        shapes = [rows.shape for rows in plan.eval_batching.evaluation(plan.splits[split].lengths)]
        return sum(plan.task.flops(shape, train=False) for shape in shapes) * SECONDS_PER_FLOP[False]

    seconds = COMPILING * len(plan.batching.shapes) + FROM_CACHE * len(plan.eval_batching.shapes)
    for batch in training_batches(plan.task, plan.train, plan.batching, plan.length, 0):
        seconds += plan.task.flops(batch.shape, train=True) * SECONDS_PER_FLOP[True]
        if due_after(batch, config.training, plan.length).evaluation:
            seconds += evaluation("val") + SAVING
    return seconds + evaluation("test") + speed.PLOTS_SECONDS


def of_length(config: RunConfig, max_updates: int, epochs: int) -> RunConfig:
    update = {"max_updates": max_updates, "epochs": epochs}
    return config.model_copy(update={"training": config.training.model_copy(update=update)})


@pytest.mark.parametrize("minutes", [1.0, 5.0])
@pytest.mark.parametrize(
    ("build", "changes"),
    [
        (tiny.pretraining, {"training": {"grad_accum_steps": 3, "eval_interval_updates": 5}}),
        (tiny.finetuning, {"data": {"packing": False, "num_length_buckets": 4}}),
    ],
)
def test_a_run_of_the_chosen_length_takes_the_minutes(data, monkeypatch, build, changes, minutes):
    """By the work that it does; where batches have several shapes, too."""
    config = build(data, **changes)
    chosen = length_within(minutes, config, tiny.Path("/"), clock=(machine := Machine(monkeypatch)).clock)
    assert work_of(of_length(config, chosen.max_updates, chosen.epochs)) == pytest.approx(60 * minutes, rel=0.05)
    # compiling the evaluation for the first time is no part of the run, but was waited for
    plan = make_plan(config, tiny.Path("/"))
    assert chosen.cost.start < COMPILING * (len(plan.batching.shapes) + 1) < machine.now - 100
    assert f"{minutes:g} minutes: " in chosen.remark
    assert len(chosen.remark) < 110


def test_the_time_of_measuring_may_count(data, monkeypatch):
    machine, config = Machine(monkeypatch), tiny.pretraining(data, data={"num_length_buckets": 1})
    chosen = length_within(2.0, config, tiny.Path("/"), measuring_counts=True, clock=machine.clock)
    measuring = machine.now - 100
    assert measuring > 2 * COMPILING
    assert measuring + work_of(of_length(config, chosen.max_updates, chosen.epochs)) == pytest.approx(120, rel=0.05)


def test_a_machine_of_uneven_speed_is_measured_for_longer(data, monkeypatch):
    config = tiny.pretraining(data, data={"num_length_buckets": 1})
    spent = []
    for slow in (1.0, 4.0):  # for half of every ten seconds, each step takes so many times as long
        machine = Machine(monkeypatch)
        monkeypatch.setattr(machine, "factor", lambda machine=machine, slow=slow: slow if machine.now % 10 < 5 else 1)
        cost = length_within(10.0, config, tiny.Path("/"), clock=machine.clock).cost
        assert cost.spread is not None
        spent.append((machine.now - 100, cost.spread))
    (even, none), (uneven, some) = spent
    assert none == pytest.approx(0.0, abs=0.01)
    assert some > 0.05
    measured = 10.0 * 60 * speed.MEASURED_SHARE
    assert measured / 2 < uneven - even < speed.LONGER * measured


def test_what_came_before_counts_as_start(data, monkeypatch):
    config = tiny.pretraining(data, data={"num_length_buckets": 1})
    late = length_within(2.0, config, tiny.Path("/"), started=60.0, clock=Machine(monkeypatch).clock)
    early = length_within(2.0, config, tiny.Path("/"), clock=Machine(monkeypatch).clock)
    assert late.cost.start - early.cost.start == pytest.approx(40.0)
    assert late.max_updates < early.max_updates


def test_minutes_that_are_too_few_are_refused_and_a_short_run_is_told(data, monkeypatch):
    machine, config = Machine(monkeypatch), tiny.pretraining(data, data={"num_length_buckets": 1})
    with pytest.raises(UserError, match=r"^0\.05 minutes are too few: a run of one update takes 0\.\d+ here \("):
        length_within(0.05, config, tiny.Path("/"), clock=machine.clock)
    with pytest.raises(UserError, match=r"^0\.05 minutes, of which measuring took \d+ s, are too few"):
        length_within(0.05, config, tiny.Path("/"), measuring_counts=True, clock=machine.clock)
    cost = length_within(9.0, config, tiny.Path("/"), clock=machine.clock).cost
    short = speed.MeasuredLength(3, 1, cost, 0.5)
    told = short.facts(warmup_ratio=0.1)
    seen = 3 / cost.steps_per_epoch
    assert f"less than an epoch: {1 - seen:.0%} of the training rows are never seen" in told
    assert "too few updates for a warm-up" in told
    assert "note" not in speed.MeasuredLength(300, 30, cost, 0.5).facts(warmup_ratio=0.1)
    assert np.isfinite(cost).all()


@pytest.mark.parametrize(("epochs", "updates"), [(1, 3), (2, 5), (4, 10), (5, 10)])
def test_a_length_can_end_with_its_epochs(epochs, updates):
    """Five steps an epoch, two an update; ten updates fit into the time."""
    cost = RunCost(1.0, 2.0, 3.0, 4.0, 5, 2, 0)
    length = MeasuredLength(10, 4, cost, 9.0).at_most(epochs)
    assert (length.max_updates, length.epochs) == (updates, min(epochs, 4))
    assert length.minutes == (9.0 if epochs >= 4 else pytest.approx(cost.seconds(updates) / 60))
