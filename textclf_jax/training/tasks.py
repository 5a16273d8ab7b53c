"""The two tasks, seen from the training loop: how rows become a batch, and how sums become metrics."""

from dataclasses import dataclass
from typing import Protocol

import flax.linen as nn
import numpy as np

from textclf_jax.config import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.data.collate import BatchRows
from textclf_jax.data.dataset import Dataset
from textclf_jax.data.masking import gather_predictions, max_predictions
from textclf_jax.data.packing import places_of_tokens, room_taken
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
        """The host arrays of one batch, of shapes that depend on its own alone; no texts without data."""
        ...

    def flops(self, shape: tuple[int, int], *, train: bool) -> int:
        """FLOPs of the matrix products of one step on a batch of a shape (B, L)."""
        ...

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        """The metrics of a whole split from its sums and, in the order of its rows, its logits and labels."""
        ...


def _gather(data: Dataset | None, batch: BatchRows, batch_size: int, pad_id: int) -> Arrays:
    """The tokens of a batch and where its texts are.

    Returns:
      input_ids [B, L] and lengths [batch_size] int32; missing texts have length 0. Where rows hold several texts also
      segments [B, L] (the number of the text, from 1; 0 at padding), position_ids [B, L] (from 0 in each text), and
      starts [batch_size] (places of first tokens; 0 for missing texts).
    """
    lengths = np.zeros(batch_size, np.int32)
    if data is None:
        arrays = {"input_ids": np.full(batch.shape, pad_id, np.int32), "lengths": lengths}
    else:
        lengths[: len(batch.rows)] = np.minimum(data.lengths[batch.rows], batch.shape[1])
        arrays = {"input_ids": data.take(batch, pad_id), "lengths": lengths}
    if batch.starts is not None:
        segments, position_ids = np.zeros(batch.shape, np.int32), np.zeros(batch.shape, np.int32)
        tokens = places_of_tokens(batch.starts, room_taken(lengths[: len(batch.rows)]))
        segments.reshape(-1)[tokens.place] = tokens.text + 1
        position_ids.reshape(-1)[tokens.place] = tokens.column
        starts = np.zeros(batch_size, np.int32)
        starts[: len(batch.rows)] = batch.starts
        arrays |= {"segments": segments, "position_ids": position_ids, "starts": starts}
    return arrays


def _padding(arrays: Arrays) -> np.ndarray:
    """[B, L] bool, True at padding."""
    if "segments" in arrays:
        return arrays["segments"] == 0
    return np.arange(arrays["input_ids"].shape[1]) >= arrays["lengths"][:, None]


@dataclass(frozen=True)
class MlmTask:
    """Masked language modelling: masks are drawn on the host, from a seed alone."""

    config: PretrainingConfig
    tokenizer: LoadedTokenizer

    def module(self, precision: Precision) -> nn.Module:
        return MaskedLanguageModel(self.config.architecture, self.config.mlm_head, self.tokenizer.vocab_size, precision)

    def batch(self, data: Dataset | None, batch: BatchRows, seed: tuple[int, ...]) -> Arrays:
        size, head = self.config.training.batch_size, self.config.mlm_head
        arrays = _gather(data, batch, size, self.tokenizer.pad_id)
        ids = arrays["input_ids"]
        labels = np.full(ids.shape, -100, np.int64)
        masking, choosing = np.random.SeedSequence(seed).spawn(2)
        if len(batch.rows):
            filled = len(batch.rows) if batch.starts is None else len(ids)
            padding = _padding(arrays)[:filled]
            ids[:filled], labels[:filled] = self.tokenizer.mask(ids[:filled], padding, head, masking)
        room = max_predictions(*batch.shape, head.mask_p)
        predictions = gather_predictions(labels, room, np.random.default_rng(choosing))
        return arrays | predictions._asdict()

    def flops(self, shape: tuple[int, int], *, train: bool) -> int:
        room = max_predictions(*shape, self.config.mlm_head.mask_p)
        return mlm_flops(self.config.architecture, self.tokenizer.vocab_size, *shape, room, train=train)

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
        arrays = _gather(data, batch, size, self.tokenizer.pad_id)
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        if data is not None and data.labels is not None:
            targets[:real], weights[:real] = data.labels[batch.rows], 1.0
        return arrays | {"targets": targets, "weights": weights}

    def flops(self, shape: tuple[int, int], *, train: bool) -> int:
        texts, head = self.config.training.batch_size, self.config.classification_head
        return classifier_flops(self.config.architecture, head, *shape, texts, train=train)

    def metrics(self, sums: dict[str, float], logits: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
        assert labels is not None
        return classification_metrics(logits, labels, loss=sums["loss"] / max(sums["count"], 1.0))


def make_task(config: RunConfig, tokenizer: LoadedTokenizer) -> Task:
    """The task that a configuration describes."""
    if isinstance(config, PretrainingConfig):
        return MlmTask(config, tokenizer)
    assert isinstance(config, FinetuningConfig)
    return ClassificationTask(config, tokenizer)
