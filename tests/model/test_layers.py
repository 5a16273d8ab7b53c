"""The layers: their parameters, dtypes and random streams. What they compute is tested with the kernels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF, normal
from textclf_jax.kernels.gelu import gelu_reference
from textclf_jax.model.layers import Dropout, GeluLinear, LayerNorm, Linear


@pytest.mark.parametrize("layer", [Linear(3, HALF), GeluLinear(3, HALF), LayerNorm(HALF)])
def test_parameters_are_float32_and_results_are_activations(layer):
    x = jnp.ones((2, 4))
    variables = layer.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert layer.apply(variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(("layer", "before"), [(Linear(6), lambda x: x), (GeluLinear(6), gelu_reference)])
def test_linear_layers_by_their_definition(layer, before):
    """All features, and a part of them."""
    x = normal((2, 3, 4))
    params: Any = layer.init(jax.random.key(0), x)["params"] | {"bias": normal((6,), seed=1)}
    expected = before(x) @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=1e-5)
    part = slice(2, 5)
    np.testing.assert_allclose(layer.apply({"params": params}, x, part), expected[..., part], atol=1e-5)


def test_no_bias():
    assert set(Linear(3, use_bias=False).init(jax.random.key(0), jnp.ones((2, 4)))["params"]) == {"kernel"}


def test_dropout_is_for_training_alone():
    x = jnp.linspace(-1, 1, 100)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, train=False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, train=True), x)


def test_dropout_draws_from_its_stream():
    x = jnp.ones(1000)
    first, again, other = (
        Dropout(0.5).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).mean() > 0.4
