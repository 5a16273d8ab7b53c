"""N-grams against a count in plain Python; the hash against its own numbers, since saved models depend on them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from textclf_jax.config.schema import Linear
from textclf_jax.data.dataset import Dataset, WholeRows
from textclf_jax.data.ngrams import NO_NGRAMS, count_ngrams, ngrams_of, padded_ngrams

MASK = 2**64 - 1
BUCKETS = [115546, 253952, 43800, 219754, 148012]  # of the tokens 5, 6 and 29,999, and of both pairs


def hashed(ngram) -> int:
    """The hash of an n-gram by Python's own integers."""
    x = 0
    for token in ngram:
        x = (x + 0x9E3779B97F4A7C15 + token) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
    return x


def counted(text, max_n: int, num_buckets: int) -> Counter[int]:
    ngrams = [tuple(text[i : i + n]) for n in range(1, max_n + 1) for i in range(len(text) - n + 1)]
    return Counter(hashed(ngram) % num_buckets for ngram in ngrams)


@pytest.mark.parametrize(("max_n", "num_buckets"), [(1, 1000), (2, 2**18), (3, 7)])
def test_ngrams_are_those_of_each_text_alone(max_n, num_buckets):
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 9, size).tolist() for size in (5, 0, 1, 2, 30, 0)]
    tokens = np.array([token for text in texts for token in text])
    found = count_ngrams(tokens, np.array([len(text) for text in texts]), max_n=max_n, num_buckets=num_buckets)
    for i, text in enumerate(texts):
        pairs = slice(found.starts[i], found.starts[i + 1])
        expected = sorted(counted(text, max_n, num_buckets).items())
        assert list(zip(found.buckets[pairs].tolist(), found.counts[pairs].tolist(), strict=True)) == expected


def test_the_hash_never_changes():
    found = count_ngrams(np.array([5, 6, 29_999]), np.array([3]), max_n=2, num_buckets=2**18)
    assert sorted(found.buckets.tolist()) == sorted(BUCKETS)


def test_the_hash_spreads_neighbouring_ids_like_chance():
    """Pairs of 300 words on 2^16 buckets: the number of pairs a bucket is Poisson's, mean and variance are equal."""
    words = np.arange(300)
    pairs = np.stack(np.meshgrid(words, words), axis=-1).reshape(-1)
    found = count_ngrams(pairs, np.full(len(pairs) // 2, 2), max_n=2, num_buckets=2**16)
    load = np.bincount(found.buckets, minlength=2**16)
    single = np.bincount(count_ngrams(pairs, np.full(len(pairs) // 2, 2), max_n=1, num_buckets=2**16).buckets)
    load[: len(single)] -= single  # the pairs alone
    assert abs(load.var() / load.mean() - 1) < 0.03
    used = (load > 0).mean()
    assert abs(used - (1 - np.exp(-load.mean()))) < 0.01
    one, other = (count_ngrams(np.array(ids), np.array([2]), max_n=2, num_buckets=2**18) for ids in ([7, 8], [8, 7]))
    assert len(np.intersect1d(one.buckets, other.buckets)) == 2  # the words, not the pair


def test_whole_rows_are_read_up_to_a_limit_and_without_padding():
    ids = np.array([[2, 9, 8, 7, 3], [2, 3, 0, 0, 0]])
    whole = WholeRows(ids, np.array([5, 2]))
    data = Dataset(Path("x"), ids[:, :3], np.array([3, 2]), None, "", (), whole=whole)
    for limit in (2, 4, 99):
        settings = Linear(enabled=True, max_tokens=limit)
        found = ngrams_of(data, np.array([1, 0]), settings)
        texts = [[2, 3][:limit], [2, 9, 8, 7, 3][:limit]]
        assert found.buckets.tolist() == [b for text in texts for b in sorted(counted(text, 2, settings.buckets))]
    assert data.columns == 5


def test_padding_has_no_value():
    counts = count_ngrams(np.array([4, 4, 4, 5]), np.array([3, 1]), max_n=1, num_buckets=1000)
    arrays = padded_ngrams(counts, 3, 4)
    assert arrays["ngram_values"].tolist() == [[np.float32(1 + np.log(3)), 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert arrays["ngram_ids"][:2, 0].tolist() == counts.buckets.tolist()
    assert not padded_ngrams(NO_NGRAMS, 2, 3)["ngram_values"].any()
