"""What a run keeps: the best model by validation, and checkpoints to resume from."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from textclf_jax.evaluation.confidence import stored_temperature
from textclf_jax.evaluation.evaluator import Evaluator, Outcome
from textclf_jax.evaluation.mixing import Weights, figures_of_parts, weights_in, with_weights
from textclf_jax.runs.checkpoint import save_model
from textclf_jax.runs.resuming import Position
from textclf_jax.runs.signals import Stopped
from textclf_jax.runtime.agreement import by_first
from textclf_jax.tasks.metrics import shown
from textclf_jax.training.early_stopping import count_evaluation, is_over
from textclf_jax.training.plan import Plan
from textclf_jax.training.session import Session
from textclf_jax.training.steps import TrainState

PROGRESS_METRICS = ("loss", "accuracy", "f1_micro", "f1_macro", "average_precision_macro")


@dataclass
class Keeper:
    """Evaluates a run, and saves what is to be kept of it.

    Attributes:
      plan, session: the run.
      position: saved with each checkpoint; its best score, and how long ago that was, are kept here.
      evaluator: for the validation split.
      best_metrics: of what is in `model.ckpt`, as far as it was evaluated by this process.
      weights: of encoder and linear path in the model, from the latest evaluation; None: those it has.
      is_warned: the user was told that a validation score was not finite.
      saved_at: when the last checkpoint was saved, on `time.monotonic`.
    """

    plan: Plan
    session: Session
    position: Position
    evaluator: Evaluator
    best_metrics: dict[str, float] | None = None
    weights: Weights | None = None
    is_warned: bool = False
    saved_at: float = field(default_factory=time.monotonic)

    def evaluate(self, state: TrainState) -> dict[str, Any] | None:
        """Evaluates on the validation split, if there is one.

        Returns:
          The metadata of the model if it is the best so far (or there is no split), and so to be kept; otherwise None.
          While no evaluation has had a finite score, the last model is kept.
          None, too, where a signal came: the evaluation is then due when the run is resumed.
        """
        p, place = self.position, self._place()
        if self.plan.val is None:
            return self._last_model(place)
        p.evaluation_due = True
        try:
            with self.session.stop.immediate():
                outcome = self.evaluator.outcome(state.variables, self.plan.val, fits_weights=True)
                metrics = self.evaluator.metrics(outcome)
        except Stopped:
            return None
        # what stops a run early must not differ between processes, whose CPUs may add up otherwise
        metrics = by_first(lambda: metrics)
        p.evaluation_due, self.weights = False, weights_in(metrics)
        self.session.logger.log("eval", metrics, **place)
        metric = self.plan.config.training.early_stopping.metric
        figures = "  ".join(f"{name} {metrics[name]:.4f}" for name in shown((*PROGRESS_METRICS, metric), metrics))
        self.session.progress.note(f"epoch {place['epoch']}, update {place['update']}: validation {figures}")
        if count_evaluation(p, metric, metrics):
            self.best_metrics = metrics
            best = {"which": "best", "metric": metric, "score": p.best_score}
            return {
                **(self.session.record | place | best | self._thresholds(outcome) | figures_of_parts(metrics)),
                **stored_temperature(outcome.logits, outcome.labels),
            }
        if math.isfinite(p.best_score):
            return None
        if not self.is_warned:
            name = metric if math.isfinite(metrics["loss"]) else "loss"
            self.session.progress.note(
                f"warning: the validation {name} is {metrics[name]}, so this model cannot be the best; until an "
                f"evaluation has a finite {name}, model.ckpt is the last model"
            )
        self.is_warned = True
        return self._last_model(place)

    def _thresholds(self, outcome: Outcome) -> dict[str, Any]:
        """What the metadata of the best model has of thresholds, if it has some; its metrics are then those by them."""
        thresholds = self.evaluator.task.thresholds(outcome.logits, outcome.labels)
        if thresholds is None:
            return {}
        self.best_metrics = self.evaluator.metrics(outcome, thresholds)
        return thresholds.stored()

    def _last_model(self, place: dict[str, int]) -> dict[str, Any]:
        return self.session.record | place | {"which": "last", "metric": None, "score": None}

    def stops_early(self) -> bool:
        """Whether training ends before its time, since the validation score has not become better for too long."""
        is_at_end = self.position.step >= self.plan.length.last_step
        return not is_at_end and is_over(self.position, self.plan.config.training.early_stopping)

    def why_stopped(self) -> dict[str, Any] | None:
        """Where and why training has ended before its time, for `summary.json`; None where it has not."""
        if not self.stops_early():
            return None
        metric, p = self.plan.config.training.early_stopping.metric, self.position
        best = f"than {p.best_score:.4g}" if math.isfinite(p.best_score) else "since none was finite"
        why = f"{p.without_better} evaluations in a row had no better validation {metric} {best}"
        return {**self._place(), "why": f"{why} (training.early_stopping)"}

    def _place(self) -> dict[str, int]:
        length, step = self.plan.length, self.position.step
        epoch = min((step - 1) // length.steps_per_epoch, length.epochs - 1) + 1
        return {"step": step, "update": step // length.accumulation, "epoch": epoch}

    def save(self, state: TrainState, model: dict[str, Any] | None = None) -> None:
        """Saves a checkpoint in the background, after the rows that belong to it.

        Args:
          state: what to save.
          model: the metadata of `model.ckpt`, which is then saved too, before the checkpoint.

        Raises:
          UserError: an earlier save has failed.
        """
        session, tokenizer, weights = self.session, self.plan.tokenizer, self.weights

        def before_save(host: TrainState) -> None:
            session.logger.sync()
            if model is not None:
                save_model(session.run_dir, with_weights(host.variables, weights), model, tokenizer.save)

        position = {**self.position.stored(), "fingerprint": self.plan.fingerprint()}
        session.checkpoints.save(self.position.step, state, position, before_save=before_save)
        self.saved_at = time.monotonic()

    def minutes_since_save(self) -> float:
        """Minutes since the last checkpoint, or the start of the run."""
        return (time.monotonic() - self.saved_at) / 60
