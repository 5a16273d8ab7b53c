"""Embeddings, their positions, and the LayerNorm behind them."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from tests.model.cases import VOCAB_SIZE, architecture, batch, normal, normalised, random_variables
from textclf_jax.model.embeddings import Embeddings, sinusoidal_table

IDS, _ = batch((6, 3), 6)


def with_variables(config):
    module = Embeddings(config, VOCAB_SIZE)
    return module, random_variables(module, IDS, None, None, train=False)


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
