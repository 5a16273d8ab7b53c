"""Sliding-window attention against a dense one."""

import jax
import numpy as np
import pytest

from tests.model.cases import assert_real_tokens_close, check_float64_gradients, dense_attention, normal, real_lengths
from textclf_jax.config.schema import Local
from textclf_jax.model.attention.local import local_attention
from textclf_jax.model.attention.softmax import softmax_attention

LENGTHS = real_lengths(13, 7, 1, 4)
SHAPE = (4, 13, 2, 4)

attend = jax.jit(local_attention, static_argnames=("settings", "dropout_rate"))


def window_mask(lengths: np.ndarray, length: int, settings: Local) -> np.ndarray:
    """[B, L, S]: who may see whom, from the definition."""
    allowed = np.zeros((len(lengths), length, length), bool)
    for i in range(length):
        for j in range(length):
            is_global = min(i, j) < settings.global_tokens
            allowed[:, i, j] = is_global or abs(i - j) <= settings.window
    return allowed & (np.arange(length) < lengths[:, None])[:, None, :]


@pytest.mark.parametrize("global_tokens", [0, 1, 3])
@pytest.mark.parametrize("window", [1, 4, 5])
def test_equals_dense_softmax_within_the_window(window, global_tokens):
    settings = Local(window=window, global_tokens=global_tokens)
    q, k, v = normal(SHAPE, count=3)
    expected = dense_attention(q, k, v, window_mask(LENGTHS, SHAPE[1], settings) | np.eye(SHAPE[1], dtype=bool))
    assert_real_tokens_close(attend(q, k, v, LENGTHS, settings=settings), expected, LENGTHS, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("window", [12, 100])
def test_a_window_over_everything_is_exact_attention(window):
    q, k, v = normal(SHAPE, count=3)
    exact = jax.jit(softmax_attention)(q, k, v, LENGTHS)
    np.testing.assert_array_equal(attend(q, k, v, LENGTHS, settings=Local(window=window)), exact)


def test_all_tokens_global_is_exact_attention():
    q, k, v = normal(SHAPE, count=3)
    settings = Local(window=2, global_tokens=50)
    exact = jax.jit(softmax_attention)(q, k, v, LENGTHS)
    np.testing.assert_allclose(attend(q, k, v, LENGTHS, settings=settings), exact, atol=1e-6)


def test_what_is_outside_of_the_window_does_not_matter():
    q, k, v = normal((1, 12, 1, 4), count=3)
    settings, lengths = Local(window=2, global_tokens=0), real_lengths(12)
    before = attend(q, k, v, lengths, settings=settings)
    far = np.arange(12)[:, None, None] >= 7
    after = attend(q, *(np.where(far, np.float32(1e3), x) for x in (k, v)), lengths, settings=settings)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(np.asarray(before - after)[:, 5]).max() > 1


def test_a_row_of_padding_is_finite():
    q, k, v = normal((2, 9, 2, 4), count=3)
    out = attend(q, k, v, real_lengths(0, 9), settings=Local(window=2))
    assert np.isfinite(out).all()


def test_gradients():
    settings, lengths = Local(window=2, global_tokens=1), real_lengths(7, 4)
    check_float64_gradients(
        lambda q, k, v: local_attention(q, k, v, lengths, settings=settings), *normal((2, 7, 1, 2), count=3)
    )


def test_dropout_is_of_the_probabilities():
    """With values of one, each output is a sum of kept probabilities, whose mean is one."""
    q, k, v = normal((4, 64, 4, 4), count=3)
    settings, lengths = Local(window=8, global_tokens=2), real_lengths(64, 64, 64, 64)
    dropped = attend(
        q, k, np.ones_like(v), lengths, settings=settings, dropout_rate=0.25, dropout_key=jax.random.key(0)
    )
    per_query = np.asarray(dropped)[..., 0]
    assert abs(per_query.mean() - 1) < 4 * per_query.std() / np.sqrt(per_query.size)
    assert per_query.std() > 0.05
