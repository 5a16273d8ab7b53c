"""The maximum and its gradient, and sums of products."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import check_float64_gradients, normal, random_variables
from textclf_jax.kernels import reductions
from textclf_jax.kernels.precision import FULL
from textclf_jax.kernels.reductions import global_norm, maximum, sum_of_products, two_sums
from textclf_jax.model.layers import LayerNorm


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_equals_the_maximum(axis):
    x = normal((3, 4, 5))
    np.testing.assert_array_equal(maximum(x, axis=axis), x.max(axis=axis, keepdims=True))


def test_the_gradient_goes_to_the_first_of_equals():
    gradient = jax.grad(lambda x: maximum(x, axis=0).sum())(jnp.array([1.0, 3.0, 3.0, 2.0]))
    np.testing.assert_array_equal(gradient, [0, 1, 0, 0])


def test_gradients():
    check_float64_gradients(lambda x: maximum(x, axis=1), normal((2, 5, 3)))


def test_no_gradient_is_lost_when_compiled():
    """A bias that is added to all candidates is added to the maximum, so its gradient is that of the maximum.

    `jnp.max` loses it here (jax 0.10.2, compiled as all tests are): the LayerNorm is computed anew, otherwise rounded.
    """
    x, weights = normal((4, 12, 16)), normal((4, 1, 16), seed=2)
    kernel, norm = normal((16, 16), seed=1), LayerNorm(FULL)
    variables = random_variables(norm, x)

    def loss(variables):
        hidden: Any = norm.apply(variables, x + x @ kernel)
        return (maximum(hidden, axis=1) * weights).sum()

    gradient = jax.jit(jax.grad(loss))(variables)["params"]["bias"]
    np.testing.assert_allclose(gradient, weights.sum(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize(
    "shapes", [((1, 1, 4, 5),) * 2, ((1, 2, 4, 5), (1, 1, 1, 5)), ((2, 4, 5),) * 2, ((1, 5), (1, 5))]
)
def test_a_sum_of_products_is_one(shapes, axis):
    """Whether or not the first axis has one element, and whether or not it may be left out."""
    a, b = (normal(shape, seed=seed) for seed, shape in enumerate(shapes))
    np.testing.assert_allclose(sum_of_products(a, b, axis), (a * b).sum(axis=axis, keepdims=True), rtol=1e-5, atol=1e-6)


def test_two_sums_are_two_sums():
    a, b = normal((7, 5), count=2)
    for axis in (0, 1):
        for found, x in zip(two_sums(jnp.asarray(a), jnp.asarray(b), axis), (a, b), strict=True):
            np.testing.assert_allclose(found, x.sum(axis=axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_norm_is_that_of_all_elements(platform, monkeypatch):
    monkeypatch.setattr(reductions, "platform", lambda: platform)
    tree = {"a": jnp.asarray(normal((3, 4))), "b": [jnp.asarray(normal((5,), seed=1)), jnp.float32(2.0)]}
    tree["c"] = jnp.asarray(normal((2, 3, 4), seed=2))
    everything = np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    assert float(global_norm(tree)) == pytest.approx(float(np.linalg.norm(everything.astype(np.float64))), rel=1e-6)
    assert not np.isfinite(global_norm(tree | {"d": jnp.array([1.0, jnp.nan])}))
    assert not np.isfinite(global_norm(tree | {"d": jnp.array([[1.0, -jnp.inf]])}))
