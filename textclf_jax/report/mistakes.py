"""The worst mistakes of a classifier, and the words that led to them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.data.dataset import Dataset, WholeRows
from textclf_jax.data.ngrams import tokens_read
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.evaluation.mixing import mix, weights_of
from textclf_jax.evaluation.occlusion import Span, effects, spans_of
from textclf_jax.report.facts import Mistake, Word
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.tasks.classification import ClassificationTask
from textclf_jax.tasks.multi_label import HALF
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.training.evaluating import Loaded
from textclf_jax.training.summary import PART_LABELS

SHOWN = 10
MOST_SPANS, FEWEST_SPANS = 100, 20  # of a text: each is a further text to classify
MOST_TOKENS = 300_000  # that the model reads in all of them; a test split often has more
GIVEN, NOT_GIVEN = "given", "not given"

Texts = list[Int[np.ndarray, " _"]]


class Found(NamedTuple):
    """The worst mistakes, how many there are in all, and why their words are not told (or empty)."""

    mistakes: tuple[Mistake, ...]
    wrong: int
    unexplained: str


class Wrong(NamedTuple):
    """A wrong answer.

    Attributes:
      row: of the split.
      answer: the class that was given; with several labels a text the class that it is about.
      right: the true class; with several labels a text the same as `answer`.
      sign: 1; -1 where a label is not given: what speaks for the answer then speaks against the class.
    """

    row: int
    answer: int
    right: int
    sign: int


def find_mistakes(
    task: ClassificationTask,
    loaded: Loaded,
    probabilities: Float[np.ndarray, "N C"],
    predicted: Int[np.ndarray, " N"] | Bool[np.ndarray, "N C"],
    parts: Float[np.ndarray, "N 2 C"] | None,
) -> Found:
    """Finds the wrong answers whose right ones were least likely to the model, and leaves out their words in turn.

    With several labels a text, a mistake is a label that is wrongly given, or wrongly not given.

    Args:
      task: of the model.
      loaded: the model and the split.
      probabilities: [N, C].
      predicted: [N] or [N, C].
      parts: `log_scores` of encoder and linear path, where there are both.
    """
    saved, evaluator, data = loaded
    assert data.labels is not None
    wrong, worst = worst_answers(probabilities, predicted, data.labels, _limits(saved))
    reader = _Reader(task, saved, evaluator, data)
    texts = [reader.text(each.row) for each in worst]
    words, unexplained = _words(reader, worst, texts)
    names, mistakes, limits = saved.metadata["labels"], [], _limits(saved)
    for each, of_text in zip(worst, words, strict=True):
        added, several = {}, each.answer == each.right
        if parts is not None:
            weighted = parts[each.row].astype(np.float64) * weights_of(saved.variables)[:, None]
            added = dict(zip(PART_LABELS.values(), _margin(each, weighted).tolist(), strict=True))
        chances = _chances(each, probabilities[each.row])
        answer = (GIVEN if each.sign > 0 else NOT_GIVEN) if several else names[each.answer]
        place, limit = (each.row + 1, names[each.right], answer), float(limits[each.answer]) if several else None
        mistakes.append(Mistake(*place, *chances, of_text, *reader.sizes(each.row), added, limit))
    return Found(tuple(mistakes), wrong, unexplained)


def _limits(saved: SavedModel) -> Float[np.ndarray, " C"]:
    """The thresholds of a model; 0.5 where it has none."""
    thresholds = Thresholds.of_model(saved.metadata)
    return np.full(len(saved.metadata["labels"]), HALF) if thresholds is None else np.asarray(thresholds.values)


def worst_answers(
    probabilities: Float[np.ndarray, "N C"],
    predicted: Int[np.ndarray, " N"] | Bool[np.ndarray, "N C"],
    labels: np.ndarray,
    thresholds: Float[np.ndarray, " C"],
) -> tuple[int, list[Wrong]]:
    """How many answers are wrong, and those whose right answer has the lowest probability, the worst first.

    With several labels a text, that is compared with what the threshold of the class asks for.
    """
    if labels.ndim == 1:
        rows = np.flatnonzero(predicted != labels)
        order = rows[np.argsort(probabilities[rows, labels[rows]], kind="stable")][:SHOWN].tolist()
        return len(rows), [Wrong(i, int(predicted[i]), int(labels[i]), 1) for i in order]
    truth = labels.astype(bool)
    limits = np.clip(thresholds, 1e-9, 1 - 1e-9)
    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    # how far the log odds lie on the wrong side of the threshold
    beyond = np.abs(np.log(clipped / (1 - clipped)) - np.log(limits / (1 - limits)))
    places = np.argwhere(truth != predicted)
    order = np.argsort(-beyond[tuple(places.T)], kind="stable")[:SHOWN]
    chosen = ((int(i), int(c)) for i, c in places[order])
    return len(places), [Wrong(i, c, c, 1 if predicted[i, c] else -1) for i, c in chosen]


def _margin(wrong: Wrong, scores: Float[np.ndarray, "*M C"]) -> Float[np.ndarray, " *M"]:
    """The log odds of the answer that was given, from logits or weighted scores."""
    if wrong.answer != wrong.right:
        return scores[..., wrong.answer] - scores[..., wrong.right]
    return wrong.sign * scores[..., wrong.answer]


def _chances(wrong: Wrong, probabilities: Float[np.ndarray, " C"]) -> tuple[float, float]:
    """The probabilities of the answer that was given, and of the right one."""
    if wrong.answer != wrong.right:
        return float(probabilities[wrong.answer]), float(probabilities[wrong.right])
    has = float(probabilities[wrong.answer])
    return (has, 1 - has) if wrong.sign > 0 else (1 - has, has)


class _Reader:
    """Texts of a split as the model reads them, and the model on other texts."""

    def __init__(self, task: ClassificationTask, saved: SavedModel, evaluator: Evaluator, data: Dataset):
        self.task, self._saved, self._evaluator, self._data = task, saved, evaluator, data
        self.max_length, linear = task.config.architecture.max_sequence_length, task.config.classification_head.linear
        self._limit = max(self.max_length, tokens_read(linear)) if linear.enabled else self.max_length

    def text(self, row: int) -> Int[np.ndarray, " T"]:
        """The token ids of a text that any part of the model reads."""
        return np.asarray(self._data.first_tokens(np.array([row]), self._limit)[0])

    def sizes(self, row: int) -> tuple[int, int]:
        """The tokens of a text in the file, and how many of them the model reads."""
        whole = self._data if self._data.whole is None else self._data.whole
        return int(whole.lengths[row]), int(min(whole.lengths[row], self._limit))

    def logits(self, texts: Texts) -> Float[np.ndarray, "M C"]:
        """The logits of texts."""
        lengths = np.array([len(ids) for ids in texts], np.int32)
        ids = np.full((len(texts), max(int(lengths.max()), 1)), self.task.tokenizer.pad_id, np.int32)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = text
        whole = WholeRows(ids, lengths)
        data = Dataset(Path("texts"), ids, np.minimum(lengths, self.max_length), None, "", (), whole=whole)
        scores = self._evaluator.scores(self._saved.variables, data)[1]
        assert scores is not None
        return mix(scores, weights_of(self._saved.variables)) if scores.ndim == 3 else scores.astype(np.float64)


def _words(reader: _Reader, worst: list[Wrong], texts: Texts) -> tuple[list[tuple[Word, ...]], str]:
    """The words of texts with their effects; and why they are not told."""
    tokenizer = reader.task.tokenizer
    if tokenizer.tokens is None:
        return [() for _ in worst], "the tokenizer is a class of yours that does not tell its tokens"
    if not worst:
        return [], ""
    # each text is read once for each of its spans
    affordable = MOST_TOKENS // max(sum(len(ids) for ids in texts), 1)
    most = min(max(affordable, FEWEST_SPANS), MOST_SPANS)
    spans = [spans_of(ids, tokenizer.tokens, tokenizer.is_special, most) for ids in texts]
    # of long texts not all can be explained, but the first one is
    costs = np.cumsum([len(ids) * (len(of_text) + 1) for ids, of_text in zip(texts, spans, strict=True)])
    count = max(1, int((costs <= MOST_TOKENS).sum()))
    found = effects(texts[:count], spans[:count], reader.logits, lambda i, scores: _margin(worst[i], scores))
    explained = [_shown(*each) for each in zip(spans, found, strict=False)]
    return [*explained, *(tuple(Word(span.text, None) for span in each) for each in spans[count:])], ""


def _shown(spans: list[Span], found: Float[np.ndarray, " S"]) -> tuple[Word, ...]:
    return tuple(Word(span.text, float(value)) for span, value in zip(spans, found, strict=True))
