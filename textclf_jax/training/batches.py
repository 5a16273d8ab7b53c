"""The training batches of a whole run: a function of (seed, step), across epochs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from textclf_jax.data.collate import Batching, BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.tasks.task import TRAINING_MASKS, Task
from textclf_jax.training.class_weights import class_weights
from textclf_jax.training.schedule import TrainingLength


class MicroBatch(NamedTuple):
    """One batch, and its place in the run.

    Attributes:
      step: its number, from 0.
      epoch: its epoch, from 0.
      ends_epoch: whether it is the last of its epoch.
      shape: (B, L), padding included.
      tokens: real tokens in it.
      arrays: what the compiled step takes: those of `Task.batch`, and `scale` () float32.
    """

    step: int
    epoch: int
    ends_epoch: bool
    shape: tuple[int, int]
    tokens: int
    arrays: dict[str, Any]


def training_batches(
    task: Task, data: Dataset, batching: Batching, length: TrainingLength, start: int
) -> Iterator[MicroBatch]:
    """Yields the batches of a run from step `start` on.

    The scale of each micro-batch makes k accumulated ones give the gradient of the one big batch, however unequal their
    counts; with class weights a text counts as its class does. A last incomplete window is filled with empty batches,
    so that its update happens (not in the reference's variant, which drops it and averages the means of micro-batches).

    Args:
      task: makes the arrays of a batch.
      data: the training split.
      batching: which texts go together.
      length: of the run.
      start: the first step to yield.
    """
    k, window, weights = length.accumulation, [], class_weights(task.config, data)
    end = length.last_step
    planned: tuple[int, list[BatchRows]] = (-1, [])
    for step in range(start // k * k, end):
        epoch, index = divmod(step, length.steps_per_epoch)
        if step >= length.steps:
            epoch, texts, rows = length.epochs - 1, None, batching.empty(batching.shapes[0])
        else:
            if planned[0] != epoch:
                planned = epoch, plan_epoch(task, data, batching, epoch)
            texts, rows = data, planned[1][index]
        arrays = task.batch(texts, rows, (task.config.experiment.seed, TRAINING_MASKS, epoch, index))
        # the last epoch ends with the last update, after the empty batches
        ends_epoch = step == end - 1 or (step + 1 < length.steps and index == length.steps_per_epoch - 1)
        window.append(MicroBatch(step, epoch, ends_epoch, rows.shape, int(arrays["lengths"].sum()), arrays))
        if len(window) == k or step == end - 1:
            _set_scales(window, k, length.variant, weights)
            yield from (batch for batch in window if batch.step >= start)
            window = []


def plan_epoch(task: Task, data: Dataset, batching: Batching, epoch: int) -> list[BatchRows]:
    """Which texts form the batches of one epoch of training."""
    config = task.config
    return batching.epoch(data.lengths, seed=config.experiment.seed, epoch=epoch, shuffle=config.data.train.shuffle)


def _set_scales(window: list[MicroBatch], k: int, variant: str, by_class: Float[np.ndarray, " C"] | None) -> None:
    counts = [_total_weight(batch.arrays, by_class) for batch in window]
    total = sum(counts)
    for batch, count in zip(window, counts, strict=True):
        # batches without texts have no weight
        whole, parts = (count, 1) if variant == "reference" else (total, k)
        batch.arrays["scale"] = np.float32(parts / whole if whole else parts)


def _total_weight(arrays: dict[str, Any], by_class: Float[np.ndarray, " C"] | None) -> float:
    """What the predictions of a batch count in the mean of its window."""
    weights = arrays["weights"]
    return float((weights if by_class is None else weights * by_class[arrays["targets"]]).sum())
