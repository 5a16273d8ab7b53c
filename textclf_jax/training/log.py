"""The log of a training: what steps have given becomes rows, and a line for the person who waits."""

from dataclasses import dataclass
from typing import Any

import jax

from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.errors import UserError
from textclf_jax.observe.throughput import Throughput
from textclf_jax.runs.resuming import Position
from textclf_jax.runtime.memory import peak_memory_mb
from textclf_jax.tasks.metrics import mean
from textclf_jax.training.batches import MicroBatch
from textclf_jax.training.plan import Plan
from textclf_jax.training.session import Session

MAX_SKIPPED_IN_A_ROW = 20


@dataclass
class TrainingLog:
    """Adds up the figures of steps and writes a row each `log_interval_updates` updates.

    Attributes:
      plan: of the run.
      session: where rows and progress go.
      position: its step and sums are kept here.
      throughput: counts tokens, padding and FLOPs.
    """

    plan: Plan
    session: Session
    position: Position
    throughput: Throughput

    def read(self, batch: MicroBatch, figures: dict[str, Any]) -> None:
        """Takes the figures of a step from the device (which waits for it), and writes a row where one is due.

        Args:
          batch: of the step.
          figures: of `train_step`, on the device.

        Raises:
          UserError: too many gradients in a row were not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(figures).items()}
        self.throughput.add(batch.shape, batch.tokens)
        p = self.position
        p.step = batch.step + 1
        if values["skipped"]:
            self._count_skipped(batch)
        else:
            p.skipped_in_a_row = 0
            p.loss += values["loss"]
            p.correct += values["correct"]
            p.count += values["count"]
        update, rest = divmod(p.step, self.plan.length.accumulation)
        speed = self.throughput.speed()
        self.session.progress.update(update, loss=mean(p.loss, p.count), learning_rate=values["lr"], speed=speed)
        is_due = update % self.plan.config.logging.log_interval_updates == 0
        # a row whose steps were all skipped has no loss: it waits for the next one, unless it is the last
        if rest == 0 and (update == self.plan.length.updates or (is_due and p.count > 0)):
            self._write_row(batch, update, values)

    def _count_skipped(self, batch: MicroBatch) -> None:
        p = self.position
        p.skipped += 1
        p.skipped_in_a_row += 1
        if p.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            number = batch.step - batch.epoch * self.plan.length.steps_per_epoch + 1
            raise UserError(
                f"the gradient was not finite {p.skipped_in_a_row} times in a row, up to step {p.step} (epoch "
                f"{batch.epoch + 1}, batch {number}); the last checkpoint is from before. {self._remedy()}"
            )

    def _remedy(self) -> str:
        """What helps where gradients are not finite. The run itself cannot go on with other values of its config."""
        training = self.plan.config.training
        norm = f"lower training.max_grad_norm ({training.max_grad_norm:g})"
        if not training.max_grad_norm:
            norm = "set training.max_grad_norm to 1"
        remedy = f"Lower training.learning_rate ({training.learning_rate:g}) or {norm}, and start over with --fresh"
        if isinstance(self.plan.config, PretrainingConfig) and self.session.checkpoints.saved_step:
            path = f"training.resume.path={self.session.run_dir}"
            return f"{remedy}; or go on in a new experiment with {path} and training.resume.weights_only=false."
        return f"{remedy}."

    def _write_row(self, batch: MicroBatch, update: int, values: dict[str, float]) -> None:
        p, logger = self.position, self.session.logger
        place = {"step": p.step, "update": update, "epoch": batch.epoch + 1}
        row = {
            "loss": mean(p.loss, p.count),
            self.plan.task.hits_name: mean(p.correct, p.count),
            "lr": values["lr"],
            "grad_norm": values["grad_norm"],
            "skipped_steps": p.skipped,
        }
        logger.log("train", row, **place)
        speed = self.throughput.speed().figures()
        if (peak := peak_memory_mb()) is not None:
            speed["peak_memory_mb"] = peak
        logger.log_throughput(speed, **place)
        p.loss = p.correct = p.count = 0.0
        p.skipped = 0
        self.throughput.forget()
