"""Why a classifier gives a label to a text: what each word adds to its log odds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textclf_jax.data.dataset import WholeRows
from textclf_jax.errors import ArgumentError, UserError, listed
from textclf_jax.evaluation.occlusion import effects, spans_of
from textclf_jax.evaluation.prediction import Predictor

MOST_WORDS = 100  # of a text: each is a further text to classify


class Word(NamedTuple):
    """A word of a text, and what it does.

    Attributes:
      text: as the model reads it; several words where a text has more than 100.
      effect: the log odds of the label less those of the text without this word: above 0 it speaks for the label.
    """

    text: str
    effect: float


class Explanation(NamedTuple):
    """What a model sees in a text.

    Attributes:
      label: that is explained.
      log_odds: log(p / (1 - p)) of its probability p.
      words: that the model reads, in their order.
    """

    label: str
    log_odds: float
    words: tuple[Word, ...]


def explain(predictor: Predictor, text: str, label: str | None = None) -> Explanation:
    """Leaves out each word of a text in turn.

    Args:
      predictor: the model.
      text: the text.
      label: the class to explain; None: the most probable one.

    Raises:
      ArgumentError: there is no such class.
      UserError: the tokenizer is a class of the user's that does not tell its tokens.
    """
    if label is not None and label not in predictor.labels:
        raise ArgumentError(f"there is no label {label!r}; there are {listed(predictor.labels, 20)}")
    tokenizer = predictor.tokenizer
    if tokenizer.tokens is None:
        raise UserError(
            f"{tokenizer.source}: does not tell its tokens, so words of a text are not known. Give the class an "
            "attribute `tokenizer`, or put a vocab.txt into its vocabulary's folder."
        )
    whole = predictor.encode([text])[1]
    ids = whole.input_ids[0, : int(whole.lengths[0])]
    spans = spans_of(ids, tokenizer.tokens, tokenizer.is_special, MOST_WORDS)
    told = None if label is None else predictor.labels.index(label)
    found: list[tuple[int, float]] = []

    def margin(_: int, logits: Float[np.ndarray, "M C"]) -> Float[np.ndarray, " M"]:
        number = int(logits[0].argmax()) if told is None else told
        values = log_odds(logits, number, several=predictor.multi_label)
        found.append((number, float(values[0])))
        return values

    changes = effects([ids], [spans], lambda rows: predictor.logits(*_read(rows, predictor)), margin)[0].tolist()
    words = tuple(Word(span.text.strip(), change) for span, change in zip(spans, changes, strict=True))
    return Explanation(predictor.labels[found[0][0]], found[0][1], words)


def log_odds(logits: Float[np.ndarray, "M C"], number: int, *, several: bool) -> Float[np.ndarray, " M"]:
    """log(p / (1 - p)) of a class: by softmax, or where a text can have several labels by sigmoid."""
    if several:
        return logits[:, number]
    return logits[:, number] - np.logaddexp.reduce(np.delete(logits, number, axis=1), axis=1)


def _read(texts: list[Int[np.ndarray, " _"]], predictor: Predictor) -> tuple[WholeRows, WholeRows]:
    """Token ids as the rows that the encoder and the linear path read; see `Predictor.encode`."""
    limit, pad_id = predictor.max_length, predictor.tokenizer.pad_id
    if predictor.tokenizer.source is None:  # a row that is cut ends in [SEP], too
        cut = [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1]) for ids in texts]
    else:
        cut = [ids[:limit] for ids in texts]
    return _padded(cut, pad_id), _padded(texts, pad_id)


def _padded(texts: list[Int[np.ndarray, " _"]], pad_id: int) -> WholeRows:
    lengths = np.array([len(ids) for ids in texts], np.int32)
    ids = np.full((len(texts), max(int(lengths.max()), 1)), pad_id, np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return WholeRows(ids, lengths)
