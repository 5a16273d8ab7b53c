"""Which evaluation is the best of a run, and when there has been no better one for too long."""

import math
from collections.abc import Mapping
from typing import Any

from textclf_jax.config.scores import EarlyStopping, is_lower_better
from textclf_jax.runs.resuming import Position


def count_evaluation(position: Position, metric: str, metrics: Mapping[str, float]) -> bool:
    """Takes an evaluation into the position of a run: the best score so far, and how many evaluations ago it was.

    Args:
      position: is changed.
      metric: `training.early_stopping.metric`.
      metrics: of the evaluation.

    Returns:
      Whether this is the best evaluation so far. Of equal scores the one with the lower loss is, then the earlier. An
      evaluation whose score or loss is not finite never is.
    """
    score, loss = metrics[metric], metrics["loss"]
    has_best = math.isfinite(position.best_score)
    finite = math.isfinite(score) and math.isfinite(loss)
    lower = score < position.best_score
    better = finite and (not has_best or (lower if is_lower_better(metric) else score > position.best_score))
    # the counter is of the score alone: where it is flat, a loss that still falls is no reason to go on
    position.without_better = 0 if better else position.without_better + 1
    tie = finite and score == position.best_score and loss < position.best_loss
    if better or tie:
        position.best_score, position.best_loss = score, loss
    return better or tie


def is_over(position: Position, settings: EarlyStopping) -> bool:
    """Whether so many evaluations in a row had no better score that training stops."""
    return 0 < settings.patience <= position.without_better


def decided_by(metadata: Mapping[str, Any]) -> str | None:
    """The metric that a saved model is the best by; None where it is not the best, or an imported one."""
    # a model from when it was always the loss does not say so
    return None if metadata.get("score") is None else metadata.get("metric", "loss")
