"""The two tasks, seen from the training loop: how rows become a batch, and how sums become metrics."""

from dataclasses import dataclass
from typing import Protocol

import flax.linen as nn
import numpy as np

from textclf_jax.config import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.masking import gather_predictions, max_predictions
from textclf_jax.model.flops import classifier_flops, mlm_flops
from textclf_jax.model.heads import MaskedLanguageModel, TextClassifier
from textclf_jax.model.precision import Precision
from textclf_jax.tokenizer.loading import LoadedTokenizer
from textclf_jax.training.metrics import classification_metrics, mlm_metrics

Arrays = dict[str, np.ndarray]


class Task(Protocol):
    """What the loop asks of a task."""

    @property
    def config(self) -> RunConfig: ...

    def module(self, precision: Precision) -> nn.Module:
        """The model, computing in a precision."""
        ...

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...]) -> Arrays:
        """The host arrays of one batch, of shapes that depend on its length alone; all empty rows without data."""
        ...

    def flops(self, length: int, *, train: bool) -> int:
        """FLOPs of the matrix products of one step on a batch padded to `length`."""
        ...

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        """The metrics of a whole split from its sums and, in the order of its rows, its logits and labels."""
        ...


def _gather(data: Dataset | None, batch: BatchRows, batch_size: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """input_ids [batch_size, L] and lengths [batch_size] int32 of a batch's rows; missing rows have length 0."""
    lengths = np.zeros(batch_size, np.int32)
    if data is None:
        return np.full((batch_size, batch.length), pad_id, np.int32), lengths
    lengths[: len(batch.rows)] = np.minimum(data.lengths[batch.rows], batch.length)
    return data.take(batch.rows, batch_size, batch.length, pad_id), lengths


@dataclass(frozen=True)
class MlmTask:
    """Masked language modelling: masks are drawn on the host, from a seed alone."""

    config: PretrainingConfig
    tokenizer: LoadedTokenizer

    def module(self, precision: Precision) -> nn.Module:
        return MaskedLanguageModel(self.config.architecture, self.config.mlm_head, self.tokenizer.vocab_size, precision)

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...]) -> Arrays:
        size, head = self.config.training.batch_size, self.config.mlm_head
        ids, lengths = _gather(data, batch, size, self.tokenizer.pad_id)
        labels = np.full(ids.shape, -100, np.int64)
        masking, choosing = np.random.SeedSequence(seed).spawn(2)
        if real := len(batch.rows):
            padding = np.arange(batch.length) >= lengths[:real, None]
            ids[:real], labels[:real] = self.tokenizer.mask(ids[:real], padding, head, masking)
        room = max_predictions(size, batch.length, head.mask_p)
        predictions = gather_predictions(labels, room, np.random.default_rng(choosing))
        return {"input_ids": ids, "lengths": lengths, **predictions._asdict()}

    def flops(self, length: int, *, train: bool) -> int:
        size, vocab_size = self.config.training.batch_size, self.tokenizer.vocab_size
        room = max_predictions(size, length, self.config.mlm_head.mask_p)
        return mlm_flops(self.config.architecture, vocab_size, size, length, room, train=train)

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        del logits, labels
        return mlm_metrics(sums["loss"], sums["correct"], sums["count"])


@dataclass(frozen=True)
class ClassificationTask:
    """Text classification."""

    config: FinetuningConfig
    tokenizer: LoadedTokenizer

    def module(self, precision: Precision) -> nn.Module:
        config = self.config
        return TextClassifier(config.architecture, config.classification_head, self.tokenizer.vocab_size, precision)

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...]) -> Arrays:
        del seed
        size, real = self.config.training.batch_size, len(batch.rows)
        ids, lengths = _gather(data, batch, size, self.tokenizer.pad_id)
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        if data is not None and data.labels is not None:
            targets[:real], weights[:real] = data.labels[batch.rows], 1.0
        return {"input_ids": ids, "lengths": lengths, "targets": targets, "weights": weights}

    def flops(self, length: int, *, train: bool) -> int:
        size, head = self.config.training.batch_size, self.config.classification_head
        return classifier_flops(self.config.architecture, head, size, length, train=train)

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        assert labels is not None
        return classification_metrics(logits, labels, loss=sums["loss"] / max(sums["count"], 1.0))


def make_task(config: RunConfig, tokenizer: LoadedTokenizer) -> Task:
    """The task that a configuration describes."""
    if isinstance(config, PretrainingConfig):
        return MlmTask(config, tokenizer)
    assert isinstance(config, FinetuningConfig)
    return ClassificationTask(config, tokenizer)
