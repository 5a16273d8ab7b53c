"""What a run keeps: the best model by validation, and checkpoints to resume from."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.evaluation.mixing import Weights, figures_of_parts, weights_in, with_weights
from textclf_jax.runs.checkpoint import save_model
from textclf_jax.runs.resuming import Position
from textclf_jax.runs.signals import Stopped
from textclf_jax.training.plan import Plan
from textclf_jax.training.session import Session
from textclf_jax.training.steps import TrainState

PROGRESS_METRICS = ("loss", "accuracy", "f1_macro")


@dataclass
class Keeper:
    """Evaluates a run, and saves what is to be kept of it.

    Attributes:
      plan, session: the run.
      position: saved with each checkpoint; its best score is kept here.
      evaluator: for the validation split.
      best_metrics: of what is in `model.ckpt`, as far as it was evaluated by this process.
      weights: of encoder and linear path in the model, from the latest evaluation; None: those it has.
      is_warned: the user was told that a validation loss was not finite.
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
          While no evaluation has had a finite loss, the last model is kept.
          None, too, where a signal came: the evaluation is then due when the run is resumed.
        """
        p, place = self.position, self._place(state)
        if self.plan.val is None:
            return self.session.record | place | {"which": "last", "score": None}
        p.evaluation_due = True
        try:
            with self.session.stop.immediate():
                metrics = self.evaluator(state.variables, self.plan.val, fits_weights=True)
        except Stopped:
            return None
        p.evaluation_due, self.weights = False, weights_in(metrics)
        self.session.logger.log("eval", metrics, **place)
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in PROGRESS_METRICS if name in metrics)
        self.session.progress.note(f"epoch {place['epoch']}, update {place['update']}: validation {shown}")
        score = metrics["loss"]
        # a NaN never counts as an improvement
        if not score < p.best_score:
            return self._last_model(place, score) if math.isinf(p.best_score) else None
        p.best_score, self.best_metrics = score, metrics
        return self.session.record | place | {"which": "best", "score": score} | figures_of_parts(metrics)

    def _last_model(self, place: dict[str, int], score: float) -> dict[str, Any]:
        if not self.is_warned:
            self.session.progress.note(
                f"warning: the validation loss is {score}, so this model cannot be the best; until an evaluation has a "
                "finite loss, model.ckpt is the last model"
            )
        self.is_warned = True
        return self.session.record | place | {"which": "last", "score": None}

    def _place(self, state: TrainState) -> dict[str, int]:
        length, step = self.plan.length, self.position.step
        epoch = min((step - 1) // length.steps_per_epoch, length.epochs - 1) + 1
        return {"step": step, "update": int(state.opt_state.gradient_step), "epoch": epoch}

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
