"""The whole encoder, for every kind of attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import (
    HALF,
    KINDS,
    VOCAB_SIZE,
    architecture,
    assert_real_tokens_close,
    batch,
    normal,
    random_variables,
)
from textclf_jax.kernels.precision import FULL
from textclf_jax.model.encoder import Encoder

IDS, LENGTHS = batch((11, 6, 1), 11)


def with_variables(config, precision=FULL):
    encoder = Encoder(config, VOCAB_SIZE, precision)
    return encoder, random_variables(encoder, IDS, LENGTHS)


@pytest.mark.parametrize("pos_encoding", ["learned", "sinusoidal", "rope"])
@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_nothing(kind, pos_encoding):
    encoder, variables = with_variables(architecture(kind, pos_encoding=pos_encoding))

    @jax.jit
    def at_widths(variables):
        return [encoder.apply(variables, np.pad(IDS, ((0, 0), (0, more))), LENGTHS) for more in (0, 10)]

    before, after = at_widths(variables)
    assert_real_tokens_close(after, before, LENGTHS, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch_do_not_see_each_other(kind):
    encoder, variables = with_variables(architecture(kind))
    run = jax.jit(encoder.apply)
    before = run(variables, IDS, LENGTHS)
    changed, lengths = IDS.copy(), LENGTHS.copy()
    changed[0], lengths[0] = changed[0, ::-1], 4
    np.testing.assert_array_equal(run(variables, changed, lengths)[1:], before[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_changes_every_parameter(kind):
    config = architecture(kind, pos_encoding="learned", type_vocab_size=2, num_layers=1, mlp_dropout=0.1)
    encoder, variables = with_variables(config)
    weights = normal((*IDS.shape, 16))
    constants = {name: value for name, value in variables.items() if name != "params"}

    @jax.jit
    def step(params, key):
        rngs = {"dropout": key, "hashing": key}

        def loss(params):
            hidden = encoder.apply({"params": params, **constants}, IDS, LENGTHS, train=True, rngs=rngs)
            return (hidden * weights).sum()

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    after = step(variables["params"], jax.random.key(1))
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(variables["params"]), jax.tree.leaves(after), strict=True
    ):
        assert np.isfinite(new).all(), path
        assert np.abs(new - old).max() > 1e-4, path


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_activations_on_float32_parameters(kind):
    # one chunk: a hash that flips in bf16 is not a matter of precision
    config = architecture(kind, {"chunk_size": 16} if kind == "lsh" else None)
    encoder, variables = with_variables(config)
    half, half_variables = with_variables(config, HALF)
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype("float32")}
    expected, actual = (jax.jit(m.apply)(variables, IDS, LENGTHS) for m in (encoder, half))
    assert actual.dtype == jnp.bfloat16
    assert_real_tokens_close(actual.astype(jnp.float32), expected, LENGTHS, rtol=0, atol=0.1)


def test_dropout_is_for_training_alone():
    config = architecture(mlp_dropout=0.5, attn_out_dropout=0.5, embedding_dropout=0.5)
    encoder, variables = with_variables(config)
    run = jax.jit(encoder.apply, static_argnames="train")
    keys = [{"dropout": jax.random.key(seed)} for seed in (0, 0, 1)]
    first, again, other = (run(variables, IDS, LENGTHS, train=True, rngs=rngs) for rngs in keys)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_array_equal(run(variables, IDS, LENGTHS), run(variables, IDS, LENGTHS, train=False, rngs=keys[2]))


def test_each_layer_drops_its_own_elements():
    """Two layers with the same parameters, and inputs that dropout alone can tell apart."""
    config = architecture(mlp_dropout=0.5, num_layers=2)
    encoder, variables = with_variables(config)
    _, state = encoder.apply(
        variables, IDS, LENGTHS, train=True, rngs={"dropout": jax.random.key(0)},
        capture_intermediates=lambda module, _: module.name == "mlp_dropout", mutable="intermediates",
    )  # fmt: skip
    masks = [np.asarray(state["intermediates"][f"layers_{i}"]["mlp_dropout"]["__call__"][0]) == 0 for i in range(2)]
    assert 0.35 < (masks[0] != masks[1]).mean() < 0.65
