"""The log of a training: what steps have given becomes rows, and a line for the person who waits."""

from dataclasses import dataclass
from typing import Any

import jax

from textclf_jax.errors import UserError
from textclf_jax.observe.throughput import Throughput
from textclf_jax.runs.resuming import Position
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
        p, update = self.position, int(values["updates"])
        p.step = batch.step + 1
        if values["skipped"]:
            self._count_skipped(batch)
        else:
            p.skipped_in_a_row = 0
            p.loss += values["loss"]
            p.correct += values["correct"]
            p.count += values["count"]
        speed = self.throughput.speed()
        self.session.progress.update(update, loss=p.loss / max(p.count, 1.0), learning_rate=values["lr"], speed=speed)
        interval = self.plan.config.logging.log_interval_updates
        ends_window = p.step % self.plan.length.accumulation == 0
        if ends_window and (update % interval == 0 or update == self.plan.length.updates):
            self._write_row(batch, update, values)

    def _count_skipped(self, batch: MicroBatch) -> None:
        p = self.position
        p.skipped += 1
        p.skipped_in_a_row += 1
        if p.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            number = batch.step - batch.epoch * self.plan.length.steps_per_epoch + 1
            raise UserError(
                f"the gradient was not finite {p.skipped_in_a_row} times in a row, up to step {p.step} (epoch "
                f"{batch.epoch + 1}, batch {number}); the last checkpoint is from before. Lower training."
                "learning_rate or set training.max_grad_norm, and start again."
            )

    def _write_row(self, batch: MicroBatch, update: int, values: dict[str, float]) -> None:
        p, logger = self.position, self.session.logger
        place = {"step": p.step, "update": update, "epoch": batch.epoch + 1}
        row = {
            "loss": p.loss / max(p.count, 1.0),
            "accuracy": p.correct / max(p.count, 1.0),
            "lr": values["lr"],
            "grad_norm": values["grad_norm"],
            "skipped_steps": p.skipped,
        }
        logger.log("train", row, **place)
        logger.log_throughput(self.throughput.speed().figures(), **place)
        p.loss = p.correct = p.count = 0.0
        p.skipped = 0
        self.throughput.forget()
