"""Evaluates a whole split: compiled steps, sums added on the host, one division at the end."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from textclf_jax.data.collate import Batching, BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.training.programs import Programs
from textclf_jax.training.stream import EVALUATION_MASKS, prefetched
from textclf_jax.training.tasks import Task


@dataclass(frozen=True)
class Evaluator:
    """Evaluates parameters on splits with programs compiled before.

    Attributes:
      task: MLM or classification.
      programs: evaluation steps.
      batching: how texts become batches.
    """

    task: Task
    programs: Programs
    batching: Batching

    def __call__(self, variables: Any, data: Dataset) -> dict[str, float]:
        """Computes the metrics of a split. The masks of MLM are the same each time."""
        sums: dict[str, float] = {"loss": 0.0, "correct": 0.0, "count": 0.0}
        rows: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        for batch, (batch_sums, batch_logits) in self.results(variables, data):
            for name in sums:
                sums[name] += float(batch_sums[name])
            if data.labels is not None:
                rows.append(batch.rows)
                logits.append(np.asarray(batch_logits)[: len(batch.rows)])
        if data.labels is None:
            return self.task.metrics(sums, np.zeros((0, 0)), None)
        return self.task.metrics(sums, np.concatenate(logits), data.labels[np.concatenate(rows)])

    def results(self, variables: Any, data: Dataset):
        """Yields each batch with its sums and logits, one batch behind the device."""
        seed, plans = self.task.config.experiment.seed, self.batching.evaluation(data.lengths)

        def prepare(item: tuple[int, BatchRows]):
            index, batch = item
            return batch, jax.device_put(self.task.batch(data, batch, (seed, EVALUATION_MASKS, index)))

        waiting = None
        for batch, arrays in prefetched(enumerate(plans), prepare):
            result = self.programs[batch.shape](variables, arrays)
            if waiting:
                yield waiting
            waiting = batch, result
        if waiting:
            yield waiting
