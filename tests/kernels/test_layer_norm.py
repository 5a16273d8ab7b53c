"""LayerNorm against its definition, and its gradient against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED
from tests.model.cases import HALF, check_float64_gradients, normal, normalised
from textclf_jax.kernels.layer_norm import _layer_norm, layer_norm, layer_norm_reference
from textclf_jax.kernels.precision import FULL

ONES, ZEROS = np.ones(16, np.float32), np.zeros(16, np.float32)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-5, 0.0), (1e-6, 0.0), (1.0, 1e4)])
def test_tiny_and_shifted_inputs(scale, offset):
    """The epsilon is 1e-12 of the variance, and the variance does not cancel."""
    x = (normal((4, 16)) * scale + offset).astype(np.float32)
    np.testing.assert_allclose(layer_norm(x, ONES, ZEROS), normalised(x), atol=2e-3 if offset else 2e-6)


def test_half_precision_statistics_are_float32():
    x = jnp.asarray(normal((4, 16)) + 100, jnp.bfloat16)
    out = layer_norm(x, ONES, ZEROS, HALF)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), normalised(np.asarray(x, np.float64)), atol=0.02)


def test_gradients():
    check_float64_gradients(lambda *a: _layer_norm(*a, FULL), normal((2, 3, 5)), normal((5,)), normal((5,)))


@pytest.mark.parametrize("shape", [(16,), (3, 16), (1, 128, 16), (2, 3, 16)])
def test_values_and_gradients_are_those_of_the_reference(shape):
    """One long text, and one vector, too."""
    x, scale, bias, weights = normal(shape), 1 + normal((16,)) / 4, normal((16,), seed=1), normal(shape, seed=2)

    def results(function):
        return jax.value_and_grad(lambda *a: (function(*a) * weights).sum(), (0, 1, 2))(x, scale, bias)

    found, expected = results(layer_norm), results(layer_norm_reference)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


def test_what_is_kept_is_rounded_and_the_result_is_not():
    """The gradient then has 8 bits, as products have."""
    x = normal((4, 16))
    weights = np.roll(x, 1)
    exact, rounded = (
        jax.value_and_grad(lambda x, p=precision: (layer_norm(x, ONES, ZEROS, p) * weights).sum())(x)
        for precision in (FULL, ROUNDED)
    )
    assert exact[0] == rounded[0]
    assert 0 < np.abs(exact[1] - rounded[1]).max() < 0.02 * np.abs(exact[1]).max()
