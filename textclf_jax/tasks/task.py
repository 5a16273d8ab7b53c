"""What every task has in common: its interface, and the arrays that say which tokens a batch holds."""

from typing import Any, Protocol

import flax.linen as nn
import numpy as np
from jaxtyping import Bool

from textclf_jax.config.schema import RunConfig
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.joining import spans_of
from textclf_jax.data.packing import token_places, tokens_taken
from textclf_jax.kernels.precision import Precision
from textclf_jax.tasks.thresholds import Thresholds

Arrays = dict[str, np.ndarray]

# The second number of a batch's seed: masks of evaluation are not those of training
TRAINING_MASKS, EVALUATION_MASKS = 1, 2


class Task(Protocol):
    """What training and evaluation ask of a task."""

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        ...

    def module(self, precision: Precision) -> nn.Module:
        """The model, computing in a precision."""
        ...

    def of_model(self, variables: Any) -> "Task":
        """The task for the evaluation of a model with these variables, which may tell what its batches hold."""
        ...

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...], *, train: bool = True) -> Arrays:
        """The host arrays of one batch.

        Args:
          data: where the texts are; None gives a batch without texts.
          batch: which texts, and the shape (B, L); on that and `has_spans` alone all shapes of the arrays depend.
          seed: of whatever is random in a batch.
          train: for a step of training, which takes nothing that is not trained.

        Returns:
          input_ids [B, L], lengths [N], targets and weights [P] or [N], and what else the model's `losses` takes.
        """
        ...

    def flops(self, shape: tuple[int, int], *, train: bool, keys: int | None = None) -> int:
        """FLOPs of the matrix products of one step on a batch of shape (B, L); `keys` of `Batching`."""
        ...

    @property
    def hits_name(self) -> str:
        """What the mean of the hits of `losses` is called."""
        ...

    def metrics(
        self,
        sums: dict[str, float],
        logits: np.ndarray,
        labels: np.ndarray | None,
        thresholds: Thresholds | None = None,
    ) -> dict[str, float]:
        """The metrics of a whole split.

        Args:
          sums: `loss`, `correct` and `count` over all its predictions.
          logits: [N, C] of a classifier, in the order of the rows; [0, 0] for MLM.
          labels: [N] true classes, or [N, C] of 0 and 1 with several labels a text; None for MLM.
          thresholds: from which several labels a text are predicted; None: 0.5.
        """
        ...

    def thresholds(self, logits: np.ndarray, labels: np.ndarray | None) -> Thresholds | None:
        """The thresholds that fit a validation split; None unless a text can have several labels.

        Arguments as for `metrics`.
        """
        ...


def gather_tokens(data: Dataset | None, batch: BatchRows, batch_size: int, pad_id: int) -> Arrays:
    """The tokens of a batch and where its texts are.

    Args:
      data: where the texts are, or None for a batch without texts.
      batch: which texts, and the shape (B, L).
      batch_size: N, the most texts of a batch; missing texts have length 0.
      pad_id: the id of PAD.

    Returns:
      input_ids [B, L] and lengths [N] int32. Where rows hold several texts also segments [B, L] (the number of the
      text, from 1; 0 at padding), position_ids [B, L] (from 0 in each text), and starts [N] (places of first tokens; 0
      for missing texts). With `has_spans` also `Spans`.
    """
    lengths = np.zeros(batch_size, np.int32)
    if data is None:
        arrays = {"input_ids": np.full(batch.shape, pad_id, np.int32), "lengths": lengths}
    else:
        lengths[: len(batch.rows)] = np.minimum(data.lengths[batch.rows], batch.shape[1])
        arrays = {"input_ids": data.take(batch, pad_id), "lengths": lengths}
    if batch.starts is None:
        return arrays
    segments, position_ids = np.zeros(batch.shape, np.int32), np.zeros(batch.shape, np.int32)
    tokens = token_places(batch.starts, tokens_taken(lengths[: len(batch.rows)]))
    segments.reshape(-1)[tokens.place] = tokens.text + 1
    position_ids.reshape(-1)[tokens.place] = tokens.column
    starts = np.zeros(batch_size, np.int32)
    starts[: len(batch.rows)] = batch.starts
    arrays |= {"segments": segments, "position_ids": position_ids, "starts": starts}
    if not batch.has_spans:
        return arrays
    return arrays | spans_of(batch, tokens_taken(lengths[: len(batch.rows)]), batch_size)._asdict()


def padding_of(arrays: Arrays) -> Bool[np.ndarray, "B L"]:
    """Where a batch from `gather_tokens` is padding."""
    if "segments" in arrays:
        return arrays["segments"] == 0
    return np.arange(arrays["input_ids"].shape[1]) >= arrays["lengths"][:, None]
