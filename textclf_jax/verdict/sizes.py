"""The sizes of vocabulary and rows that suit some texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textclf_jax.check.lengths import SPECIAL, count_tokens
from textclf_jax.prepare.texts import Row
from textclf_jax.prepare.vocabulary_report import word_length_for

PIECES = 1.3  # of a word or sign, about
PIECE = 4  # characters, of words that are no language
LENGTHS = (32, 64, 128, 256)  # tokens that an encoder reads
HELD = 95  # percent of the texts that are to be read whole
LONGEST = 4096  # tokens that the linear path reads
MOST_IDS = 2**26  # of the rows of classification together, which are in memory
# 8,000 pieces did well for 400,000 words; more text pays for more of them
USUAL_PIECES, USUAL_WORDS, GROWTH = 8000, 400_000, 0.4
FEWEST_PIECES, MOST_PIECES, ROUND = 1000, 30_000, 500


@dataclass(frozen=True)
class Sizes:
    """The sizes of vocabulary and rows.

    Attributes:
      vocab_size: pieces.
      max_length: tokens of a row that the encoder reads.
      cls_max_length: tokens that the linear path reads; None: the same.
      max_word_length: characters of a word; None: the usual.
    """

    vocab_size: int
    max_length: int
    cls_max_length: int | None
    max_word_length: int | None = None


def choose_sizes(rows: Sequence[Row], extra: Sequence[Row]) -> Sizes:
    """Chooses sizes by the lengths of texts.

    Args:
      rows: that are classified.
      extra: further texts, for vocabulary and pretraining.
    """
    word_length = word_length_for(row.text for part in (rows, extra) for row in part)
    count = count_tokens if word_length is None else _count_in_long_words
    words = np.array([count(row.text) for row in rows], np.int64)
    total = int(words.sum()) + sum(count(row.text) for row in extra)
    pieces = USUAL_PIECES * (max(total, 1) / USUAL_WORDS) ** GROWTH
    held, longest = (PIECES * float(np.percentile(words, each)) + SPECIAL for each in (HELD, 100))
    length = next((length for length in LENGTHS if held <= length), LENGTHS[-1])
    cls_length = min(-(-int(longest) // 64) * 64, LONGEST, max(MOST_IDS // max(len(rows), 1) // 64 * 64, length))
    # each character takes a piece where a word begins, and one within words
    characters = len(set().union(*(row.text for part in (rows, extra) for row in part)))
    fewest = max(FEWEST_PIECES, (1 + math.ceil(2 * characters / ROUND)) * ROUND)
    vocab_size = min(max(round(pieces / ROUND) * ROUND, fewest), MOST_PIECES)
    return Sizes(vocab_size, length, cls_length if cls_length > length else None, word_length)


def _count_in_long_words(text: str) -> int:
    """The words and signs of a text, and of long words about as many as they have pieces."""
    return max(count_tokens(text), len(text) // PIECE)
