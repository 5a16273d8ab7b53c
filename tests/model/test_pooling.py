"""Pooling against numpy, row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import check_float64_gradients, normal, real_lengths
from textclf_jax.model.pooling import pool

KINDS = ("cls", "mean", "max", "min", "strided_mean")
LENGTHS = real_lengths(7, 4, 1)
STRIDE = 3

BY_ROW = {
    "cls": lambda row: row[0],
    "mean": lambda row: row.mean(axis=0),
    "max": lambda row: row.max(axis=0),
    "min": lambda row: row.min(axis=0),
    "strided_mean": lambda row: row[::STRIDE].mean(axis=0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pools_the_real_tokens(kind):
    x = normal((3, 7, 4))
    expected = [BY_ROW[kind](row[:length]) for row, length in zip(x, LENGTHS, strict=True)]
    np.testing.assert_allclose(pool(x, LENGTHS, kind, STRIDE), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_cannot_be_seen(kind):
    x = normal((3, 7, 4))
    before = pool(x, LENGTHS, kind, STRIDE)
    x[np.arange(7) >= LENGTHS[:, None]] = 1e30
    np.testing.assert_array_equal(before, pool(x, LENGTHS, kind, STRIDE))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_padding_is_finite_and_so_is_its_gradient(kind):
    x, lengths = normal((2, 5, 4)), real_lengths(0, 5)
    pooled, backward = jax.vjp(lambda x: pool(x, lengths, kind, STRIDE), jnp.asarray(x))
    assert np.isfinite(pooled).all()
    assert np.isfinite(backward(jnp.ones_like(pooled))[0]).all()
    if "mean" in kind:
        np.testing.assert_array_equal(pooled[0], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    check_float64_gradients(lambda x: pool(x, real_lengths(4, 2), kind, STRIDE), normal((2, 4, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_pooled_in_float32(kind):
    """300 ones and a small number: bf16 could not count that far."""
    x = jnp.ones((1, 300, 1), jnp.bfloat16)
    assert pool(x, real_lengths(300), kind, 1).dtype == jnp.float32
    np.testing.assert_allclose(pool(x, real_lengths(300), kind, 1), 1)
