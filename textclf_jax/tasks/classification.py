"""Text classification: one label a text."""

from dataclasses import dataclass

import numpy as np

from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.kernels.precision import Precision
from textclf_jax.model.flops import classifier_flops
from textclf_jax.model.heads import TextClassifier
from textclf_jax.tasks.metrics import classification_metrics, mean
from textclf_jax.tasks.task import Arrays, gather_tokens
from textclf_jax.tokenizer.loading import LoadedTokenizer


@dataclass(frozen=True)
class ClassificationTask:
    """Text classification.

    Attributes:
      config: of the run.
      tokenizer: the vocabulary.
    """

    config: FinetuningConfig
    tokenizer: LoadedTokenizer

    def module(self, precision: Precision) -> TextClassifier:
        """See `Task`."""
        config = self.config
        return TextClassifier(config.architecture, config.classification_head, self.tokenizer.vocab_size, precision)

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...]) -> Arrays:
        """See `Task`; the arrays of `gather_tokens`, targets [N] int32, and weights [N], 0 for missing texts."""
        del seed
        size, real = self.config.training.batch_size, len(batch.rows)
        arrays = gather_tokens(data, batch, size, self.tokenizer.pad_id)
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        if data is not None and data.labels is not None:
            targets[:real], weights[:real] = data.labels[batch.rows], 1.0
        return arrays | {"targets": targets, "weights": weights}

    def flops(self, shape: tuple[int, int], *, train: bool) -> int:
        """See `Task`."""
        texts, head = self.config.training.batch_size, self.config.classification_head
        return classifier_flops(self.config.architecture, head, *shape, texts, train=train)

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        """See `Task`; `classification_metrics`."""
        assert labels is not None
        return classification_metrics(logits, labels, loss=mean(sums["loss"], sums["count"]))
