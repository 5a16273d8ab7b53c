"""N-grams of token ids, each known by a 64-bit key, and counted: the features of a linear path.

Fitting and every batch count them by `count_ngrams` alone. It is integer arithmetic, equal on all machines.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt32, UInt64

from textclf_jax.config.schema import Linear
from textclf_jax.data.dataset import Dataset

# of the splitmix64 generator (Steele et al. 2014)
INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
HALF = np.uint64(32)  # bits

Keys = UInt64[np.ndarray, " F"]


class NgramCounts(NamedTuple):
    """How often each of N texts has the n-grams that are read: M pairs of text and n-gram, by text, then by n-gram.

    Attributes:
      starts: [N + 1], the first pair of each text, and M.
      ids: [M] int32, places of the n-grams among the keys.
      counts: [M] int32, 1 or more.
    """

    starts: Int[np.ndarray, " N+1"]
    ids: Int[np.ndarray, " M"]
    counts: Int[np.ndarray, " M"]

    @property
    def values(self) -> Float[np.ndarray, " M"]:
        """[M] float64: counts on a sublinear scale, 1 + ln count."""
        return 1.0 + np.log(self.counts)


NO_NGRAMS = NgramCounts(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def tokens_read(settings: Linear) -> int:
    """How many first tokens of a row the linear path reads, which a run knows once it knows its training split."""
    assert settings.max_tokens is not None, "data/splits.py::with_tokens_read"
    return settings.max_tokens


def ngrams_of(data: Dataset, rows: Int[np.ndarray, " N"] | slice, settings: Linear, keys: Keys) -> NgramCounts:
    """Counts the n-grams that a linear path sees in some rows: of all tokens that are not padding, special ones too."""
    tokens, sizes = data.first_tokens(rows, tokens_read(settings))
    return count_ngrams(tokens, sizes, keys, max_n=settings.max_n)


def count_ngrams(tokens: Int[np.ndarray, " T"], sizes: Int[np.ndarray, " N"], keys: Keys, *, max_n: int) -> NgramCounts:
    """Counts the n-grams of 1 to `max_n` tokens of each text; those that are not among `keys` are left out.

    Args:
      tokens: [T] the tokens of all texts, one text after the other.
      sizes: [N] tokens of each text.
      keys: [F] of the n-grams to count, sorted; F is 1 or more.
      max_n: the longest n-gram.
    """
    text, found = keys_of_ngrams(tokens, sizes, max_n=max_n)
    place = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
    is_read = keys[place] == found
    pairs, counts = np.unique(text[is_read] * len(keys) + place[is_read], return_counts=True)
    of_text, ids = np.divmod(pairs, len(keys))
    starts = np.searchsorted(of_text, np.arange(len(sizes) + 1))
    return NgramCounts(starts, ids.astype(np.int32), counts.astype(np.int32))


def keys_of_ngrams(
    tokens: Int[np.ndarray, " T"], sizes: Int[np.ndarray, " N"], *, max_n: int
) -> tuple[Int[np.ndarray, " M"], Keys]:
    """Gives each n-gram of 1 to `max_n` tokens a number of 64 bits that depends on its tokens alone.

    Two of a million different n-grams share a key with a probability of 3 in 100 million.

    Args: those of `count_ngrams`.

    Returns:
      The text and the key of all M n-grams; one that occurs several times is there as often.
    """
    text = np.repeat(np.arange(len(sizes)), sizes)
    ids, hashes, found = tokens.astype(np.uint64), np.zeros(len(tokens), np.uint64), []
    for n in range(1, max_n + 1):
        # of the n-grams that begin at each token; they go on where those of n - 1 tokens end
        hashes = _mixed(hashes[: max(0, len(ids) - n + 1)] + INCREMENT + ids[n - 1 :])
        lies_within = text[n - 1 :] == text[: len(hashes)]
        found.append((text[: len(hashes)][lies_within], hashes[lies_within]))
    of_text, keys = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return of_text, keys


def _mixed(x: UInt64[np.ndarray, " T"]) -> UInt64[np.ndarray, " T"]:
    """Spreads numbers over all 64 bits, one to one."""
    x = (x ^ (x >> np.uint64(30))) * FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * FACTORS[1]
    return x ^ (x >> np.uint64(31))


def ngrams_of_keys(keys: Keys, vocab_size: int, *, max_n: int) -> dict[int, tuple[int, ...]]:
    """The n-grams that keys stand for: tokens by the place of the key.

    Keys of the n-grams that go on from one n-gram are consecutive numbers before they are mixed, one for each token; so
    they are found among all keys in sorted order. Longer n-grams are looked for after those whose keys are there.

    Args:
      keys: [F], in any order.
      vocab_size: V.
      max_n: the longest n-gram.
    """
    plain = _unmixed(keys)
    order = np.argsort(plain)
    ordered = plain[order]
    found: dict[int, tuple[int, ...]] = {}
    begun: list[tuple[int, ...]] = [()]
    hashes = np.zeros(1, np.uint64)
    for _ in range(max_n):
        first = hashes + INCREMENT  # what the n-gram that ends with token 0 would have
        starts, ends = np.searchsorted(ordered, first), np.searchsorted(ordered, first + np.uint64(vocab_size))
        for i in np.flatnonzero(starts < ends):
            for place in range(starts[i], ends[i]):
                found[int(order[place])] = (*begun[i], int(ordered[place] - first[i]))
        if begun == [()]:  # the first token of a pair need not have a key of its own
            begun, hashes = (
                [(token,) for token in range(vocab_size)],
                _mixed(first + np.arange(vocab_size).astype(np.uint64)),
            )
        else:
            places = [place for place, tokens in found.items() if len(tokens) == len(begun[0]) + 1]
            begun, hashes = [found[place] for place in places], keys[places]
        if not begun:
            break
    return found


def _unmixed(x: UInt64[np.ndarray, " T"]) -> UInt64[np.ndarray, " T"]:
    """The numbers that `_mixed` spread."""
    x = x ^ (x >> np.uint64(31)) ^ (x >> np.uint64(62))
    x = x * np.uint64(pow(int(FACTORS[1]), -1, 1 << 64))
    x = x ^ (x >> np.uint64(27)) ^ (x >> np.uint64(54))
    x = x * np.uint64(pow(int(FACTORS[0]), -1, 1 << 64))
    return x ^ (x >> np.uint64(30)) ^ (x >> np.uint64(60))


def stored_keys(keys: Keys) -> UInt32[np.ndarray, "F 2"]:
    """Keys as a model has them, whose integers have 32 bits: [F, 2] uint32, upper and lower half."""
    return np.stack([keys >> HALF, keys], axis=1).astype(np.uint32)


def restored_keys(stored: UInt32[np.ndarray, "F 2"]) -> Keys:
    """The keys that were `stored_keys`."""
    upper, lower = stored.astype(np.uint64).T
    return (upper << HALF) | lower


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
    ids[row, column], values[row, column] = counts.ids, counts.values
    return {"ngram_ids": ids, "ngram_values": values}
