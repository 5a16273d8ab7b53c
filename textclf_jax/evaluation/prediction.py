"""Predicting with a finished model: nothing but its `model.ckpt` folder is needed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.collate import BatchRows, Bucketed, choose_buckets
from textclf_jax.data.dataset import Dataset
from textclf_jax.errors import UserError
from textclf_jax.evaluation.evaluator import Evaluator, evaluation_program
from textclf_jax.kernels.precision import FULL
from textclf_jax.runs.checkpoint import load_model
from textclf_jax.runtime.programs import Compiled, Programs, Shape
from textclf_jax.tasks import ClassificationTask
from textclf_jax.tokenizer.loading import load_kept

BUCKETS = 2
TEXTS_AT_ONCE = 4096


class Prediction(NamedTuple):
    """What the model says of one text.

    Attributes:
      text: the text.
      label: name of the most probable class.
      probabilities: [C] of every class, in the order of `Predictor.labels`.
    """

    text: str
    label: str
    probabilities: Float[np.ndarray, " C"]

    @property
    def probability(self) -> float:
        """Of the label."""
        return float(self.probabilities.max())


class Predictor:
    """A trained classifier with its tokenizer. Programs are compiled when first needed.

    Attributes:
      labels: class names in the order of their numbers.
    """

    def __init__(self, folder: Path):
        """Loads a `model.ckpt` folder.

        Raises:
          UserError: it is missing, damaged, or no classifier.
        """
        saved = load_model(folder)
        sections = saved.metadata["config"]
        if "classification_head" not in sections:
            raise UserError(f"{folder}: this is a pretrained encoder, not a classifier. Finetune it first.")
        config = FinetuningConfig.model_validate(sections)
        self._tokenizer = load_kept(saved.vocab_dir, config.tokenizer)
        self._task = ClassificationTask(config, self._tokenizer)
        self._module = self._task.module(FULL)
        self._variables = saved.variables
        self._batch_size = config.training.batch_size
        self._programs = Programs("prediction", self._program)
        self._max_length = config.architecture.max_sequence_length
        self.labels: list[str] = saved.metadata["labels"]

    def __call__(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """Yields a prediction for each text, in order; texts longer than the model's maximum are cut."""
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = list(texts[start : start + TEXTS_AT_ONCE])
            for text, logits in zip(part, self._logits(part), strict=True):
                probabilities = np.exp(logits - logits.max())
                probabilities /= probabilities.sum()
                yield Prediction(text, self.labels[int(logits.argmax())], probabilities)

    def _program(self, shape: Shape) -> Compiled:
        empty = BatchRows(np.zeros(0, np.int64), shape)
        return evaluation_program(self._task, self._module, empty, self._variables)

    def _logits(self, texts: list[str]) -> Float[np.ndarray, "N C"]:
        ids, mask = self._tokenizer.encode_texts(texts, self._max_length)
        lengths = (~mask).sum(axis=1).astype(np.int32)
        data = Dataset(Path("texts"), ids, lengths, None, "", ())
        batching = Bucketed(self._batch_size, choose_buckets(lengths, self._max_length, BUCKETS))
        evaluator = Evaluator(self._task, self._programs, batching)
        logits = np.zeros((len(texts), len(self.labels)), np.float64)
        for batch, (_, batch_logits) in evaluator.results(self._variables, data):
            logits[batch.rows] = np.asarray(batch_logits)[: len(batch.rows)]
        return logits
