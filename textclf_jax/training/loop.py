"""The training loop: feeds compiled steps without waiting for them, evaluates, saves, stops where it is asked to."""

import math
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from textclf_jax.config import Training
from textclf_jax.data.collate import Batching
from textclf_jax.data.dataset import Dataset
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import Checkpoints, save_model
from textclf_jax.training.evaluation import Evaluator
from textclf_jax.training.groups import Group, grouped, on_device
from textclf_jax.training.logging import RunLogger
from textclf_jax.training.optimizer import TrainingLength
from textclf_jax.training.profiling import RunSteps, traced_steps
from textclf_jax.training.programs import Compiled, Programs, Shape
from textclf_jax.training.progress import Progress
from textclf_jax.training.signals import Stopped, StopRequest
from textclf_jax.training.steps import TrainState
from textclf_jax.training.stream import HostStep, prefetched, training_stream
from textclf_jax.training.tasks import Task
from textclf_jax.training.throughput import Throughput

MAX_SKIPPED_IN_A_ROW = 20


def read_behind() -> int:
    """How many groups of steps later figures are read than they were asked for: on a GPU, when they are long there.

    On a CPU a group is finished before the next one starts: memory of both would be held for a moment, and the time
    that the host takes in between is the CPU's in any case.
    """
    return 0 if jax.default_backend() == "cpu" else 3


class Due(NamedTuple):
    """What comes after a step."""

    evaluation: bool
    checkpoint: bool


def due_after(host: HostStep, training: Training, length: TrainingLength) -> Due:
    """What is due after a step by its number; a checkpoint can be due by the clock, too."""
    updates, rest = divmod(host.step + 1, length.accumulation)

    def is_due(interval_updates: int) -> bool:
        return interval_updates > 0 and rest == 0 and updates % interval_updates == 0

    evaluation = host.ends_epoch or is_due(training.eval_interval_updates)
    return Due(evaluation, is_due(training.checkpoint_interval_updates))


@dataclass
class Position:
    """Where a run is, beside the train state: all that its records depend on.

    Attributes:
      step: micro-batches seen.
      best_score: the lowest validation loss so far.
      loss, correct, count: sums since the last row of the log.
      skipped: micro-batches since the last row whose gradient was not finite.
      skipped_in_a_row: the latest uninterrupted run of them.
      evaluation_due: a signal came before the evaluation of this step was through.
    """

    step: int = 0
    best_score: float = math.inf
    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    evaluation_due: bool = False


@dataclass
class Loop:
    """Trains from a state to the end of the run, or to a request to stop.

    Attributes:
      task: MLM or classification.
      train, val: data; without val the last weights count as the best.
      batching: how texts become batches.
      programs: training steps.
      run_steps: what runs them, and profiles some where asked for.
      throughput: counts tokens, padding and FLOPs.
      evaluator: for the validation split.
      length: steps and updates of the run.
      logger, progress, checkpoints, stop: where results go, and the request to stop.
      run_dir: folder of the run.
      model_metadata, vocabulary: what goes into `model.ckpt` beside the arrays.
      fingerprint: of config and data, kept with each checkpoint.
    """

    task: Task
    train: Dataset
    val: Dataset | None
    batching: Batching
    programs: Programs
    run_steps: RunSteps
    throughput: Throughput
    evaluator: Evaluator
    length: TrainingLength
    logger: RunLogger
    progress: Progress
    checkpoints: Checkpoints
    stop: StopRequest
    run_dir: Path
    model_metadata: dict[str, Any]
    vocabulary: list[Path]
    fingerprint: dict[str, Any]

    def run(self, state: TrainState, position: Position) -> None:
        """Runs from `position`, while signals are deferred; `checkpoints` may still be writing the last state then.

        What was best is in `model.ckpt`.
        """
        self.position = position
        # of what is in `model.ckpt`, as far as it was evaluated here
        self.best_metrics: dict[str, float] | None = None
        self.unread: deque[tuple[Group, dict[str, jax.Array]]] = deque()
        self.saved_at = time.monotonic()
        if position.evaluation_due:
            self.save(state, self.evaluate(state))
        if not self.stop.signal:
            self.train_on(state)

    def train_on(self, state: TrainState) -> None:
        """Takes steps until the end or a request to stop, and saves the last state."""
        self.throughput.restart()
        first, training = self.position.step, self.task.config.training
        # the first one alone: its figures show that all is well
        pauses = {first + done for done in (1, *traced_steps(training.profile))}

        def ends_group(host: HostStep) -> bool:
            return host.step + 1 in pauses or any(due_after(host, training, self.length))

        stream = training_stream(self.task, self.train, self.batching, self.length, first)
        for group in prefetched(grouped(stream, self.throughput.least_seconds, ends_group), on_device):
            state, figures = self.run_steps(self.program(group.shape), state, group)
            self.unread.append((group, figures))
            if len(self.unread) > read_behind():
                self.read(*self.unread.popleft())
            self.after_step(state, group.hosts[-1])
            if self.stop.signal:
                break
        self.drain()
        if self.position.step != self.checkpoints.saved_step:
            self.save(state)

    def program(self, shape: Shape) -> Compiled:
        """The training steps on batches of a shape; the time of compiling them does not count as training."""
        if shape not in self.programs:
            self.drain()
            before = time.perf_counter()
            self.programs[shape]
            self.throughput.started += time.perf_counter() - before
        return self.programs[shape]

    def read(self, group: Group, figures: dict[str, jax.Array]) -> None:
        """Takes the figures of steps [G] from the device; time is divided equally between them."""
        read, seconds = jax.device_get(figures), self.throughput.lap() / len(group.hosts)
        for i, host in enumerate(group.hosts):
            self.throughput.add(host.shape, host.tokens, seconds)
            self.count(host, {name: float(values[i]) for name, values in read.items()})

    def count(self, host: HostStep, values: dict[str, float]) -> None:
        """Counts what one step has given, and writes a row where one is due."""
        p = self.position
        p.step = host.step + 1
        if values["skipped"]:
            p.skipped += 1
            p.skipped_in_a_row += 1
            if p.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                batch = host.step - host.epoch * self.length.steps_per_epoch + 1
                raise UserError(
                    f"the gradient was not finite {p.skipped_in_a_row} times in a row, up to step {p.step} (epoch "
                    f"{host.epoch + 1}, batch {batch}); the last checkpoint is from before. Lower training."
                    "learning_rate or set training.max_grad_norm, and start again."
                )
        else:
            p.skipped_in_a_row = 0
            p.loss, p.correct, p.count = (
                p.loss + values["loss"],
                p.correct + values["correct"],
                p.count + values["count"],
            )
        update = int(values["updates"])
        self.progress.update(
            update, loss=p.loss / max(p.count, 1.0), learning_rate=values["lr"], speed=self.throughput.speed()
        )
        interval = self.task.config.logging.log_interval_updates
        ends_window = (host.step + 1) % self.length.accumulation == 0
        if ends_window and (update % interval == 0 or update == self.length.updates):
            self.write_row(host, update, values)

    def write_row(self, host: HostStep, update: int, values: dict[str, float]) -> None:
        p = self.position
        place = {"step": p.step, "update": update, "epoch": host.epoch + 1}
        row = {
            "loss": p.loss / max(p.count, 1.0),
            "accuracy": p.correct / max(p.count, 1.0),
            "lr": values["lr"],
            "grad_norm": values["grad_norm"],
            "skipped_steps": p.skipped,
        }
        self.logger.log("train", row, **place)
        self.logger.log_throughput(self.throughput.speed().figures(), **place)
        p.loss = p.correct = p.count = 0.0
        p.skipped = 0
        self.throughput.forget()

    def drain(self) -> None:
        """Reads all figures that are still on the device."""
        while self.unread:
            self.read(*self.unread.popleft())

    def after_step(self, state: TrainState, host: HostStep) -> None:
        """Evaluates and saves where it is due."""
        training = self.task.config.training
        self.checkpoints.check()
        minutes = (time.monotonic() - self.saved_at) / 60
        evaluates, saves = due_after(host, training, self.length)
        if not (evaluates or saves or 0 < training.checkpoint_interval_minutes <= minutes):
            return
        self.drain()
        before = time.perf_counter()
        self.save(state, self.evaluate(state) if evaluates else None)
        self.throughput.started += time.perf_counter() - before

    def evaluate(self, state: TrainState) -> dict[str, Any] | None:
        """Evaluates on the validation split.

        Returns:
          The metadata of the model if it is the best so far (or there is no split), and so to be kept; otherwise None.
        """
        p, score = self.position, None
        epoch = min((p.step - 1) // self.length.steps_per_epoch, self.length.epochs - 1) + 1
        place = {"step": p.step, "update": int(state.opt_state.gradient_step), "epoch": epoch}
        if self.val is not None:
            p.evaluation_due = True
            try:
                with self.stop.immediate():
                    metrics = self.evaluator({"params": state.params, **state.collections}, self.val)
            except Stopped:
                return None
            p.evaluation_due = False
            self.logger.log("eval", metrics, **place)
            shown = "  ".join(f"{n} {metrics[n]:.4f}" for n in ("loss", "accuracy", "f1_macro") if n in metrics)
            self.progress.note(f"epoch {epoch}, update {place['update']}: validation {shown}")
            score = metrics["loss"]
            # a NaN never counts as an improvement
            if not score < p.best_score:
                return None
            p.best_score, self.best_metrics = score, metrics
        return self.model_metadata | place | {"which": "last" if score is None else "best", "score": score}

    def save(self, state: TrainState, model: dict[str, Any] | None = None) -> None:
        """Saves a checkpoint to resume from; before it the rows that belong to it, and a model with this metadata."""

        def first(host: TrainState) -> None:
            self.logger.sync()
            if model is not None:
                save_model(self.run_dir, {"params": host.params, **host.collections}, model, self.vocabulary)

        position = {**asdict(self.position), "fingerprint": self.fingerprint}
        self.checkpoints.save(self.position.step, state, position, first)
        self.saved_at = time.monotonic()
