"""LayerNorm against its definition, and its gradient against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED
from tests.model.cases import HALF, check_float64_gradients, normal, normalised
from textclf_jax.kernels import layer_norm as layer_norm_module
from textclf_jax.kernels.layer_norm import _gpu_layer_norm, _layer_norm, layer_norm, layer_norm_reference
from textclf_jax.kernels.precision import FULL

PLATFORMS = ("cpu", "gpu")
ONES, ZEROS = np.ones(16, np.float32), np.zeros(16, np.float32)


@pytest.fixture(params=PLATFORMS, autouse=True)
def computed_as_on(request, monkeypatch) -> str:
    monkeypatch.setattr(layer_norm_module, "platform", lambda: request.param)
    return request.param


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-5, 0.0), (1e-6, 0.0), (1.0, 1e4)])
def test_tiny_and_shifted_inputs(scale, offset):
    """The epsilon is 1e-12 of the variance, and the variance does not cancel."""
    x = (normal((4, 16)) * scale + offset).astype(np.float32)
    np.testing.assert_allclose(layer_norm(x, ONES, ZEROS), normalised(x), atol=2e-3 if offset else 2e-6)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.0, 100.0), (3.0, 1e3), (1e-5, 0.0)])
def test_half_precision_statistics_are_float32(scale, offset):
    """At 1,000 neighbours are 4 apart: half as much as the input varies, and its variance is still right."""
    x = jnp.asarray(normal((4, 16)) * scale + offset, jnp.bfloat16)
    out = layer_norm(x, ONES, ZEROS, HALF)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), normalised(np.asarray(x, np.float64)), atol=0.02)


def test_equal_elements_give_the_bias(computed_as_on):
    """The variance is 0, of which rounding could make a negative number."""
    x = jnp.broadcast_to(jnp.asarray(normal((8, 1), scale=1e3), jnp.bfloat16), (8, 24))
    scale, bias = jnp.ones(24), jnp.full(24, 0.5)
    # on a GPU the mean of 24 equal numbers may be rounded, and so may their variance
    atol = 1e-2 if computed_as_on == "gpu" else 0
    np.testing.assert_allclose(layer_norm(x, scale, bias, HALF).astype(jnp.float32), 0.5, atol=atol)


def test_gradients(computed_as_on):
    compute = _gpu_layer_norm if computed_as_on == "gpu" else lambda *a: _layer_norm(*a, FULL)
    check_float64_gradients(compute, normal((6, 5)), normal((5,)), normal((5,)))


@pytest.mark.parametrize("shape", [(16,), (3, 16), (1, 128, 16), (2, 3, 16)])
def test_values_and_gradients_are_those_of_the_reference(shape):
    """One long text, and one vector, too."""
    x, scale, bias, weights = normal(shape), 1 + normal((16,)) / 4, normal((16,), seed=1), normal(shape, seed=2)

    def results(function):
        return jax.value_and_grad(lambda *a: (function(*a) * weights).sum(), (0, 1, 2))(x, scale, bias)

    found, expected = results(layer_norm), results(layer_norm_reference)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


def test_what_is_kept_is_rounded_and_the_result_is_not(monkeypatch):
    """The gradient then has 8 bits, as products have."""
    monkeypatch.setattr(layer_norm_module, "platform", lambda: "cpu")
    x = normal((4, 16))
    weights = np.roll(x, 1)
    exact, rounded = (
        jax.value_and_grad(lambda x, p=precision: (layer_norm(x, ONES, ZEROS, p) * weights).sum())(x)
        for precision in (FULL, ROUNDED)
    )
    assert exact[0] == rounded[0]
    assert 0 < np.abs(exact[1] - rounded[1]).max() < 0.02 * np.abs(exact[1]).max()


def test_on_a_gpu_rounded_inputs_give_the_gradients_of_the_reference(monkeypatch):
    """With mean and deviation from one pass; what is kept is the input itself, so gradients are as exact as it is."""
    monkeypatch.setattr(layer_norm_module, "platform", lambda: "gpu")
    x = jnp.asarray(2 * normal((64, 32)) + 3, jnp.bfloat16)
    scale, bias, weights = 1 + normal((32,)) / 4, normal((32,), seed=1), normal((64, 32), seed=2)

    def gradients(function, x):
        return jax.grad(lambda *a: (function(*a) * weights).sum(), (0, 1, 2))(x, scale, bias)

    found, expected = gradients(layer_norm, x), gradients(layer_norm_reference, x.astype(jnp.float32))
    assert found[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(found[0].astype(jnp.float32), expected[0], atol=2**-8 * np.abs(expected[0]).max())
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
