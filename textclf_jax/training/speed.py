"""Measures how fast a run would be here, by doing some of it: for a run that is to take so many minutes."""

import functools
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import jax

from textclf_jax.config.schema import RunConfig
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.prefetch import prefetched
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.runs.checkpoint import Checkpoints, save_model
from textclf_jax.runtime.device import explained_exhaustion, set_up_device, steps_in_flight, training_with_less_memory
from textclf_jax.runtime.programs import Compiled, Programs, Shape
from textclf_jax.training.batches import training_batches
from textclf_jax.training.budget import RunCost
from textclf_jax.training.linear_path import fitted_collections
from textclf_jax.training.loop import on_device
from textclf_jax.training.plan import Plan, make_plan
from textclf_jax.training.schedule import epochs_begun
from textclf_jax.training.steps import TrainState

WARM_UP_STEPS, FEWEST_STEPS = 3, 3
WARM_UP_SHARE = 0.25  # of the time of measuring, before it: the first steps of a process are slower than those of a run
UNEVEN, LONGER = 0.15, 3  # where the speed varies more, it is measured for up to so many times as long
MEASURED_SHARE, MEASURED_SECONDS = 0.02, (2.0, 20.0)  # of the whole time; at least and at most
PLOTS_SECONDS = 2.0  # of learning curves, reports and tables, by experience
QUARTERS = 4
ENOUGH_EPOCHS = 1000  # for the steps that are timed

Clock = Callable[[], float]


class MeasuredLength(NamedTuple):
    """The length of a run that is to take so long.

    Attributes:
      max_updates, epochs: for its config.
      cost: what was measured.
      minutes: what it is to take.
    """

    max_updates: int
    epochs: int
    cost: RunCost
    minutes: float

    @property
    def remark(self) -> str:
        """What was measured, in a line for the config."""
        return (
            f"{self.minutes:.3g} minutes: {1 / self.cost.update:.3g} updates a second measured here, "
            f"{self.cost.evaluation:.2g} s an evaluation, {self.cost.start + self.cost.end:.2g} s before and after"
        )

    def at_most(self, epochs: int) -> "MeasuredLength":
        """This length, or so many epochs where they are over earlier."""
        updates = -(-epochs * self.cost.steps_per_epoch // self.cost.accumulation)
        if updates >= self.max_updates:
            return self
        return self._replace(max_updates=updates, epochs=epochs, minutes=self.cost.seconds(updates) / 60)

    def facts(self, warmup_ratio: float) -> str:
        """What fits into the time, with what there is hardly time for."""
        cost, steps = self.cost, self.max_updates * self.cost.accumulation
        passes = steps / cost.steps_per_epoch
        told = f"{self.max_updates:,} updates, {passes:.3g} epochs, fit into {self.minutes:.3g} minutes"
        if passes < 1:
            told += f"\nnote: that is less than an epoch: {1 - passes:.0%} of the training rows are never seen"
        if warmup_ratio and int(self.max_updates * warmup_ratio) == 0:
            told += "\nnote: these are too few updates for a warm-up of the learning rate"
        return told


def length_within(
    minutes: float,
    config: RunConfig,
    root: Path,
    *,
    started: float | None = None,
    measuring_counts: bool = False,
    clock: Clock = time.perf_counter,
) -> MeasuredLength:
    """Chooses the length of a run that is to end in so many minutes, its start and its test included.

    Args:
      minutes: of the whole run.
      config: of the run; its length does not matter.
      root: the folder that relative paths start from.
      started: when the command began, on the clock: importing libraries is part of a run; None: now.
      measuring_counts: whether the time of measuring is taken from the minutes.
      clock: in seconds.

    Raises:
      UserError: the minutes are too few for one update, or the run itself would be refused.
    """
    began = clock() if started is None else started
    with explained_exhaustion(training_with_less_memory(config)):
        cost = measure_cost(config, root, minutes, began, clock)
    measuring = (clock() - began) * measuring_counts
    updates = cost.updates_within(60 * minutes - measuring)
    if not updates:
        spent = f", of which measuring took {measuring:.0f} s," * measuring_counts
        raise UserError(
            f"{minutes:.3g} minutes{spent} are too few: a run of one update takes {cost.seconds(1) / 60:.2g} here "
            f"({cost.start:.1f} s to start, {cost.update:.2g} s of training, {cost.evaluation:.1f} s to evaluate and "
            f"save, {cost.end:.1f} s to test and report). Give it more, or make the model or the data smaller."
        )
    epochs = epochs_begun(updates, cost.steps_per_epoch, cost.accumulation)
    return MeasuredLength(updates, epochs, cost, minutes)


def measure_cost(config: RunConfig, root: Path, minutes: float, started: float, clock: Clock) -> RunCost:
    """Does what a run does, but few of its steps and evaluations; leaves nothing but compiled programs.

    Args: those of `length_within`.
    """
    set_up_device(config.training)
    longer = config.training.model_copy(update={"epochs": ENOUGH_EPOCHS, "max_updates": None})
    plan = make_plan(config.model_copy(update={"training": longer}), root)
    # the schedule, which depends on the length, is part of the program: the run will have to compile its own
    programs = _compiled(plan.training_program, plan.batching.shapes)
    state = plan.initial_state({**plan.draw_variables(), **fitted_collections(plan, lambda line: None)})
    held_out = [data for data in (plan.val, plan.splits.get("test")) if data is not None]
    evaluation, shapes = plan.evaluation_program, plan.eval_batching.shapes if held_out else ()
    begin = clock()
    _compiled(evaluation, shapes)
    compiling = clock() - begin
    evaluators = _compiled(evaluation, shapes)  # from the cache, as in the run
    start = clock() - started - compiling
    shortest, longest = MEASURED_SECONDS
    state, step, spread = _time_steps(
        plan, programs, state, min(max(60 * minutes * MEASURED_SHARE, shortest), longest), clock
    )
    evaluator = Evaluator(plan.task, evaluators, plan.eval_batching, plan.placement)
    times = [_time_evaluation(plan, evaluator, state, data, longest, clock) for data in held_out]
    saving = _time_saving(plan, state, root, clock)
    return RunCost(
        start=start,
        update=step * plan.length.accumulation,
        evaluation=saving + (times[0] if plan.val is not None else 0.0),
        end=PLOTS_SECONDS + (times[-1] if "test" in plan.splits else 0.0),
        steps_per_epoch=plan.length.steps_per_epoch,
        accumulation=plan.length.accumulation,
        evaluation_interval=config.training.eval_interval_updates,
        spread=spread,
    )


def _compiled(make: Callable[[Shape], Compiled], shapes: tuple[Shape, ...]) -> Programs:
    programs = Programs("measured", make)
    for shape in shapes:
        programs.compile(shape)
    return programs


def _time_steps(
    plan: Plan, programs: Programs, state: TrainState, seconds: float, clock: Clock
) -> tuple[TrainState, float, float | None]:
    """Trains on the first batches of the run for some seconds, as the loop does.

    Returns:
      The state, the seconds that a step takes on average, and how much that varied: the standard deviation of its
      quarters, as a share of it. Where batches have several shapes, those that were timed stand for the epoch by their
      FLOPs.
    """
    batches = training_batches(plan.task, plan.train, plan.batching, plan.length, 0)
    unread: deque[dict[str, Any]] = deque()
    first, flops = clock(), 0
    begin = None  # of measuring, after the warm-up
    read: list[tuple[float, int]] = []  # the clock and the FLOPs so far, after each step
    with closing(prefetched(batches, functools.partial(on_device, placement=plan.placement))) as ready:
        for number, batch in enumerate(ready, start=1):
            state, figures = programs[batch.shape](state, batch.arrays)
            unread.append(figures)
            if len(unread) > steps_in_flight():
                jax.device_get(unread.popleft())
            if begin is None:
                if number >= WARM_UP_STEPS and clock() - first >= WARM_UP_SHARE * seconds:
                    jax.block_until_ready(state)
                    begin = clock()
                continue
            flops += plan.training_flops(batch.shape)
            read.append((clock(), flops))
            if len(read) >= FEWEST_STEPS and clock() - begin >= seconds * (LONGER if _is_uneven(read) else 1):
                break
    jax.block_until_ready(state)
    assert begin is not None
    elapsed = clock() - begin
    epoch = plan.epoch(0)
    of_epoch = sum(plan.training_flops(rows.shape) for rows in epoch) / len(epoch)
    return state, elapsed / flops * of_epoch, speed_spread(read)


def _is_uneven(read: Sequence[tuple[float, int]]) -> bool:
    spread = speed_spread(read)
    return spread is not None and spread > UNEVEN


def speed_spread(read: Sequence[tuple[float, int]]) -> float | None:
    """The standard deviation of the speed of quarters, as a share of its mean; None of too few steps to tell.

    Args:
      read: the clock in seconds, and the work done so far, after each step.
    """
    ends = [read[i * (len(read) - 1) // QUARTERS] for i in range(QUARTERS + 1)] if len(read) > 2 * QUARTERS else []
    speeds = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(ends) if b[0] > a[0]]
    return stdev(speeds) / fmean(speeds) if len(speeds) > 1 else None


def _time_evaluation(
    plan: Plan, evaluator: Evaluator, state: TrainState, data: Dataset, most: float, clock: Clock
) -> float:
    """Seconds that the evaluation of a split takes; of one that takes longer than `most` seconds a part is timed."""
    total = sum(plan.evaluation_flops(rows.shape) for rows in plan.eval_batching.evaluation(data.lengths))
    begin, flops = clock(), 0
    with closing(evaluator.results(state.variables, data)) as results:
        for rows, result in results:
            jax.block_until_ready(result)
            flops += plan.evaluation_flops(rows.shape)
            if clock() - begin >= most:
                break
    return (clock() - begin) * total / flops


def _time_saving(plan: Plan, state: TrainState, root: Path, clock: Clock) -> float:
    """Seconds that it takes to save a checkpoint and the best model."""
    begin = clock()
    with tempfile.TemporaryDirectory(prefix=".measuring-", dir=root) as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints")

        def before_save(host: TrainState) -> None:
            save_model(Path(folder), host.variables, plan.record(), plan.tokenizer.save)

        with closing(checkpoints):
            checkpoints.save(1, state, {}, before_save=before_save)
            checkpoints.wait()
        return clock() - begin
