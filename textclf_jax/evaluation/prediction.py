"""Predicting with a finished model: nothing but its `model.ckpt` folder is needed."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.config.file import config_of
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.agreement import check_vocabularies
from textclf_jax.data.beside import read_beside
from textclf_jax.data.content import SpecialTokens
from textclf_jax.data.dataset import Dataset, WholeRows, load_dataset
from textclf_jax.data.ngrams import tokens_read
from textclf_jax.data.torch_files import release_memory
from textclf_jax.errors import UserError, listed
from textclf_jax.evaluation.evaluator import predicts
from textclf_jax.evaluation.text_logits import TextLogits
from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.precision import FULL
from textclf_jax.prepare.report import NUM_SPECIAL
from textclf_jax.runs.checkpoint import load_model, save_model
from textclf_jax.runtime.device import compute_precision, on_any_device, set_up_device
from textclf_jax.runtime.programs import Shape
from textclf_jax.tasks import ClassificationTask
from textclf_jax.tasks.confidence import Abstention, temperature_of
from textclf_jax.tasks.multi_label import predicted_labels
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import load_kept
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

MOST_AT_ONCE, FEWEST_AT_ONCE = 4096, 64  # texts; on a GPU, which takes many at a time, four times as many
IDS_AT_ONCE = 1 << 21  # of all texts that are read at once, with padding
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


class ReadTexts(NamedTuple):
    """Texts as the model reads them.

    Attributes:
      texts: N of them; "" where they are not known.
      are_blank: whether each has nothing to read.
      rows: what the encoder reads.
      whole: what the linear path reads; the same where there is none.
      cut_for_all, cut_for_one: the texts whose end no part of the model reads, and those whose end one of two reads.
    """

    texts: list[str]
    are_blank: list[bool]
    rows: WholeRows
    whole: WholeRows
    cut_for_all: set[int]
    cut_for_one: set[int]


def _with_cuts(
    texts: list[str], are_blank: list[bool], rows: WholeRows, whole: WholeRows, cut_by_part: list[set[int]]
) -> ReadTexts:
    """Texts that were read; `cut_by_part` are those whose end each part of the model does not read."""
    for_all = set.intersection(*cut_by_part)
    return ReadTexts(texts, are_blank, rows, whole, for_all, set.union(*cut_by_part) - for_all)


def buckets_up_to(max_length: int) -> tuple[int, ...]:
    """The lengths that texts are padded to, whatever texts there are: 16, 24, 32, 48, 64, 96 ... and `max_length`."""
    ladder = (length for exponent in count() for length in (16 << exponent, 24 << exponent))
    below = []
    while (length := next(ladder)) < max_length:
        below.append(length)
    return (*below, max_length)


class Predictor:
    """A trained classifier with its tokenizer. Programs are compiled when first needed, and kept for later processes.

    Threads may share it: each program is compiled once. What it says of a text does not depend on other texts, to the
    bit; see `TextLogits`.

    Attributes:
      labels: class names in the order of their numbers.
      multi_label: whether a text can have several labels, or none.
      abstention: when the model says "don't know"; None: never.
      max_length: tokens of a text that the encoder reads at most, those around it included.
      reads: the same of each part: the encoder, and the linear path where there is one.
      tokenizer: that came with the model.
    """

    def __init__(self, folder: Path, *, full_precision: bool = False, batched: bool = False):
        """Loads a `model.ckpt` folder.

        Args:
          folder: it.
          full_precision: computes in float32; otherwise as training does on this device, see `compute_precision`.
          batched: faster on a CPU for short texts, but the last bit of an answer may depend on the other texts.

        Raises:
          UserError: it is missing, damaged, or no classifier.
        """
        saved, self._folder = load_model(folder), folder
        self._metadata = saved.metadata
        config = config_of(saved.metadata["config"])
        if not isinstance(config, FinetuningConfig):
            raise UserError(f"{folder}: this is a pretrained encoder, not a classifier. Finetune it first.")
        config = on_any_device(config)
        set_up_device(config.training.model_copy(update={"device": "auto"}))
        self.tokenizer = load_kept(saved.vocab_dir, config.tokenizer)
        # the tokens around a text; a wrapper of the user's may add none
        self._frame = NUM_SPECIAL if self.tokenizer.source is None else 0
        tokens = self.tokenizer.tokens or ()
        self._unk_id = next((tokens.index(token) for token in UNKNOWN_TOKENS if token in tokens), None)
        self._frame_ids = [tokens.index(token) for token in FRAME_TOKENS if token in tokens]
        self._task = ClassificationTask(config, self.tokenizer)
        self._variables = jax.device_put(saved.variables)
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
        module = self._task.module(FULL if full_precision else compute_precision(config.training))
        self._logits = TextLogits(self._task, module, self._variables, buckets_up_to(self.max_length), batched=batched)
        self.labels: list[str] = saved.metadata["labels"]
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"{folder}: several of its classes have one name ({listed(self.labels)}). Import it again.")

    def __call__(self, texts: Sequence[str]) -> Iterator[Prediction]:
        """Yields a prediction for each text, in order; texts longer than the model's maximum are cut."""
        for start in range(0, len(texts), self.at_once):
            yield from self.answers(self.read(list(texts[start : start + self.at_once])))

    @property
    def at_once(self) -> int:
        """How many texts are best read and answered together: many, but not more than memory is to hold."""
        most = MOST_AT_ONCE * (1 if platform() == "cpu" else 4)
        return min(max(IDS_AT_ONCE // self.max_length, FEWEST_AT_ONCE), most)

    def read(self, texts: list[str]) -> ReadTexts:
        """Encodes texts; what takes long in it runs beside other threads."""
        rows, whole = self.encode(texts)
        cut_by_part = [
            self._find_cut(texts, read.lengths, limit)
            for read, limit in zip((rows, whole), self.reads.values(), strict=False)
        ]
        return _with_cuts(texts, [not text.strip() for text in texts], rows, whole, cut_by_part)

    def read_encoded(self, data: Dataset, start: int) -> ReadTexts:
        """Rows of token ids from row `start` on, as many as are best answered together."""
        part, whole = slice(start, start + self.at_once), data.whole
        assert whole is not None, "load_encoded"
        ids, lengths = np.array(whole.input_ids[part]), whole.lengths[part]
        release_memory(whole.input_ids[part])
        rows, count = WholeRows(ids, np.minimum(lengths, self.max_length)), len(ids)
        cut_by_part = [set(np.flatnonzero(lengths > limit).tolist()) for limit in self.reads.values()]
        return _with_cuts([""] * count, [False] * count, rows, WholeRows(ids, lengths), cut_by_part)

    def load_encoded(self, path: Path) -> Dataset:
        """Loads and checks a file of token ids; its labels do not matter.

        Raises:
          UserError: names the file, the row and the value at fault, or the other vocabulary; and the remedy.
        """
        beside, tokenizer = read_beside(path, with_names=False), self.tokenizer
        notes = check_vocabularies([("--file", beside)], tokenizer, self._folder / "vocab")
        data = load_dataset(
            path,
            vocab_size=tokenizer.vocab_size,
            pad_id=tokenizer.pad_id,
            max_length=self.max_length,
            special=SpecialTokens.of(tokenizer),
            read_beside=max(self.reads.values()),
        )
        return replace(data, notes=(*beside.notes, *notes, *data.notes))

    def answers(self, read: ReadTexts) -> list[Prediction]:
        """A prediction for each text that was read.

        Raises:
          UserError: the model gives NaN or infinity.
        """
        every_logits = self.logits(read.rows, read.whole)
        best = every_logits.argmax(axis=1).tolist()  # probabilities round to equal ones
        unknown = self._mostly_unknown(read.rows.input_ids[:], read.rows.lengths).tolist()
        lengths = read.rows.lengths.tolist()
        answers = []
        for i, (text, row) in enumerate(zip(read.texts, self._task.probabilities(every_logits), strict=True)):
            is_empty = read.are_blank[i] or lengths[i] <= self._frame
            unsure = self.abstention is not None and bool(row.max() <= self.abstention.threshold)
            marks = is_empty, i in read.cut_for_all, unknown[i], i in read.cut_for_one, unsure
            answers.append(Prediction(text, self.labels[best[i]], row, *marks, self._several(row)))
        return answers

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes (B, L) that batches of texts can have; each has a program."""
        return self._logits.shapes

    def compile(self, shape: Shape) -> None:
        """Compiles the program for a shape now, if it is not there yet."""
        self._logits.compile(shape)

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

    def encode(self, texts: list[str]) -> tuple[WholeRows, WholeRows]:
        """The rows of texts that the encoder reads, and those that the linear path reads (the same without one)."""
        rows = self._encode(texts, self.max_length)
        return rows, rows if self._columns == self.max_length else self._encode(texts, self._columns)

    def _encode(self, texts: list[str], length: int) -> WholeRows:
        with self._encoding:
            ids, mask = self.tokenizer.encode_texts(texts, length)
        lengths = (~mask).sum(axis=1).astype(np.int32)
        return WholeRows(ids[:, : max(int(lengths.max(initial=0)), 1)], lengths)  # beyond, all is padding

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
        logits = self._logits(rows, whole)
        if not predicts(logits):
            raise UserError(
                f"{self._folder}: this model gives NaN or infinity: its training went wrong. Train it again."
            )
        return logits / self._temperature
