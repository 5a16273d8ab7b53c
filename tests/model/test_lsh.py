"""LSH attention against exact attention and against an independent one, written with loops."""

from typing import Literal

import jax
import numpy as np
import pytest

from tests.model.cases import assert_real_tokens_close, check_float64_gradients, dense_attention, normal, real_lengths
from textclf_jax.config.schema import Lsh
from textclf_jax.model.attention.lsh import draw_rotations, lsh_attention, num_buckets, padded_length, stable_order

LENGTHS = real_lengths(13, 6, 1)
SHAPE = (3, 13, 2, 4)
LONE_PENALTY = 1e5

attend = jax.jit(lsh_attention, static_argnames=("settings", "dropout_rate"))


def rotations(settings: Lsh, buckets: int, seed: int = 0):
    """Directions for two heads of size 4."""
    return draw_rotations(jax.random.key(seed), 2, 4, buckets, settings)


def buckets_of(qk: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The bucket of each token of one row and head: qk [L, K], directions [K, N]."""
    projected = qk @ directions
    return np.argmax(np.concatenate([projected, -projected], axis=-1), axis=-1)


def one_round(qk: np.ndarray, v: np.ndarray, directions: np.ndarray, settings: Lsh):
    """Attention of the real tokens of one row, head and hash round: context [L, K], log partition [L]."""
    codes = buckets_of(qk, directions)
    order = sorted(range(len(qk)), key=lambda i: (codes[i], i))
    chunk_of = {token: place // settings.chunk_size for place, token in enumerate(order)}
    context, partition = np.zeros_like(v), np.zeros(len(v))
    for i in range(len(qk)):
        seen = [j for j in range(len(qk)) if j != i and abs(chunk_of[i] - chunk_of[j]) <= 1]
        if settings.mask_within_chunks:
            seen = [j for j in seen if codes[j] == codes[i]]
        keys = seen or [i]
        scores = qk[keys] @ qk[i] / np.sqrt(qk.shape[1]) - (0 if seen else LONE_PENALTY)
        partition[i] = scores.max() + np.log(np.exp(scores - scores.max()).sum())
        context[i] = np.exp(scores - partition[i]) @ v[keys]
    return context, partition


def looped_lsh(qk, v, lengths, directions: np.ndarray, settings: Lsh) -> np.ndarray:
    """LSH attention (standard variant) in float64, straight from its definition. All [B, L, H, K]."""
    out = np.zeros(v.shape)
    for b, length in enumerate(lengths):
        for h in range(qk.shape[2]):
            x, y = qk[b, :length, h].astype(np.float64), v[b, :length, h].astype(np.float64)
            rounds = [one_round(x, y, of_round[h].astype(np.float64), settings) for of_round in directions]
            contexts, partitions = (np.stack(part) for part in zip(*rounds, strict=True))
            logits = partitions if settings.combine == "logsumexp" else np.zeros_like(partitions)
            weights = np.exp(logits - logits.max(axis=0))
            out[b, :length, h] = (weights[..., None] * contexts).sum(axis=0) / weights.sum(axis=0)[:, None]
    return out


@pytest.mark.parametrize("num_codes", [6, 2**31], ids=["one number", "too many for one number"])
def test_equal_codes_keep_their_order(num_codes):
    codes = np.random.default_rng(0).integers(0, 6, (2, 3, 50)).astype(np.int32)
    np.testing.assert_array_equal(stable_order(codes, num_codes), np.argsort(codes, axis=-1, kind="stable"))


@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
@pytest.mark.parametrize("mask_within_chunks", [False, True])
def test_equals_the_loops(combine, mask_within_chunks):
    for chunk_size, num_hashes, buckets in ((2, 3, 8), (5, 2, 4)):
        settings = Lsh(
            num_hashes=num_hashes, chunk_size=chunk_size, combine=combine, mask_within_chunks=mask_within_chunks
        )
        qk, v = normal(SHAPE, seed=chunk_size, count=2)
        directions = rotations(settings, buckets)
        ours = attend(qk, v, LENGTHS, directions, settings=settings)
        expected = looped_lsh(qk, v, LENGTHS, np.asarray(directions), settings)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=5e-6, err_msg=str(settings))


@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
def test_one_chunk_over_everything_is_exact_attention_without_oneself(combine):
    settings = Lsh(num_hashes=3, chunk_size=16, combine=combine)
    qk, v = normal(SHAPE, count=2)
    allowed = (np.arange(13) < LENGTHS[:, None])[:, None, :] & ~np.eye(13, dtype=bool)
    allowed[2, 0, 0] = True  # the only token of its row
    allowed |= ~allowed.any(axis=-1, keepdims=True)
    ours = attend(qk, v, LENGTHS, rotations(settings, 2), settings=settings)
    assert_real_tokens_close(ours, dense_attention(qk, qk, v, allowed), LENGTHS, rtol=1e-5, atol=2e-6)


def test_padding_is_zero_and_cannot_be_seen():
    settings = Lsh(num_hashes=2, chunk_size=3)
    qk, v = normal(SHAPE, count=2)
    directions = rotations(settings, 4)
    before = np.asarray(attend(qk, v, LENGTHS, directions, settings=settings))
    padding = np.arange(13) >= LENGTHS[:, None]
    qk[padding], v[padding] = 9, 9
    np.testing.assert_array_equal(before, attend(qk, v, LENGTHS, directions, settings=settings))
    assert not before[padding].any()
    assert before[~padding].any(axis=-1).all()


def test_a_row_of_padding_is_finite():
    settings = Lsh(num_hashes=2, chunk_size=3, combine="logsumexp")
    qk, v = normal((2, 7, 2, 4), count=2)
    lengths, directions = real_lengths(0, 7), rotations(settings, 4)
    out = attend(qk, v, lengths, directions, settings=settings)
    assert not np.asarray(out[0]).any()

    def summed(qk, v):
        return lsh_attention(qk, v, lengths, directions, settings=settings).sum()

    assert all(np.isfinite(gradient).all() for gradient in jax.jit(jax.grad(summed, (0, 1)))(qk, v))


@pytest.mark.parametrize("variant", ["standard", "reference"])
@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
def test_gradients(variant: Literal["standard", "reference"], combine: Literal["mean", "logsumexp"]):
    settings = Lsh(num_hashes=2, chunk_size=2, combine=combine, variant=variant)
    directions, lengths = draw_rotations(jax.random.key(0), 1, 2, 4, settings), real_lengths(6, 4)
    check_float64_gradients(
        lambda qk, v: lsh_attention(qk, v, lengths, directions, settings=settings), *normal((2, 6, 1, 2), count=2)
    )


def test_rotations_have_unit_length_and_no_preferred_direction():
    directions = np.asarray(draw_rotations(jax.random.key(0), 3, 4, 2000, Lsh(num_hashes=2)))
    assert directions.shape == (2, 3, 4, 1000)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=2), 1, rtol=1e-6)
    # each coordinate of a random unit vector has mean 0 and variance 1/K
    assert np.abs(directions.mean(axis=3)).max() < 5 * 0.5 / np.sqrt(1000)
    np.testing.assert_allclose(np.square(directions).mean(axis=3), 0.25, atol=5 * 0.22 / np.sqrt(1000))


def test_sizes():
    standard, reference = Lsh(chunk_size=4), Lsh(chunk_size=4, variant="reference")
    assert [padded_length(n, standard) for n in (1, 4, 5, 12)] == [4, 4, 8, 12]
    assert [padded_length(n, reference) for n in (1, 4, 5, 12)] == [8, 8, 8, 16]
    assert num_buckets(8, 64, standard) == num_buckets(60, 64, standard) == 16
    assert [num_buckets(n, 64, reference) for n in (8, 16, 24)] == [2, 4, 6]
    assert num_buckets(4, 5, standard) == 2
