"""Evaluates a whole split: compiled steps, sums added on the host, one division at the end."""

import functools
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from textclf_jax.constants import LINEAR
from textclf_jax.data.collate import Batching, BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.prefetch import prefetched
from textclf_jax.evaluation.mixing import PART_NAMES, fit_weights, mixture, weights_of
from textclf_jax.model.heads import Batch, Sums, forward
from textclf_jax.runtime.programs import Compiled, Programs, compiled, shapes_of
from textclf_jax.runtime.sharding import ONE_DEVICE, Placement, put_together
from textclf_jax.tasks.task import EVALUATION_MASKS, Task
from textclf_jax.tasks.thresholds import Thresholds


def evaluation_step(variables: PyTree, batch: Batch, *, module: nn.Module) -> tuple[Sums, Array | None]:
    """Runs the model without dropout: the sums of `forward`, and a classifier's logits (None for MLM).

    Logits are [N, C]; with a linear path, the `log_scores` of both parts [N, 2, C].
    """
    return forward(module, put_together(variables), batch, train=False)


def evaluation_program(
    task: Task, module: nn.Module, empty: BatchRows, variables: PyTree, placement: Placement = ONE_DEVICE
) -> Compiled:
    """Compiles the evaluation step of a model.

    Args:
      task: makes the arrays of a batch.
      module: the model.
      empty: a batch without texts, of the shape to compile for.
      variables: of the model, or their shapes and dtypes.
      placement: where variables and batches will lie.

    Returns:
      program(variables, batch) -> (sums, logits).
    """
    step = functools.partial(evaluation_step, module=module)
    batch = placement.of_batch(shapes_of(task.batch(None, empty, (0,), train=False)))
    variables = placement.of_state(shapes_of(variables))
    return compiled(step, variables, batch, mesh=placement.mesh, results=placement.everywhere)


def predicts(logits: Float[np.ndarray, "N C"]) -> bool:
    """Whether logits of a model say anything: NaN or infinity among them is the mark of training that went wrong."""
    return bool(np.isfinite(logits).all())


class Outcome(NamedTuple):
    """What a model gives on a split, from which a task computes metrics.

    Attributes:
      sums: of `forward`, over all batches.
      logits: [N, C] of a classifier, all NaN where the model does not predict; [0, 0] for MLM.
      labels: [N] or [N, C] of the same rows; None for MLM.
      of_parts: the metrics of encoder and linear path, where there are both.
      parts: [N, 2, C] the `log_scores` of both; None without a linear path, and where the model does not predict.
    """

    sums: dict[str, float]
    logits: np.ndarray
    labels: np.ndarray | None
    of_parts: Mapping[str, float] = MappingProxyType({})
    parts: np.ndarray | None = None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates variables on splits.

    Attributes:
      task: MLM or classification.
      programs: evaluation steps by shape.
      batching: plans the batches of a split.
      placement: the devices that the programs are for.
      after_batch: called after each batch; what it raises ends the evaluation.
    """

    task: Task
    programs: Programs
    batching: Batching
    placement: Placement = ONE_DEVICE
    after_batch: Callable[[], None] = lambda: None

    def __call__(self, variables: PyTree, data: Dataset, thresholds: Thresholds | None = None) -> dict[str, float]:
        """Computes the task's metrics of all rows of a split; the same masks each time."""
        return self.metrics(self.outcome(variables, data), thresholds)

    def metrics(self, outcome: Outcome, thresholds: Thresholds | None = None) -> dict[str, float]:
        """The task's metrics, and those of the parts."""
        return {**self.task.metrics(*outcome[:3], thresholds), **outcome.of_parts}

    def predicted(self, variables: PyTree, data: Dataset) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"] | None]:
        """The class that a classifier predicts for each row of a split, -1 for all where it does not predict.

        Then that by its linear path alone; None where it has none.
        """
        outcome, has_linear_path = self.outcome(variables, data), LINEAR in variables
        if not predicts(outcome.logits):
            nothing = np.full(len(data), -1, np.int64)
            return nothing, nothing if has_linear_path else None
        parts = outcome.parts
        by_linear_path = None if parts is None else parts[:, PART_NAMES.index("linear")].argmax(axis=-1)
        return outcome.logits.argmax(axis=-1), by_linear_path

    def outcome(self, variables: PyTree, data: Dataset, *, fits_weights: bool = False) -> Outcome:
        """Runs the model on all rows of a split; the same masks each time.

        Args:
          variables: of the model.
          data: the split.
          fits_weights: weights of encoder and linear path are those that fit this split, and not the model's. They are
            among `of_parts`. Nothing changes for a model without a linear path.
        """
        sums, scores = self.scores(variables, data)
        if data.labels is None:
            return Outcome(sums, np.zeros((0, 0)), None)
        assert scores is not None
        does_predict = predicts(scores)
        if not does_predict:
            scores = np.full_like(scores, np.nan)
        if scores.ndim == 2:
            return Outcome(sums, scores, data.labels)
        weights = fit_weights(scores, data.labels) if fits_weights else weights_of(variables)
        mixed = mixture(scores, data.labels, weights)
        sums = sums | {"loss": mixed.loss * sums["count"]}
        return Outcome(sums, mixed.logits, data.labels, mixed.metrics, scores if does_predict else None)

    def scores(self, variables: PyTree, data: Dataset) -> tuple[dict[str, float], np.ndarray | None]:
        """Runs the model on all rows of a split; the same masks each time.

        Returns:
          The sums of `forward`; and of a classifier the logits [N, C], with a linear path the `log_scores` [N, 2, C].
        """
        sums: dict[str, float] = defaultdict(float)
        rows, found = [], []
        for batch, (batch_sums, batch_logits) in self.results(variables, data):
            for name, value in jax.device_get(batch_sums).items():
                sums[name] += float(value)
            if batch_logits is not None:
                rows.append(batch.rows)
                found.append(np.asarray(batch_logits)[: len(batch.rows)])
        if not found:
            return sums, None
        scores = np.empty((len(data), *found[0].shape[1:]), found[0].dtype)
        scores[np.concatenate(rows)] = np.concatenate(found)
        return sums, scores

    def results(self, variables: PyTree, data: Dataset) -> Generator[tuple[BatchRows, tuple[Sums, Array | None]]]:
        """Yields each batch with its sums and logits; meanwhile the device works on the next one."""
        task = self.task.of_model(variables)
        # once, where they are in the host's memory, and not for each batch
        variables = self.placement.put_state(variables)
        seed, plans = task.config.experiment.seed, self.batching.evaluation(data.lengths)

        def prepare(item: tuple[int, BatchRows]) -> tuple[BatchRows, Batch]:
            index, batch = item
            arrays = task.batch(data, batch, (seed, EVALUATION_MASKS, index), train=False)
            return batch, self.placement.put_batch(arrays)

        previous = None
        with closing(prefetched(enumerate(plans), prepare)) as batches:
            for batch, arrays in batches:
                result = self.programs[batch.shape](variables, arrays)
                self.after_batch()
                if previous:
                    yield previous
                previous = batch, result
        if previous:
            yield previous
