"""The training loop: feeds compiled steps without waiting for them; evaluates, saves and stops where it is due."""

import functools
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from textclf_jax.config.training import Training
from textclf_jax.data.prefetch import prefetched
from textclf_jax.observe.profiling import RunStep
from textclf_jax.runtime.device import steps_in_flight
from textclf_jax.runtime.programs import Compiled, Programs, Shape
from textclf_jax.runtime.sharding import Placement
from textclf_jax.training.batches import MicroBatch, training_batches
from textclf_jax.training.keeper import Keeper
from textclf_jax.training.log import TrainingLog
from textclf_jax.training.plan import Plan
from textclf_jax.training.schedule import TrainingLength
from textclf_jax.training.session import Session
from textclf_jax.training.steps import TrainState
from textclf_jax.training.stopping import Stopping


class Due(NamedTuple):
    """What comes after a step."""

    evaluation: bool
    checkpoint: bool


def due_after(batch: MicroBatch, training: Training, length: TrainingLength) -> Due:
    """What is due after a step by its number; a checkpoint can be due by the clock, too."""
    updates, rest = divmod(batch.step + 1, length.accumulation)

    def is_due(interval_updates: int) -> bool:
        return interval_updates > 0 and rest == 0 and updates % interval_updates == 0

    evaluation = batch.ends_epoch or is_due(training.eval_interval_updates)
    return Due(evaluation, is_due(training.checkpoint_interval_updates))


def on_device(batch: MicroBatch, placement: Placement) -> MicroBatch:
    """The batch with its arrays on the device, or divided among several."""
    return batch._replace(arrays=placement.put_batch(batch.arrays))


@dataclass
class TrainingLoop:
    """Trains from a state to the end of the run, to an early stop, or to a request to stop.

    Attributes:
      plan, session: the run.
      programs: training steps by shape.
      run_step: runs one, and profiles some where that is asked for.
      log: gets the figures of each step.
      keeper: evaluates, and saves checkpoints and the best model.
      stopping: tells of signals, and of checkpoints that are due by the clock.
      unread: steps whose figures are still on the device.
    """

    plan: Plan
    session: Session
    programs: Programs
    run_step: RunStep
    log: TrainingLog
    keeper: Keeper
    stopping: Stopping
    unread: deque[tuple[MicroBatch, dict[str, Any]]] = field(default_factory=deque)

    def run(self, state: TrainState) -> None:
        """Runs from the position of the log, while signals are deferred.

        The best model is in `model.ckpt` then; `checkpoints` may still be writing the last state.
        """
        if self.log.position.evaluation_due:
            self.keeper.save(state, self.keeper.evaluate(state))
        # a run may be resumed after the evaluation that ends it
        if not self.session.stop.signal and not self.keeper.stops_early():
            self.train(state)

    def train(self, state: TrainState) -> None:
        """Takes steps until the end or a stop, and saves the last state."""
        plan, position = self.plan, self.log.position
        self.log.throughput.restart()
        batches = training_batches(plan.task, plan.train, plan.batching, plan.length, position.step)
        prepare = functools.partial(on_device, placement=plan.placement)
        with closing(prefetched(batches, prepare)) as ready:
            for batch in ready:
                state, figures = self.run_step(self.program(batch.shape), state, batch.arrays, batch.step)
                self.unread.append((batch, figures))
                if len(self.unread) > steps_in_flight():
                    self.log.read(*self.unread.popleft())
                self.after_step(state, batch)
                if self.session.stop.signal or self.keeper.stops_early():
                    break
        self.read_all()
        if position.step != self.session.checkpoints.saved_step:
            self.keeper.save(state)

    def program(self, shape: Shape) -> Compiled:
        """The training step on batches of a shape; the time of compiling it does not count as training."""
        if shape in self.programs:
            return self.programs[shape]
        self.read_all()
        with self.log.throughput.paused():
            return self.programs[shape]

    def read_all(self) -> None:
        """Reads all figures that are still on the device."""
        while self.unread:
            self.log.read(*self.unread.popleft())

    def after_step(self, state: TrainState, batch: MicroBatch) -> None:
        """Evaluates and saves where it is due."""
        training = self.plan.config.training
        self.session.checkpoints.check()
        evaluates, saves = due_after(batch, training, self.plan.length)
        is_late = 0 < training.checkpoint_interval_minutes <= self.keeper.minutes_since_save()
        late = self.stopping.after_step(is_late=is_late)
        if evaluates or saves or late:
            self.read_all()
            with self.log.throughput.paused():
                self.keeper.save(state, self.keeper.evaluate(state) if evaluates else None)
