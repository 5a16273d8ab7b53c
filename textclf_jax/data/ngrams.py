"""N-grams of token ids, hashed to buckets and counted: the features of a linear path.

Fitting and every batch count them by `count_ngrams` alone. It is integer arithmetic, equal on all machines.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt64

from textclf_jax.config.schema import Linear
from textclf_jax.data.dataset import Dataset

# of the splitmix64 generator (Steele et al. 2014)
INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class NgramCounts(NamedTuple):
    """How often each of N texts has n-grams: M pairs of text and bucket, by text, then by bucket.

    Attributes:
      starts: [N + 1], the first pair of each text, and M.
      buckets: [M] int32.
      counts: [M] int32, 1 or more.
    """

    starts: Int[np.ndarray, " N+1"]
    buckets: Int[np.ndarray, " M"]
    counts: Int[np.ndarray, " M"]

    @property
    def values(self) -> Float[np.ndarray, " M"]:
        """[M] float64: counts on a sublinear scale, 1 + ln count."""
        return 1.0 + np.log(self.counts)


def tokens_read(settings: Linear) -> int:
    """How many first tokens of a row the linear path reads, which a run knows once it knows its training split."""
    assert settings.max_tokens is not None, "data/splits.py::with_tokens_read"
    return settings.max_tokens


def ngrams_of(data: Dataset, rows: Int[np.ndarray, " N"] | slice, settings: Linear) -> NgramCounts:
    """Counts the n-grams that a linear path sees in some rows: of all tokens that are not padding, special ones too."""
    tokens, sizes = data.first_tokens(rows, tokens_read(settings))
    return count_ngrams(tokens, sizes, max_n=settings.max_n, num_buckets=settings.buckets)


def count_ngrams(
    tokens: Int[np.ndarray, " T"], sizes: Int[np.ndarray, " N"], *, max_n: int, num_buckets: int
) -> NgramCounts:
    """Counts the n-grams of 1 to `max_n` tokens of each text.

    Args:
      tokens: [T] the tokens of all texts, one text after the other.
      sizes: [N] tokens of each text.
      max_n: the longest n-gram.
      num_buckets: each n-gram falls on one of so many buckets, by its hash.
    """
    text = np.repeat(np.arange(len(sizes)), sizes)
    ids, hashes, pairs = tokens.astype(np.uint64), np.zeros(len(tokens), np.uint64), []
    for n in range(1, max_n + 1):
        # of the n-grams that begin at each token; they go on where those of n - 1 tokens end
        hashes = _mixed(hashes[: max(0, len(ids) - n + 1)] + INCREMENT + ids[n - 1 :])
        lies_within = text[n - 1 :] == text[: len(hashes)]
        bucket = (hashes % np.uint64(num_buckets)).astype(np.int64)
        pairs.append((text[: len(hashes)] * num_buckets + bucket)[lies_within])
    found, counts = np.unique(np.concatenate(pairs), return_counts=True)
    of_text, buckets = np.divmod(found, num_buckets)
    starts = np.searchsorted(of_text, np.arange(len(sizes) + 1))
    return NgramCounts(starts, buckets.astype(np.int32), counts.astype(np.int32))


def _mixed(x: UInt64[np.ndarray, " T"]) -> UInt64[np.ndarray, " T"]:
    """Spreads numbers over all 64 bits, one to one."""
    x = (x ^ (x >> np.uint64(30))) * FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * FACTORS[1]
    return x ^ (x >> np.uint64(31))


NO_NGRAMS = count_ngrams(np.zeros(0, np.int64), np.zeros(0, np.int64), max_n=1, num_buckets=1)


def padded_ngrams(counts: NgramCounts, size: int, width: int) -> dict[str, np.ndarray]:
    """The n-grams of texts as arrays of a fixed shape.

    Args:
      counts: of N texts.
      size: S, at least N; further texts have no n-grams.
      width: K, at least the number of different n-grams of a text.

    Returns:
      ngram_ids [S, K] int32, and ngram_values [S, K] float32, 0 at padding.
    """
    ids, values = np.zeros((size, width), np.int32), np.zeros((size, width), np.float32)
    each = np.diff(counts.starts)
    row = np.repeat(np.arange(len(each)), each)
    column = np.arange(len(row)) - np.repeat(counts.starts[:-1], each)
    ids[row, column], values[row, column] = counts.buckets, counts.values
    return {"ngram_ids": ids, "ngram_values": values}
