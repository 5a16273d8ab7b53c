"""Exact attention against numpy in float64."""

import jax.numpy as jnp
import numpy as np

from tests.model.cases import check_float64_gradients, dense_attention, normal, real_lengths
from textclf_jax.model.attention.softmax import padding_bias, softmax_attention

LENGTHS = real_lengths(9, 1, 4)
SHAPE = (3, 9, 2, 4)


def test_equals_dense_softmax_over_real_keys():
    q, k, v = normal(SHAPE, scale=2, count=3)
    real = np.broadcast_to((np.arange(9) < LENGTHS[:, None])[:, None, :], (3, 9, 9))
    np.testing.assert_allclose(
        softmax_attention(q, k, v, LENGTHS), dense_attention(q, k, v, real), rtol=1e-5, atol=2e-6
    )


def test_padding_cannot_be_seen():
    q, k, v = normal(SHAPE, count=3)
    before = np.asarray(softmax_attention(q, k, v, LENGTHS))
    padding = np.arange(9) >= LENGTHS[:, None]
    k[padding], v[padding] = 50, 50
    np.testing.assert_array_equal(before, softmax_attention(q, k, v, LENGTHS))


def test_a_row_without_real_keys_averages_all_values():
    q, k, v = normal((1, 5, 2, 4), count=3)
    out = softmax_attention(q, k, v, real_lengths(0))
    np.testing.assert_allclose(out, np.broadcast_to(v.mean(axis=1, keepdims=True), v.shape), atol=1e-6)


def test_fewer_queries_than_keys():
    q, k, v = normal(SHAPE, count=3)
    np.testing.assert_allclose(
        softmax_attention(q[:, :2], k, v, LENGTHS), softmax_attention(q, k, v, LENGTHS)[:, :2], atol=1e-6
    )


def test_padding_bias():
    expected = np.array([[0, 0, -1e9], [0, 0, 0], [-1e9] * 3], np.float32)
    np.testing.assert_array_equal(padding_bias(real_lengths(2, 3, 0), 3), expected)


def test_gradients():
    lengths = real_lengths(4, 2)
    check_float64_gradients(lambda q, k, v: softmax_attention(q, k, v, lengths), *normal((2, 4, 1, 2), count=3))


def test_scores_of_bf16_are_summed_in_float32():
    """Scores that differ by less than bf16 resolves at their size still order the keys."""
    q = jnp.full((1, 1, 1, 2), 16.0, jnp.bfloat16)
    k = jnp.array([16.0, 0.0625, 16.0, 0.0], jnp.bfloat16).reshape(1, 2, 1, 2)
    v = jnp.array([1.0, 1.0, 0.0, 0.0], jnp.bfloat16).reshape(1, 2, 1, 2)
    weight = float(softmax_attention(q, k, v, real_lengths(2))[0, 0, 0, 0])
    np.testing.assert_allclose(weight, 1 / (1 + np.exp(-1 / np.sqrt(2))), atol=0.01)
