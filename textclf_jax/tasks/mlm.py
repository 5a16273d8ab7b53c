"""Masked language modelling (MLM): predict the tokens that were masked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.constants import IGNORED_LABEL
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.masking import gather_predictions, max_predictions
from textclf_jax.kernels.precision import Precision
from textclf_jax.model.flops import mlm_flops
from textclf_jax.model.heads import MaskedLanguageModel
from textclf_jax.tasks.metrics import mlm_metrics
from textclf_jax.tasks.task import Arrays, gather_tokens, padding_of
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import LoadedTokenizer


@dataclass(frozen=True)
class MlmTask:
    """Masked language modelling. Masks are drawn on the host, from a seed alone.

    Attributes:
      config: of the run.
      tokenizer: vocabulary, and the function that masks.
    """

    config: PretrainingConfig
    tokenizer: LoadedTokenizer

    def module(self, precision: Precision) -> MaskedLanguageModel:
        """See `Task`."""
        return MaskedLanguageModel(self.config.architecture, self.config.mlm_head, self.tokenizer.vocab_size, precision)

    def of_model(self, variables: Any) -> "MlmTask":
        """See `Task`."""
        del variables
        return self

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...], *, train: bool = True) -> Arrays:
        """See `Task`; the arrays of `gather_tokens`, masked, and those of `Predictions`."""
        del train
        size, head = self.config.training.batch_size, self.config.mlm_head
        arrays = gather_tokens(data, batch, size, self.tokenizer.pad_id)
        ids = arrays["input_ids"]
        labels = np.full(ids.shape, IGNORED_LABEL, np.int64)
        masking, choosing = np.random.SeedSequence(seed).spawn(2)
        if len(batch.rows):
            filled = len(batch.rows) if batch.starts is None else len(ids)
            padding = padding_of(arrays)[:filled]
            ids[:filled], labels[:filled] = self.tokenizer.mask(ids[:filled], padding, head, masking)
        capacity = max_predictions(*batch.shape, head.mask_p)
        predictions = gather_predictions(labels, capacity, np.random.default_rng(choosing))
        return arrays | predictions._asdict()

    def flops(self, shape: tuple[int, int], *, train: bool, keys: int | None = None) -> int:
        """See `Task`."""
        capacity, architecture = max_predictions(*shape, self.config.mlm_head.mask_p), self.config.architecture
        return mlm_flops(architecture, self.tokenizer.vocab_size, *shape, capacity, train=train, keys=keys)

    @property
    def hits_name(self) -> str:
        """See `Task`."""
        return "accuracy"

    def metrics(
        self,
        sums: dict[str, float],
        logits: np.ndarray,
        labels: np.ndarray | None,
        thresholds: Thresholds | None = None,
    ) -> dict[str, float]:
        """See `Task`; `mlm_metrics`."""
        del logits, labels, thresholds
        return mlm_metrics(sums["loss"], sums["correct"], sums["count"])

    def thresholds(self, logits: np.ndarray, labels: np.ndarray | None) -> None:
        """See `Task`."""
        del logits, labels
