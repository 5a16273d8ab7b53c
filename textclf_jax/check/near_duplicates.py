"""Finds texts that are nearly the same, in time that grows with their number of characters alone.

MinHash of character shingles (Broder 1997) with locality-sensitive hashing (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, section 3.4): texts that agree in all hashes of a band are compared.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int, UInt64

SHINGLE = 5  # characters
NEAR = 0.8  # of their shingles, which two texts share, as a part of those that either has (Jaccard)
# 8 bands of 4 hashes miss a pair with 0.8 of its shingles in common once in 65, with 0.9 once in 7,000
BANDS, HASHES_A_BAND = 8, 4
AGREEING = 0.5  # of its hashes, below which a pair is not compared: 4 standard deviations below 0.8
READ = 5000  # characters of a text
SHORTEST = 30  # characters: short texts are alike by chance
CHUNK = 2_000_000  # characters at a time
SEPARATORS = re.compile(r"[\s!-/:-@\[-`{-~\u00a1\u00ab\u00b7\u00bb\u00bf\u2000-\u206f\u3000-\u303f]+")

Hashes = UInt64[np.ndarray, "N H"]


def normalized(text: str) -> str:
    """A text without differences in case, width, spaces and punctuation."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return SEPARATORS.sub(" ", folded).strip()


def near_duplicates(texts: Sequence[str]) -> Int[np.ndarray, " N"]:
    """Groups texts: those that are equal but for case, spaces and punctuation, or share most of their shingles.

    Of texts beyond 5,000 characters the beginnings are compared; texts below 30 characters are in one group only where
    they are equal. Empty texts are each alone.

    Args:
      texts: N texts.

    Returns:
      [N] the number of the first text of each one's group.
    """
    normal = [normalized(text)[:READ] for text in texts]
    # a text of punctuation alone is not nearly all others of that kind
    normal = [short or text for short, text in zip(normal, texts, strict=True)]
    first: dict[str, int] = {}
    parent = np.arange(len(texts))
    for i, text in enumerate(normal):
        if text:
            parent[i] = first.setdefault(text, i)
    long = np.array([i for text, i in first.items() if len(text) >= SHORTEST], np.int64)
    if len(long) > 1:
        for a, b in _similar_pairs([normal[i] for i in long]):
            one, other = sorted((_root(parent, long[a]), _root(parent, long[b])))
            parent[other] = one
    return np.array([_root(parent, i) for i in range(len(texts))], np.int64)


def jaccard(a: str, b: str) -> float:
    """The share of shingles that two texts have in common."""
    one, other = _shingles(a), _shingles(b)
    return len(one & other) / max(len(one | other), 1)


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE] for i in range(max(len(text) - SHINGLE + 1, 1))}


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]  # halves the path
        i = int(parent[i])
    return int(i)


def _similar_pairs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields pairs that share NEAR of their shingles, enough of them to join all groups."""
    hashes = min_hashes(texts)
    candidates = [(int(a), int(b)) for a, b in _candidates(hashes)]
    for a, b in candidates:
        if jaccard(texts[a], texts[b]) >= NEAR:
            yield a, b


def _candidates(hashes: Hashes) -> Int[np.ndarray, "P 2"]:
    """Pairs of the first text of a bucket and each other one: no more than texts and bands."""
    pairs = []
    for band in np.split(hashes, BANDS, axis=1):
        _, bucket = np.unique(band, axis=0, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        begins = np.flatnonzero(np.diff(bucket[order], prepend=-1))
        leader = np.repeat(order[begins], np.diff(begins, append=len(order)))
        pairs.append(np.stack([leader, order], axis=1)[leader != order])
    found = np.unique(np.concatenate(pairs), axis=0)
    return found[(hashes[found[:, 0]] == hashes[found[:, 1]]).mean(axis=1) >= AGREEING]


def min_hashes(texts: Sequence[str]) -> Hashes:
    """[N, BANDS * HASHES_A_BAND] the least hash of each text's shingles, by several hash functions.

    Args:
      texts: each of SHINGLE characters or more.
    """
    draw = np.random.default_rng(0)  # the same hash functions in each run
    factors = draw.integers(0, 2**64, (BANDS * HASHES_A_BAND, 2), np.uint64) | np.uint64(1)
    return np.concatenate([_min_hashes(chunk, factors) for chunk in _chunks(texts)])


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    ends = np.cumsum([len(text) for text in texts])
    cuts = np.flatnonzero(np.diff(ends // CHUNK)) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(texts)]):
        yield texts[begin:end]


def _min_hashes(texts: Sequence[str], factors: Hashes) -> Hashes:
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = len(codes) - SHINGLE + 1
    shingles = np.zeros(count, np.uint64)
    for i in range(SHINGLE):
        shingles = shingles * np.uint64(0x9E3779B97F4A7C15) + codes[i : count + i]
    shingles ^= shingles >> np.uint64(29)
    # shingles that reach from one text into the next lie in every second segment
    ends = np.cumsum([len(text) for text in texts])
    begins = np.concatenate([[0], ends[:-1]])
    segments = np.stack([begins, ends - SHINGLE + 1], axis=1).ravel()[:-1]
    least = [np.minimum.reduceat((shingles ^ flip) * factor, segments)[::2] for factor, flip in factors]
    return np.stack(least, axis=1)
