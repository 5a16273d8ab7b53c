"""Dropout: rates, means and independence, each at four standard errors of a million draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textclf_jax.kernels.dropout import dropout, hash_bits

SIZE = 1_000_000
SIGMAS = 4


def dropped(key, rate: float = 0.1) -> np.ndarray:
    """Where a million elements were dropped, as float64 with mean 0 and variance 1."""
    zero = np.asarray(dropout(jnp.ones(SIZE), rate, key)) == 0
    return (zero - rate) / np.sqrt(rate * (1 - rate))


def correlation_in_sigmas(a: np.ndarray, b: np.ndarray) -> float:
    """How many standard errors the correlation of two standardised series is away from zero."""
    return abs((a * b).mean()) * np.sqrt(a.size)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_rate_and_mean(rate):
    out = np.asarray(dropout(jnp.ones(SIZE), rate, jax.random.key(3)), np.float64)
    assert abs((out == 0).mean() - rate) < SIGMAS * np.sqrt(rate * (1 - rate) / SIZE)
    assert abs(out.mean() - 1) < SIGMAS * np.sqrt(rate / (1 - rate) / SIZE)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)


def test_bfloat16_keeps_the_mean():
    """The factor 1 / 0.9 in bfloat16 is 1.1094, 0.15% off."""
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, SIZE), jnp.bfloat16)
    out = np.asarray(dropout(x, 0.1, jax.random.key(3)), np.float64)
    kept = out != 0
    assert abs(out[kept].sum() / np.asarray(x, np.float64)[kept].sum() * 0.9 - 1) < 1e-4


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 64, 128, 512, 768, 4096])
def test_elements_are_independent_of_their_neighbours(lag):
    mask = dropped(jax.random.key(1))
    assert correlation_in_sigmas(mask[lag:], mask[:-lag]) < SIGMAS


def test_steps_layers_and_streams_are_independent():
    key = jax.random.key(0)
    keys = [jax.random.fold_in(key, step) for step in range(3)]
    keys += [jax.random.fold_in(keys[0], layer) for layer in range(3)]
    masks = np.stack([dropped(key) for key in keys])
    correlations = np.abs(masks @ masks.T / np.sqrt(SIZE))
    assert correlations[~np.eye(len(keys), dtype=bool)].max() < SIGMAS


def test_neighbouring_seeds_are_independent():
    """Raw keys of neighbouring seeds differ in one bit."""
    masks = np.stack([dropped(jax.random.key(seed)) for seed in (0, 1, 2, 4, 255, 1 << 16)])
    correlations = np.abs(masks @ masks.T / np.sqrt(SIZE))
    assert correlations[~np.eye(len(masks), dtype=bool)].max() < SIGMAS


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_byte_is_uniform(seed):
    words = np.asarray(hash_bits(jax.random.fold_in(jax.random.key(9), seed), SIZE))
    for shift in range(0, 32, 8):
        counts = np.bincount((words >> shift) & 0xFF, minlength=256)
        chi_square = (np.square(counts - SIZE / 256) / (SIZE / 256)).sum()
        assert abs(chi_square - 255) < SIGMAS * np.sqrt(2 * 255), f"byte at bit {shift}"


def test_rate_zero_and_evaluation_are_the_identity():
    x = jnp.linspace(-1, 1, 100)
    assert dropout(x, 0.0, jax.random.key(0)) is x
    assert dropout(x, 0.5, None) is x


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_and_shape_are_kept(dtype):
    x = jnp.ones((100, 5, 20), dtype)
    out = dropout(x, 0.25, jax.random.key(0))
    assert (out.shape, out.dtype) == (x.shape, dtype)
    assert set(np.unique(out.astype(jnp.float32))) == {0.0, float(jnp.asarray(1 / 0.75, dtype))}


def test_infinite_and_nan_values_can_be_dropped():
    x = jnp.full(1000, jnp.inf).at[::2].set(jnp.nan)
    assert (np.asarray(dropout(x, 0.5, jax.random.key(0))) == 0).mean() > 0.4


def test_gradient_is_the_mask():
    x = jnp.linspace(1, 2, 1000)
    out, backward = jax.vjp(lambda x: dropout(x, 0.3, jax.random.key(0)), x)
    np.testing.assert_allclose(backward(jnp.ones_like(x))[0], out / x, rtol=1e-6)
