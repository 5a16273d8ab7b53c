"""GELU and LayerNorm against their definitions, and their gradients against float64."""

from math import erf, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF, check_float64_gradients, normal, normalised
from textclf_jax.model.layers import GeluLinear, LayerNorm, _normalised, gelu
from textclf_jax.model.precision import FULL, Precision

ROUNDING = Precision(jnp.float32, jnp.bfloat16)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-5, 0.0), (1e-6, 0.0), (1.0, 1e4)])
def test_layer_norm_of_tiny_and_of_shifted_inputs(scale, offset):
    """The epsilon is 1e-12 of the variance, and the variance does not cancel."""
    x = (normal((4, 16)) * scale + offset).astype(np.float32)
    module = LayerNorm(FULL)
    out: Any = module.apply(module.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(out, normalised(x), atol=2e-3 if offset else 2e-6)


def test_half_precision_statistics_are_float32():
    x = jnp.asarray(normal((4, 64)) + 100, jnp.bfloat16)
    module = LayerNorm(HALF)
    out: Any = module.apply(module.init(jax.random.key(0), x), x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), normalised(np.asarray(x, np.float64)), atol=0.02)


def test_layer_norm_gradients():
    arguments = normal((2, 3, 5)), normal((5,)), normal((5,))
    check_float64_gradients(lambda x, scale, bias: _normalised(x, scale, bias, FULL), *arguments)


def test_one_long_text_is_normalised_alike():
    x = normal((1, 128, 8))
    module = LayerNorm()
    variables = module.init(jax.random.key(0), x)

    def gradients(x):
        return jax.grad(lambda v, x: (module.apply(v, x) * weights.reshape(x.shape)).sum(), (0, 1))(variables, x)

    weights = normal((128, 8))
    long, short = gradients(x), gradients(x.reshape(2, 64, 8))
    np.testing.assert_allclose(module.apply(variables, x)[0], normalised(x[0]), atol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.reshape(b.shape), b, atol=1e-5), long, short)


def test_gelu_gradients():
    check_float64_gradients(gelu, normal((40,)) * 3)


@pytest.mark.parametrize("function", [gelu, lambda x, p: _normalised(x, jnp.ones(64), jnp.zeros(64), p)])
def test_gradients_of_rounded_residuals_stay_close(function):
    """What is kept for the backward pass has 8 bits where products have, and the result itself is not rounded."""
    x = normal((4, 64))
    weights = np.roll(x, 1)
    exact, rounded = (
        jax.value_and_grad(lambda x, p=precision: (function(x, p) * weights).sum())(x) for precision in (FULL, ROUNDING)
    )
    assert exact[0] == rounded[0]
    assert 0 < np.abs(exact[1] - rounded[1]).max() < 0.02 * np.abs(exact[1]).max()


def test_gelu_linear_gradients():
    """Against autodiff's, which keeps GELU."""
    module, x = GeluLinear(3), normal((2, 5, 8)) * 2
    variables: Any = module.init(jax.random.key(0), x)
    weights = normal((2, 5, 3))

    def plain(variables, x):
        parameters = variables["params"]
        return jax.nn.gelu(x, approximate=False) @ parameters["kernel"] + parameters["bias"]

    found, expected = (
        jax.grad(lambda v, x, f=f: (f(v, x) * weights).sum(), (0, 1))(variables, x) for f in (module.apply, plain)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


@pytest.mark.parametrize("precision", [ROUNDING, HALF])
def test_gelu_linear_of_rounded_inputs(precision):
    """Gradients to the 8 bits that products have, and each in the dtype of what it is of."""
    x = jnp.asarray(normal((4, 8, 16)), jnp.bfloat16)
    module, exact = GeluLinear(8, precision), GeluLinear(8)
    variables: Any = module.init(jax.random.key(0), x)

    def gradients(module, x):
        return jax.grad(lambda v, x: (module.apply(v, x) * normal((4, 8, 8))).sum(), (0, 1))(variables, x)

    found, expected = gradients(module, x), gradients(exact, x.astype(jnp.float32))
    assert found[1].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(found[0])} == {jnp.dtype(jnp.float32)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.astype(np.float32), b, atol=0.1), found, expected)


def test_gelu_is_the_exact_one():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    expected = [v * 0.5 * (1 + erf(v / sqrt(2))) for v in x.astype(float)]
    np.testing.assert_allclose(gelu(x), expected, atol=1e-6)
