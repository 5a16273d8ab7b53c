"""Text classification: one label a text."""

from dataclasses import dataclass

import numpy as np

from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import NO_NGRAMS, ngrams_of, padded_ngrams, tokens_read
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

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...], *, train: bool = True) -> Arrays:
        """See `Task`; the arrays of `gather_tokens`, targets [N] int32, and weights [N], 0 for missing texts.

        For evaluation with a linear path also the `padded_ngrams` of the texts.
        """
        del seed
        size, real = self.config.training.batch_size, len(batch.rows)
        arrays = gather_tokens(data, batch, size, self.tokenizer.pad_id)
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        if data is not None and data.labels is not None:
            targets[:real], weights[:real] = data.labels[batch.rows], 1.0
        arrays |= {"targets": targets, "weights": weights}
        if train or not self.config.classification_head.linear.enabled:
            return arrays
        counts = NO_NGRAMS if data is None else ngrams_of(data, batch.rows, self.config.classification_head.linear)
        return arrays | padded_ngrams(counts, size, self._most_ngrams(batch.shape[1]))

    def _most_ngrams(self, length: int) -> int:
        """The most n-grams of a text in a batch whose rows have `length` tokens."""
        linear, longest = self.config.classification_head.linear, self.config.architecture.max_sequence_length
        tokens = tokens_read(linear)
        # where the encoder's rows can be full, texts may go on beyond them
        return linear.max_n * (tokens if length >= longest else min(length, tokens))

    def flops(self, shape: tuple[int, int], *, train: bool) -> int:
        """See `Task`."""
        texts, head = self.config.training.batch_size, self.config.classification_head
        return classifier_flops(self.config.architecture, head, *shape, texts, train=train)

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        """See `Task`; `classification_metrics`."""
        assert labels is not None
        return classification_metrics(logits, labels, loss=mean(sums["loss"], sums["count"]))
