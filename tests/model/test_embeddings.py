"""Embeddings, their positions, and the LayerNorm behind them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF, VOCAB_SIZE, architecture, batch, normal, random_variables
from textclf_jax.model.embeddings import Embeddings, layer_norm, sinusoidal_table
from textclf_jax.model.precision import FULL

IDS, _ = batch((6, 3), 6)


def normalised(x: Any, epsilon: float = 1e-12) -> np.ndarray:
    """LayerNorm without scale and bias, in float64."""
    x = np.asarray(x, np.float64)
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)


def with_variables(config):
    module = Embeddings(config, VOCAB_SIZE)
    return module, random_variables(module, IDS, None, None, train=False)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-5, 0.0), (1e-6, 0.0), (1.0, 1e4)])
def test_layer_norm_of_tiny_and_of_shifted_inputs(scale, offset):
    """The epsilon is 1e-12 of the variance, and the variance does not cancel."""
    x = (normal((4, 16)) * scale + offset).astype(np.float32)
    module = layer_norm(FULL)
    out: Any = module.apply(module.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(out, normalised(x), atol=2e-3 if offset else 2e-6)


def test_half_precision_statistics_are_float32():
    x = jnp.asarray(normal((4, 64)) + 100, jnp.bfloat16)
    module = layer_norm(HALF)
    out: Any = module.apply(module.init(jax.random.key(0), x), x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), normalised(np.asarray(x, np.float64)), atol=0.02)


def test_sinusoidal_table_by_its_definition():
    table = sinusoidal_table(50, 6)
    for p in (0, 1, 49):
        for i in range(3):
            angle = p * 10_000 ** (-2 * i / 6)
            np.testing.assert_allclose(table[p, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)


def expected_output(variables, summed):
    """The LayerNorm of a sum of embeddings, with the variables' scale and bias."""
    norm = variables["params"]["layer_norm"]
    return normalised(summed) * norm["scale"] + norm["bias"]


def test_sum_of_words_positions_and_types():
    module, variables = with_variables(architecture(pos_encoding="learned", type_vocab_size=2))
    run = jax.jit(partial(module.apply, train=False))
    tables = {name: leaves["embedding"] for name, leaves in variables["params"].items() if "embedding" in leaves}
    positions = np.array([[3, 1, 4, 0, 5, 9], [2, 6, 5, 3, 5, 8]])
    types = np.array([[0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1]])
    summed = tables["word"][IDS] + tables["position"][positions] + tables["token_type"][types]
    np.testing.assert_allclose(run(variables, IDS, positions, types), expected_output(variables, summed), atol=1e-5)
    summed = tables["word"][IDS] + tables["position"][:6] + tables["token_type"][0]
    np.testing.assert_allclose(run(variables, IDS, None, None), expected_output(variables, summed), atol=1e-5)


@pytest.mark.parametrize(("positions", "added"), [("rope", 0.0), ("sinusoidal", sinusoidal_table(6, 16))])
def test_fixed_positions_have_no_table(positions, added):
    module, variables = with_variables(architecture(pos_encoding=positions))
    assert set(variables["params"]) == {"word", "layer_norm"}
    expected = expected_output(variables, variables["params"]["word"]["embedding"][IDS] + added)
    actual = jax.jit(partial(module.apply, train=False))(variables, IDS, None, None)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_pad_starts_at_zero():
    module, _ = with_variables(architecture())
    fresh = jax.jit(partial(module.init, train=False))(jax.random.key(0), IDS, None, None)
    assert not np.asarray(fresh["params"]["word"]["embedding"])[0].any()


def test_pad_does_not_learn_from_being_looked_up():
    module, variables = with_variables(architecture())
    weights = normal((2, 6, 16))

    def loss(variables):
        output: Any = module.apply(variables, IDS, None, None, train=False)
        return (output * weights).sum()

    by_row = np.abs(jax.jit(jax.grad(loss))(variables)["params"]["word"]["embedding"]).max(axis=1)
    assert {i for i in range(VOCAB_SIZE) if by_row[i] > 0} == set(IDS.reshape(-1)) - {0}
