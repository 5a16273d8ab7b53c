"""N-grams against a count in plain Python; the keys against their own numbers, since saved models depend on them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from textclf_jax.config.schema import Linear
from textclf_jax.data.dataset import Dataset, WholeRows
from textclf_jax.data.ngrams import (
    NO_NGRAMS,
    count_ngrams,
    keys_of_ngrams,
    ngrams_of,
    ngrams_of_keys,
    padded_ngrams,
    restored_keys,
    stored_keys,
)

MASK = 2**64 - 1
# of the tokens 5, 6 and 29,999, and of both pairs
KEYS = [0x63033B0CA389C35A, 0xBD64A5D9ADEFE000, 0x6F5E2994A9A4AB18, 0x4FDEF0E9DA6F5A6A, 0xBB5E796A31AA422C]


def key_of(ngram) -> int:
    """The key of an n-gram by Python's own integers."""
    x = 0
    for token in ngram:
        x = (x + 0x9E3779B97F4A7C15 + token) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
    return x


def ngrams_in(text, max_n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(text[i : i + n]) for n in range(1, max_n + 1) for i in range(len(text) - n + 1))


def keys_for(ngrams) -> np.ndarray:
    return np.array(sorted(key_of(ngram) for ngram in ngrams), np.uint64)


@pytest.mark.parametrize(("max_n", "share"), [(1, 1.0), (2, 0.5), (3, 0.1)])
def test_ngrams_are_those_of_each_text_alone(max_n, share):
    """All that have a key; others, which are about half of the pairs here, are left out."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 9, size).tolist() for size in (5, 0, 1, 2, 30, 0)]
    read = {ngram for text in texts for ngram in sorted(ngrams_in(text, max_n)) if rng.random() < share}
    tokens = np.array([token for text in texts for token in text])
    keys = keys_for(read)
    found = count_ngrams(tokens, np.array([len(text) for text in texts]), keys, max_n=max_n)
    for i, text in enumerate(texts):
        pairs = slice(found.starts[i], found.starts[i + 1])
        expected = {key_of(ngram): count for ngram, count in ngrams_in(text, max_n).items() if ngram in read}
        assert dict(zip(keys[found.ids[pairs]].tolist(), found.counts[pairs].tolist(), strict=True)) == expected
        assert (np.diff(found.ids[pairs]) > 0).all()


def test_keys_never_change():
    _, found = keys_of_ngrams(np.array([5, 6, 29_999]), np.array([3]), max_n=2)
    assert found.tolist() == KEYS


def test_different_ngrams_have_different_keys_spread_like_chance():
    """Pairs of 300 words on 2^16 places: the number of pairs a place is Poisson's, mean and variance are equal."""
    words = np.arange(300)
    pairs = np.stack(np.meshgrid(words, words), axis=-1).reshape(-1)
    _, keys = keys_of_ngrams(pairs, np.full(len(pairs) // 2, 2), max_n=2)
    assert len(np.unique(keys)) == 300 + 300**2
    load = np.bincount((keys[len(pairs) :] % 2**16).astype(int), minlength=2**16)
    assert abs(load.var() / load.mean() - 1) < 0.03
    used = (load > 0).mean()
    assert abs(used - (1 - np.exp(-load.mean()))) < 0.01


def test_whole_rows_are_read_up_to_a_limit_and_without_padding():
    ids = np.array([[2, 9, 8, 7, 3], [2, 3, 0, 0, 0]])
    whole = WholeRows(ids, np.array([5, 2]))
    data = Dataset(Path("x"), ids[:, :3], np.array([3, 2]), None, "", (), whole=whole)
    keys = keys_for({ngram for row in ids.tolist() for ngram in ngrams_in(row, 2)})
    for limit in (2, 4, 99):
        found = ngrams_of(data, np.array([1, 0]), Linear(enabled=True, max_tokens=limit), keys)
        texts = [[2, 3][:limit], [2, 9, 8, 7, 3][:limit]]
        assert keys[found.ids].tolist() == [k for text in texts for k in keys_for(ngrams_in(text, 2)).tolist()]
    assert data.columns == 5


def test_padding_has_no_value():
    counts = count_ngrams(np.array([4, 4, 4, 5]), np.array([3, 1]), keys_for([(4,), (5,)]), max_n=1)
    arrays = padded_ngrams(counts, 3, 4)
    assert arrays["ngram_values"].tolist() == [[np.float32(1 + np.log(3)), 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert arrays["ngram_ids"][:2, 0].tolist() == counts.ids.tolist()
    assert not padded_ngrams(NO_NGRAMS, 2, 3)["ngram_values"].any()


def test_a_model_keeps_every_bit_of_the_keys():
    keys = np.array([0, 1, 2**32 - 1, 2**32, 2**63 + 5, MASK], np.uint64)
    stored = stored_keys(keys)
    assert stored.dtype == np.uint32
    assert stored.tolist() == [[key >> 32, key & (2**32 - 1)] for key in keys.tolist()]
    assert restored_keys(stored).tolist() == keys.tolist()


@pytest.mark.parametrize("max_n", [1, 2, 3])
def test_ngrams_are_told_from_their_keys(max_n):
    """Those of 1 and 2 tokens always; longer ones where the one that they go on from has a key."""
    rng = np.random.default_rng(max_n)
    tokens = rng.integers(0, 300, 2000)
    ngrams = sorted(
        {tuple(tokens[i : i + n].tolist()) for n in range(1, max_n + 1) for i in range(len(tokens) - n + 1)}
    )
    kept = [ngram for ngram in ngrams if len(ngram) != 2 or max_n == 3 or rng.random() < 0.5]
    order = rng.permutation(len(kept))
    keys = np.array([key_of(kept[i]) for i in order], np.uint64)
    assert ngrams_of_keys(keys, 300, max_n=max_n) == {place: kept[i] for place, i in enumerate(order)}


def test_keys_of_nothing_stand_for_nothing():
    assert ngrams_of_keys(np.array([0, 1, 2], np.uint64), 300, max_n=2) == {}
    without_begin = np.array([key_of((1, 2, 3))], np.uint64)
    assert ngrams_of_keys(without_begin, 300, max_n=3) == {}
