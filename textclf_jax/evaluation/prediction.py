"""Predicting with a finished model: nothing but its `model.ckpt` folder is needed."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.config.file import config_of
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.collate import BatchRows, Bucketed
from textclf_jax.data.dataset import Dataset, WholeRows
from textclf_jax.data.ngrams import tokens_read
from textclf_jax.errors import UserError, listed
from textclf_jax.evaluation.evaluator import Evaluator, evaluation_program, predicts
from textclf_jax.evaluation.mixing import mix, weights_of
from textclf_jax.kernels.precision import FULL
from textclf_jax.prepare.report import NUM_SPECIAL
from textclf_jax.runs.checkpoint import load_model, save_model
from textclf_jax.runtime.device import on_any_device, set_up_device
from textclf_jax.runtime.programs import Compiled, Programs, Shape
from textclf_jax.tasks import ClassificationTask
from textclf_jax.tasks.confidence import Abstention, temperature_of
from textclf_jax.tasks.multi_label import predicted_labels
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import load_kept
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

TEXTS_AT_ONCE = 4096
UNKNOWN_TOKENS = ("[UNK]", "<unk>")
FRAME_TOKENS = ("[CLS]", "[SEP]", "<s>", "</s>")  # that a tokenizer may set around a text


class Prediction(NamedTuple):
    """What the model says of one text.

    Attributes:
      text: the text.
      label: name of the most probable class.
      probabilities: [C] of every class, in the order of `Predictor.labels`.
      is_empty: whether the text has no token, so that this is what the model says of nothing.
      is_cut: whether the text has more tokens than any part of the model reads, so that its end was not read.
      is_cut_for_one: whether one part of the model did not read its end, but the other one did.
      is_unknown: whether more than half of the tokens that were read are [UNK], so that little of the text was seen.
      is_unsure: whether the model says "don't know" instead of the label, to keep to the limit on its errors.
      several: where a text can have several labels, the classes whose probability reaches their threshold, in the order
        of `Predictor.labels`; None where it has one.
    """

    text: str
    label: str
    probabilities: Float[np.ndarray, " C"]
    is_empty: bool = False
    is_cut: bool = False
    is_unknown: bool = False
    is_cut_for_one: bool = False
    is_unsure: bool = False
    several: tuple[str, ...] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all classes that are predicted; none where the model is unsure."""
        if self.several is not None:
            return self.several
        return () if self.is_unsure else (self.label,)

    @property
    def probability(self) -> float:
        """Of the label."""
        return float(self.probabilities.max())


def buckets_up_to(max_length: int) -> tuple[int, ...]:
    """The lengths that texts are padded to, whatever texts there are: 16, 24, 32, 48, 64, 96 ... and `max_length`."""
    ladder = (length for exponent in count() for length in (16 << exponent, 24 << exponent))
    below = []
    while (length := next(ladder)) < max_length:
        below.append(length)
    return (*below, max_length)


class Predictor:
    """A trained classifier with its tokenizer. Programs are compiled when first needed, and kept for later processes.

    Threads may share it: each program is compiled once.

    Attributes:
      labels: class names in the order of their numbers.
      multi_label: whether a text can have several labels, or none.
      abstention: when the model says "don't know"; None: never.
      max_length: tokens of a text that the encoder reads at most, those around it included.
      reads: the same of each part: the encoder, and the linear path where there is one.
      tokenizer: that came with the model.
    """

    def __init__(self, folder: Path):
        """Loads a `model.ckpt` folder.

        Raises:
          UserError: it is missing, damaged, or no classifier.
        """
        saved, self._folder = load_model(folder), folder
        self._metadata = saved.metadata
        config = config_of(saved.metadata["config"])
        if not isinstance(config, FinetuningConfig):
            raise UserError(f"{folder}: this is a pretrained encoder, not a classifier. Finetune it first.")
        config = on_any_device(config)
        set_up_device(config.training.model_copy(update={"device": "auto", "use_amp": False}))
        self.tokenizer = load_kept(saved.vocab_dir, config.tokenizer)
        # the tokens around a text; a wrapper of the user's may add none
        self._frame = NUM_SPECIAL if self.tokenizer.source is None else 0
        tokens = self.tokenizer.tokens or ()
        self._unk_id = next((tokens.index(token) for token in UNKNOWN_TOKENS if token in tokens), None)
        self._frame_ids = [tokens.index(token) for token in FRAME_TOKENS if token in tokens]
        self._task = ClassificationTask(config, self.tokenizer)
        self._module = self._task.module(FULL)
        self._variables = jax.device_put(saved.variables)
        self._batch_size = config.training.batch_size
        self._programs = Programs("prediction", self._program)
        # nothing is known of the code of a user's class
        self._encoding = nullcontext() if self.tokenizer.source is None else threading.Lock()
        self.multi_label = config.classification_head.multi_label
        thresholds = Thresholds.of_model(saved.metadata)
        self._thresholds = None if thresholds is None else thresholds.values
        # a text with several labels has thresholds instead
        self._temperature = temperature_of(saved.metadata)
        self.abstention = Abstention.of_model(saved.metadata)
        self.max_length = self._columns = config.architecture.max_sequence_length
        self.reads = {"encoder": self.max_length}
        if config.classification_head.linear.enabled:
            self.reads["linear path"] = tokens_read(config.classification_head.linear)
            # a text that is cut ends as those did that the linear path was fitted to
            self._columns = saved.metadata["data"]["train"]["columns"]
        self.labels: list[str] = saved.metadata["labels"]
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"{folder}: several of its classes have one name ({listed(self.labels)}). Import it again.")

    def __call__(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """Yields a prediction for each text, in order; texts longer than the model's maximum are cut."""
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = list(texts[start : start + TEXTS_AT_ONCE])
            rows, whole = self.encode(part)
            ids, lengths = rows
            every_logits = self.logits(rows, whole)
            probabilities = self._task.probabilities(every_logits)
            cut_by_part = [
                self._find_cut(part, read.lengths, limit)
                for read, limit in zip((rows, whole), self.reads.values(), strict=False)
            ]
            cut_for_all, cut_for_any = set.intersection(*cut_by_part), set.union(*cut_by_part)
            unknown = self._mostly_unknown(ids, lengths)
            for i, (text, row) in enumerate(zip(part, probabilities, strict=True)):
                is_empty = not text.strip() or int(lengths[i]) <= self._frame
                label = self.labels[int(every_logits[i].argmax())]  # probabilities round to equal ones
                cut = i in cut_for_all, i in cut_for_any - cut_for_all
                unsure = self.abstention is not None and row.max() <= self.abstention.threshold
                marks = is_empty, cut[0], bool(unknown[i]), cut[1], unsure
                yield Prediction(text, label, row, *marks, self._several(row))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes (B, L) that batches of texts can have; each has a program."""
        return tuple((self._batch_size, length) for length in buckets_up_to(self.max_length))

    def compile(self, shape: Shape) -> None:
        """Compiles the program for a shape now, if it is not there yet."""
        self._programs.compile(shape)

    def save(self, run_dir: Path) -> Path:
        """Writes the model into a folder, as `model.ckpt`, and returns its path; see `save_model`."""
        return save_model(run_dir, self._variables, self._metadata, self.tokenizer.save)

    def _several(self, probabilities: Float[np.ndarray, " C"]) -> tuple[str, ...] | None:
        if not self.multi_label:
            return None
        return tuple(self.labels[i] for i in np.flatnonzero(predicted_labels(probabilities, self._thresholds)))

    def explain_unknown(self, texts: Sequence[str]) -> str:
        """Says why words of `texts` are [UNK], a sentence; "" of a wrapper of the user's, which does not tell."""
        wrapper = getattr(self.tokenizer, "wrapper", None)
        return wrapper.explain_unknown(texts).causes() if isinstance(wrapper, WordPieceTokenizerWrapper) else ""

    def _program(self, shape: Shape) -> Compiled:
        empty = BatchRows(np.zeros(0, np.int64), shape)
        return evaluation_program(self._task, self._module, empty, self._variables)

    def encode(self, texts: list[str]) -> tuple[WholeRows, WholeRows]:
        """The rows of texts that the encoder reads, and those that the linear path reads (the same without one)."""
        rows = self._encode(texts, self.max_length)
        return rows, rows if self._columns == self.max_length else self._encode(texts, self._columns)

    def _encode(self, texts: list[str], length: int) -> WholeRows:
        with self._encoding:
            ids, mask = self.tokenizer.encode_texts(texts, length)
        return WholeRows(ids, (~mask).sum(axis=1).astype(np.int32))

    def _find_cut(self, texts: list[str], lengths: Int[np.ndarray, " N"], limit: int) -> set[int]:
        """Which texts have more tokens than `limit`: of those that fill such a row, the ones that fill a longer one."""
        full = np.flatnonzero(lengths >= limit).tolist()
        if not full:
            return set()
        longer = self._encode([texts[i] for i in full], limit + 1).lengths
        return {i for i, length in zip(full, longer, strict=True) if length > limit}

    def _mostly_unknown(self, ids: Int[np.ndarray, "N L"], lengths: Int[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """Whether more than half of each text's tokens are [UNK]; a wrapper of the user's may not tell its id."""
        if self._unk_id is None:
            return np.zeros(len(ids), bool)
        is_token = np.arange(ids.shape[1]) < lengths[:, None]
        is_ordinary = is_token & ~np.isin(ids, self._frame_ids)
        return 2 * (is_token & (ids == self._unk_id)).sum(axis=1) > is_ordinary.sum(axis=1)

    def logits(self, rows: WholeRows, whole: WholeRows) -> Float[np.ndarray, "N C"]:
        """The logits of texts, divided by the temperature.

        Args:
          rows, whole: what encoder and linear path read of them; see `encode`.

        Raises:
          UserError: the model gives NaN or infinity.
        """
        ids, lengths = rows
        data = Dataset(Path("texts"), ids, lengths, None, "", (), whole=whole)
        batching = Bucketed(self._batch_size, buckets_up_to(self.max_length))
        evaluator = Evaluator(self._task, self._programs, batching)
        logits = np.zeros((len(ids), len(self.labels)), np.float64)
        for batch, (_, batch_logits) in evaluator.results(self._variables, data):
            given = np.asarray(batch_logits)[: len(batch.rows)]
            logits[batch.rows] = mix(given, weights_of(self._variables)) if given.ndim == 3 else given
        if not predicts(logits):
            raise UserError(
                f"{self._folder}: this model gives NaN or infinity: its training went wrong. Train it again."
            )
        return logits / self._temperature
