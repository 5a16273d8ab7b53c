"""Which words of a text decide: how the answer of a model changes where they are left out.

Gradients times inputs would be cheaper, but say little here: LayerNorm follows the embeddings, and what it gives does
not change with the length of a vector, so that their product is near 0 however much a word matters. Leaving words out
is also the same for every kind of attention, and for a linear path.

Source: Li et al. 2016, Understanding neural networks through representation erasure.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.evaluation.prediction import UNKNOWN_TOKENS

CONTINUES = "##"  # begins a WordPiece that goes on a word
SPACES = "\u2581\u0120"  # SentencePiece and byte-level BPE begin a word with one of these

Scores = Float[np.ndarray, "M *C"]


class Span(NamedTuple):
    """Words of a text that are left out together.

    Attributes:
      text: as it is to be shown after the span before it, with the space between them.
      start, stop: the places of its tokens.
    """

    text: str
    start: int
    stop: int


def spans_of(
    ids: Int[np.ndarray, " T"], tokens: Sequence[str], is_special: Bool[np.ndarray, " V"], most: int
) -> list[Span]:
    """Divides the tokens of a text into words, or into groups of words where there are more than `most`.

    Args:
      ids: [T] of the text.
      tokens: the V pieces of the vocabulary.
      is_special: [V] which of them stand for no text; they are in no span, but for those of unknown words.
      most: spans.
    """
    words = list(_words(ids, tokens, is_special))
    size = max(1, -(-len(words) // most))
    groups = (words[i : i + size] for i in range(0, len(words), size))
    return [Span("".join(word.text for word in group), group[0].start, group[-1].stop) for group in groups]


def _words(ids: Int[np.ndarray, " T"], tokens: Sequence[str], is_special: Bool[np.ndarray, " V"]) -> Iterator[Span]:
    has_marks = any(token[:1] and token[0] in SPACES for token in tokens)
    text, start, previous = "", 0, -1
    for place, i in enumerate(ids.tolist()):
        token = tokens[int(i)]
        if is_special[i] and token not in UNKNOWN_TOKENS:
            continue
        begins, piece = _read_piece(token, has_marks)
        # a special token ends a word, too: spans are without holes
        if text and (begins or previous != place - 1):
            yield Span(text, start, previous + 1)
            text = " "
        if not text.strip():
            start = place
        text, previous = text + piece, place
    if previous >= 0:
        yield Span(text, start, previous + 1)


def _read_piece(token: str, has_marks: bool) -> tuple[bool, str]:
    """Whether a token begins a word, and its text."""
    if has_marks:
        return (True, token[1:]) if token[:1] and token[0] in SPACES else (False, token)
    if token.startswith(CONTINUES) and token != CONTINUES:
        return False, token.removeprefix(CONTINUES)
    return True, token


def without(ids: Int[np.ndarray, " T"], spans: Sequence[Span]) -> list[Int[np.ndarray, " _"]]:
    """The token ids of a text as often as it has spans, each time without one of them."""
    return [np.delete(ids, slice(span.start, span.stop)) for span in spans]


def effects(
    texts: Sequence[Int[np.ndarray, " _"]],
    spans: Sequence[Sequence[Span]],
    score: Callable[[list[Int[np.ndarray, " _"]]], Scores],
    margin: Callable[[int, Scores], Float[np.ndarray, " M"]],
) -> list[Float[np.ndarray, " S"]]:
    """How much each span adds to a score of its text: the score with it less the score without it.

    Args:
      texts: token ids of each text.
      spans: of each text.
      score: runs the model on texts; gives an array with a row a text.
      margin: the number that a text is about, by its place in `texts`, from such rows.
    """
    rows = [row for ids, of_text in zip(texts, spans, strict=True) for row in (ids, *without(ids, of_text))]
    scores, found, begin = score(rows), [], 0
    for i, of_text in enumerate(spans):
        values = margin(i, scores[begin : begin + len(of_text) + 1])
        found.append(values[0] - values[1:])
        begin += len(of_text) + 1
    return found
