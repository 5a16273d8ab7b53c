"""GELU against its definition, and its gradients against float64 and autodiff."""

from math import erf, pi, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED, rounded
from tests.model.cases import HALF, check_float64_gradients, normal
from textclf_jax.kernels.gelu import gelu, gelu_linear, gelu_reference
from textclf_jax.kernels.precision import FULL


def test_gelu_is_the_exact_one():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    expected = [v * 0.5 * (1 + erf(v / sqrt(2))) for v in x.astype(float)]
    np.testing.assert_allclose(gelu(x), expected, atol=1e-6)


def test_gradients():
    check_float64_gradients(gelu, normal((40,)) * 3)


def test_what_is_kept_is_rounded_and_the_result_is_not():
    """The gradient then has 8 bits, as products have."""
    x = normal((4, 64))
    weights = np.roll(x, 1)
    exact, rounded = (
        jax.value_and_grad(lambda x, p=precision: (gelu(x, p) * weights).sum())(x) for precision in (FULL, ROUNDED)
    )
    assert exact[0] == rounded[0]
    assert 0 < np.abs(exact[1] - rounded[1]).max() < 0.02 * np.abs(exact[1]).max()


def test_bfloat16_is_rounded_once():
    """Value and gradient are the nearest of bfloat16 to the exact ones, but where float32's last digits decide."""
    x = jnp.asarray(np.linspace(-3, 3, 2001), jnp.bfloat16)
    found, vjp = jax.vjp(lambda x: gelu(x, HALF), x)
    wide = np.asarray(x, np.float64)
    cdf = np.array([0.5 * (1 + erf(v / sqrt(2))) for v in wide])
    slope = cdf + wide * np.exp(-0.5 * wide**2) / sqrt(2 * pi)
    for ours, exact in ((found, wide * cdf), (vjp(jnp.ones_like(x))[0], slope)):
        assert (np.asarray(ours, np.float64) == rounded(exact)).mean() > 0.98


def results(function, x, kernel):
    weights = normal((*x.shape[:-1], kernel.shape[1]), seed=2)
    return jax.value_and_grad(lambda x, w: (function(x, w) * weights).sum(), (0, 1))(x, kernel)


def test_values_and_gradients_before_a_product_are_those_of_the_reference():
    """Against autodiff's, which keeps GELU."""
    x, kernel = normal((2, 5, 8)) * 2, normal((8, 3), seed=1)
    found = results(lambda x, w: gelu_linear(x, w, FULL), x, kernel)
    expected = results(lambda x, w: gelu_reference(x) @ w, x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.parametrize("precision", [ROUNDED, HALF])
def test_gradients_before_a_product_of_rounded_inputs(precision):
    """To the 8 bits that products have, and each in the dtype of what it is of."""
    x, kernel = jnp.asarray(normal((4, 8, 16)), jnp.bfloat16), normal((16, 8), seed=1) / 4
    (_, found), (_, expected) = (
        results(lambda x, w, p=p: gelu_linear(x, w, p), y, kernel)
        for p, y in ((precision, x), (FULL, x.astype(jnp.float32)))
    )
    assert (found[0].dtype, found[1].dtype) == (jnp.bfloat16, jnp.float32)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.astype(np.float32), b, atol=0.1), found, expected)
