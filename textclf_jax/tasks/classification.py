"""Text classification: one label a text, or any number of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.ngrams import NO_NGRAMS, Keys, ngrams_of, padded_ngrams, restored_keys, tokens_read
from textclf_jax.kernels.precision import Precision
from textclf_jax.model.flops import classifier_flops
from textclf_jax.model.heads import SequenceClassifier
from textclf_jax.tasks.metrics import class_probabilities, classification_metrics, mean
from textclf_jax.tasks.multi_label import label_probabilities, multi_label_metrics
from textclf_jax.tasks.task import Arrays, gather_tokens
from textclf_jax.tasks.thresholds import Thresholds, choose_thresholds
from textclf_jax.tokenizer.loading import LoadedTokenizer


@dataclass(frozen=True)
class ClassificationTask:
    """Text classification.

    Attributes:
      config: of the run.
      tokenizer: the vocabulary.
      ngram_keys: of the n-grams that the linear path of the evaluated model reads; see `of_model`.
    """

    config: FinetuningConfig
    tokenizer: LoadedTokenizer
    ngram_keys: Keys | None = field(default=None, compare=False)

    def module(self, precision: Precision) -> SequenceClassifier:
        """See `Task`."""
        config = self.config
        return SequenceClassifier(config.architecture, config.classification_head, self.tokenizer.vocab_size, precision)

    def of_model(self, variables: Any) -> "ClassificationTask":
        """See `Task`."""
        if not self.config.classification_head.linear.enabled:
            return self
        return replace(self, ngram_keys=restored_keys(np.asarray(variables[LINEAR][LINEAR_PATH]["keys"])))

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...], *, train: bool = True) -> Arrays:
        """See `Task`; the arrays of `gather_tokens`, targets and weights [N], 0 for missing texts.

        Targets are [N] int32 classes; with several labels a text [N, C] float32, 0 or 1.
        For evaluation with a linear path also the `padded_ngrams` of the texts.
        """
        del seed
        size, real = self.config.training.batch_size, len(batch.rows)
        arrays = gather_tokens(data, batch, size, self.tokenizer.pad_id)
        targets, weights = self._no_targets(size), np.zeros(size, np.float32)
        if data is not None and data.labels is not None:
            targets[:real], weights[:real] = data.labels[batch.rows], 1.0
        arrays |= {"targets": targets, "weights": weights}
        if train or not self.config.classification_head.linear.enabled:
            return arrays
        counts = NO_NGRAMS
        if data is not None:
            assert self.ngram_keys is not None, "of_model"
            counts = ngrams_of(data, batch.rows, self.config.classification_head.linear, self.ngram_keys)
        return arrays | padded_ngrams(counts, size, self._most_ngrams(batch.shape[1]))

    def _most_ngrams(self, length: int) -> int:
        """The most n-grams of a text in a batch whose rows have `length` tokens."""
        linear, longest = self.config.classification_head.linear, self.config.architecture.max_sequence_length
        tokens = tokens_read(linear)
        # where the encoder's rows can be full, texts may go on beyond them
        return linear.max_n * (tokens if length >= longest else min(length, tokens))

    def _no_targets(self, size: int) -> np.ndarray:
        head = self.config.classification_head
        return np.zeros((size, head.num_labels), np.float32) if head.multi_label else np.zeros(size, np.int32)

    def flops(self, shape: tuple[int, int], *, train: bool, keys: int | None = None) -> int:
        """See `Task`."""
        texts, head = self.config.training.batch_size, self.config.classification_head
        return classifier_flops(self.config.architecture, head, *shape, texts, train=train, keys=keys)

    @property
    def hits_name(self) -> str:
        """See `Task`."""
        return "subset_accuracy" if self.config.classification_head.multi_label else "accuracy"

    def metrics(
        self,
        sums: dict[str, float],
        logits: np.ndarray,
        labels: np.ndarray | None,
        thresholds: Thresholds | None = None,
    ) -> dict[str, float]:
        """See `Task`; `classification_metrics`, or with several labels a text `multi_label_metrics`."""
        assert labels is not None
        loss = mean(sums["loss"], sums["count"])
        if self.config.classification_head.multi_label:
            return multi_label_metrics(logits, labels, loss=loss, thresholds=thresholds and thresholds.values)
        return classification_metrics(logits, labels, loss=loss)

    def thresholds(self, logits: np.ndarray, labels: np.ndarray | None) -> Thresholds | None:
        """See `Task`; `choose_thresholds`."""
        if labels is None or not self.config.classification_head.multi_label:
            return None
        return choose_thresholds(logits, labels)

    def probabilities(self, logits: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
        """Of every class: by softmax, so that they add up to 1, or with several labels a text each by itself."""
        if self.config.classification_head.multi_label:
            return label_probabilities(logits)
        return class_probabilities(logits)
