"""How many predictions an evaluation will rest on: known before training, since masks are drawn from the seed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.errors import UserError
from textclf_jax.tasks.mlm import MlmTask
from textclf_jax.tasks.task import EVALUATION_MASKS, TRAINING_MASKS, Task
from textclf_jax.training.plan import Plan

ENOUGH = 1000  # so many are counted; the rest is estimated from them
FEW = 100  # an accuracy from fewer is uncertain by 10 percentage points or more, in 95 of 100 cases
NONE_BY_CHANCE = 20  # where so many masked tokens are expected and there is none, chance is not the cause
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


class PredictionCount(NamedTuple):
    """The number of predictions that the figures of a split rest on; `is_exact` unless it is estimated."""

    count: int
    is_exact: bool

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.count:,}"
        digits = 1 - math.floor(math.log10(self.count))
        return f"about {int(round(self.count, digits)):,}"


def count_predictions(plan: Plan) -> dict[str, PredictionCount]:
    """The predictions of the first epoch of training, and of each evaluation of the other splits."""
    task, seed, counts = plan.task, plan.config.experiment.seed, {}
    for name, data in plan.splits.items():
        if name == "train":
            batches, prefix = plan.epoch(0), (seed, TRAINING_MASKS, 0)
        else:
            batches, prefix = plan.eval_batching.evaluation(data.lengths), (seed, EVALUATION_MASKS)
        counts[name] = _count(task, data, batches, prefix)
    return counts


def _count(task: Task, data: Dataset, batches: list[BatchRows], seed: tuple[int, ...]) -> PredictionCount:
    if data.labels is not None:
        return PredictionCount(len(data), is_exact=True)
    total = int(data.lengths.sum())
    found = seen = 0
    # in any order but theirs, which may be by length
    for index in np.random.default_rng(0).permutation(len(batches)):
        arrays = task.batch(data, batches[index], (*seed, int(index)))
        found, seen = found + int(arrays["weights"].sum()), seen + int(arrays["lengths"].sum())
        if found >= ENOUGH and seen < total:
            return PredictionCount(round(found * total / seen), is_exact=False)
    return PredictionCount(found, is_exact=True)


def require_training_predictions(plan: Plan, counts: dict[str, PredictionCount]) -> None:
    """Raises UserError where no token is predicted in any epoch of training.

    Masks are drawn until there is one, or until so many were expected that there will be none.
    """
    task, data = plan.task, plan.train
    if counts["train"].count or not isinstance(task, MlmTask):
        return
    expected = _expected(task, data)
    for epoch in range(1, plan.length.epochs):
        if epoch * expected >= ENOUGH:
            break
        batches = plan.epoch(epoch)
        if _count(task, data, batches, (plan.config.experiment.seed, TRAINING_MASKS, epoch)).count:
            return
    remedy = "Put more text into it, or set mlm_head.mask_p to a higher share."
    raise UserError(
        f"{data.path}: none of its {int(data.lengths.sum()):,} tokens is masked in any epoch, so there is nothing to "
        f"learn. {why_nothing_is_masked(task, data) or remedy}"
    )


def require_validation_predictions(plan: Plan, counts: dict[str, PredictionCount]) -> None:
    """Raises UserError where training is to stop by the validation score and no token is predicted there."""
    patience = plan.config.training.early_stopping.patience
    if plan.val is not None and patience and not counts["val"].count:
        raise UserError(
            f"{plan.val.path}: none of its {int(plan.val.lengths.sum()):,} tokens is masked, so there is no score that "
            f"training.early_stopping.patience {patience} could wait for. Put more text into it, or set patience to 0."
        )


def _expected(task: MlmTask, data: Dataset) -> float:
    """How many tokens of a split are masked, on average; 0 where nothing tells which are special."""
    return task.config.mlm_head.mask_p * (data.num_words or 0)


def why_nothing_is_masked(task: Task, data: Dataset) -> str:
    """The cause, where no token of a split is masked and that is no chance; empty otherwise."""
    if not isinstance(task, MlmTask) or (expected := _expected(task, data)) < NONE_BY_CHANCE:
        return ""
    return (
        f"{task.tokenizer.source}: mask_input_for_mlm chooses none of them to predict, where about {expected:,.0f} are "
        f"expected (mlm_head.mask_p {task.config.mlm_head.mask_p:g} of {data.num_words:,} ordinary tokens). A label is "
        "the id that was there, at each token that is to be predicted."
    )


def prediction_facts(plan: Plan, counts: dict[str, PredictionCount]) -> list[tuple[str, str]]:
    """A line for each held-out split whose predictions are masked tokens; others have one a row."""
    masked = [name for name, data in plan.splits.items() if name != "train" and data.labels is None]
    return [(f"{name} predictions", f"{counts[name]} masked tokens, the same in each evaluation") for name in masked]


def prediction_warnings(plan: Plan, counts: dict[str, PredictionCount]) -> Iterable[str]:
    """Lines on the splits whose figures rest on few predictions, or on none."""
    for name, (count, _) in counts.items():
        data, split = plan.splits[name], f"warning: the {SPLIT_NAMES[name]} split is"
        remedy = f"Put more text into {data.path}."
        if not count:
            draws = f"none of its {int(data.lengths.sum()):,} tokens is masked"
            if cause := why_nothing_is_masked(plan.task, data):
                yield f"{split} without predictions: {draws}{_without_any(name)} {cause}"
            else:
                yield f"{split} too small: {draws}{_without_any(name)} {remedy}"
        elif name != "train" and count < FEW:
            unit = "masked tokens" if data.labels is None else "rows"
            yield f"{split} small: its figures rest on {count} {unit}, and so on chance. {remedy}"


def _without_any(name: str) -> str:
    return {
        "train": " in the first epoch, so nothing is learned there.",
        "val": ", so there is no validation loss, and no best model: the last one is kept.",
        "test": ", so the test will have no loss.",
    }[name]
