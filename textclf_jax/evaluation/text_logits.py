"""The logits of texts. Those of a text are the same to the bit, whatever other texts are asked for with it.

The shape that a text is padded to depends on its length alone. On CPUs, moreover, each text has an iteration of its own
within the program: XLA vectorises loops across rows there, and computes the ends of loops otherwise, so that the last
bit would depend on a text's place in its batch.
"""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from textclf_jax.data.collate import BatchRows, bucket_of
from textclf_jax.data.dataset import Dataset, WholeRows
from textclf_jax.evaluation.mixing import mix, weights_of
from textclf_jax.kernels.backend import platform
from textclf_jax.model.heads import Batch, SequenceClassifier, forward
from textclf_jax.runtime.programs import Compiled, Programs, Shape, compiled, shapes_of
from textclf_jax.tasks import ClassificationTask

CPU_ROWS = 32  # texts of a call on a CPU: cores take a call each, and missing texts cost nothing
TOKENS = 16_384  # of a call elsewhere, with padding, or as many as training had


def logits_one_by_one(variables: PyTree, batch: Batch, count: Int[Array, ""], *, module: SequenceClassifier) -> Array:
    """Runs the model without dropout on one text of a batch after the other.

    Args:
      variables: of the model.
      batch: arrays whose first axis tells B texts apart.
      count: the texts there are; further rows are not computed.
      module: the model.

    Returns:
      [B, C] logits, or with a linear path [B, 2, C]; 0 in further rows.
    """

    def visit(row: Array, found: Array) -> Array:
        one = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), batch)
        logits = logits_together(variables, one, count, module=module)
        return jax.lax.dynamic_update_slice_in_dim(found, logits, row, 0)

    parts = (2,) if "ngram_ids" in batch else ()
    size, classes = batch["lengths"].shape[0], module.head.num_labels
    return jax.lax.fori_loop(jnp.int32(0), count, visit, jnp.zeros((size, *parts, classes), jnp.float32))


def logits_together(variables: PyTree, batch: Batch, count: Int[Array, ""], *, module: SequenceClassifier) -> Array:
    """What `logits_one_by_one` computes, but of all texts at once."""
    del count
    logits = forward(module, variables, batch, train=False)[1]
    assert logits is not None, "of a classifier"
    return logits


def prediction_program(
    task: ClassificationTask, module: SequenceClassifier, empty: BatchRows, variables: PyTree, *, one_by_one: bool
) -> Compiled:
    """Compiles a classifier for a shape of batches.

    Args:
      task: makes the arrays of a batch; its batch size is that of the batch.
      module: the model.
      empty: a batch without texts, of the shape to compile for.
      variables: of the model.
      one_by_one: whether each text is computed by itself.

    Returns:
      program(variables, batch, count) -> logits.
    """
    step = functools.partial(logits_one_by_one if one_by_one else logits_together, module=module)
    batch = task.batch(None, empty, (0,), train=False)
    return compiled(step, shapes_of(variables), shapes_of(batch), shapes_of(np.int32(0)), name="predict")


class TextLogits:
    """A classifier as a function from rows of token ids to logits. Threads may share it.

    Attributes:
      buckets: the lengths that texts are padded to, increasing; the last is the model's maximum.
    """

    def __init__(
        self,
        task: ClassificationTask,
        module: SequenceClassifier,
        variables: PyTree,
        buckets: tuple[int, ...],
        *,
        batched: bool = False,
    ):
        """Compiles nothing yet.

        Args:
          task: makes the arrays of batches.
          module: the model.
          variables: its variables.
          buckets: see the attribute.
          batched: on a CPU, too, texts are computed together: then the last bit may depend on the other texts.
        """
        self._task, self._module, self._variables = task.of_model(variables), module, variables
        self.buckets = buckets
        self._weights = weights_of(variables) if task.config.classification_head.linear.enabled else None
        self._programs = Programs("prediction", self._compile)
        self._one_by_one = platform() == "cpu" and not batched
        # on a GPU, one prepares the arrays of a batch while the other waits for the device
        self._threads = _cores() if platform() == "cpu" else 2

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes (B, L) that batches of texts can have; each has a program."""
        return tuple((self._rows_of(length), length) for length in self.buckets)

    def compile(self, shape: Shape) -> None:
        """Compiles the program for a shape now, if it is not there yet."""
        self._programs.compile(shape)

    def __call__(self, rows: WholeRows, whole: WholeRows) -> Float[np.ndarray, "N C"]:
        """Computes float64 logits.

        Args:
          rows: what the encoder reads of N texts.
          whole: what the linear path reads of them.
        """
        data = Dataset(Path("texts"), rows.input_ids, rows.lengths, None, "", (), whole=whole)
        logits = np.zeros((len(rows.lengths), self._task.config.classification_head.num_labels), np.float64)
        batches = list(self._batches(rows.lengths))
        if len(batches) <= 1 or self._threads == 1:
            results = map(functools.partial(self._run, data), batches)
            for batch, found in zip(batches, results, strict=True):
                logits[batch.rows] = found
            return logits
        with ThreadPoolExecutor(min(self._threads, len(batches)), "prediction") as pool:
            for batch, found in zip(batches, pool.map(functools.partial(self._run, data), batches), strict=True):
                logits[batch.rows] = found
        return logits

    def _batches(self, lengths: Int[np.ndarray, " N"]) -> Iterator[BatchRows]:
        """Texts of one bucket together: which one depends on the text alone."""
        of_text = np.array([bucket_of(length, self.buckets) for length in range(self.buckets[-1] + 1)])[lengths]
        for bucket in np.unique(of_text).tolist():
            rows, size = np.flatnonzero(of_text == bucket), self._rows_of(bucket)
            for start in range(0, len(rows), size):
                yield BatchRows(rows[start : start + size], (size, bucket))

    def _run(self, data: Dataset, batch: BatchRows) -> Float[np.ndarray, "rows C"]:
        arrays = self._task_of(batch.shape).batch(data, batch, (0,), train=False)
        count = len(batch.rows)
        found = np.asarray(self._programs[batch.shape](self._variables, arrays, np.int32(count)))[:count]
        return found if self._weights is None else mix(found, self._weights)

    def _rows_of(self, length: int) -> int:
        if platform() == "cpu":
            return CPU_ROWS
        training = self._task.config.training.batch_size * self.buckets[-1]
        return max(TOKENS, training) // length

    def _task_of(self, shape: Shape) -> ClassificationTask:
        config = self._task.config
        training = config.training.model_copy(update={"batch_size": shape[0]})
        return replace(self._task, config=config.model_copy(update={"training": training}))

    def _compile(self, shape: Shape) -> Compiled:
        empty = BatchRows(np.zeros(0, np.int64), shape)
        task = self._task_of(shape)
        return prediction_program(task, self._module, empty, self._variables, one_by_one=self._one_by_one)


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    count = len(affinity(0)) if affinity else os.cpu_count()
    return 1 if count is None else count
