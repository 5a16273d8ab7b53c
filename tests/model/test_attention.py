"""The attention module: what it hands to each kind, what it draws, in which precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF, KINDS, architecture, normal, random_variables, real_lengths
from textclf_jax.kernels import backend
from textclf_jax.kernels.precision import FULL
from textclf_jax.model.attention import SelfAttention, softmax
from textclf_jax.model.attention.inputs import Inputs

LENGTHS = real_lengths(12, 5)
X = normal((2, 12, 16))


def with_variables(config, layer: int = 0, precision=FULL):
    """The module and random variables."""
    module = SelfAttention(config, layer, precision)
    return module, random_variables(module, X, LENGTHS, train=False)


@partial(jax.jit, static_argnums=0, static_argnames="train")
def run(module, variables, train=False, rngs=None):
    """The module's output on the inputs of these tests."""
    return module.apply(variables, X, LENGTHS, train=train, rngs=rngs)


def real(y) -> np.ndarray:
    """The outputs of real tokens, [N, D] float32."""
    return np.asarray(y, np.float32)[np.arange(12) < LENGTHS[:, None]]


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_close_to_float32(kind):
    # one chunk: a hash that flips in bf16 is not a matter of precision
    config = architecture(kind, {"chunk_size": 16} if kind == "lsh" else None)
    module, variables = with_variables(config)
    half = SelfAttention(config, precision=HALF)
    expected, actual = (run(m, variables) for m in (module, half))
    assert actual.dtype == jnp.bfloat16
    error = real(actual) - real(expected)
    assert 0 < np.sqrt(np.square(error).mean()) < 0.02 * np.sqrt(np.square(real(expected)).mean())
    _, half_variables = with_variables(config, precision=HALF)
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype("float32")}


def test_only_lsh_shares_queries_and_keys():
    widths = {kind: with_variables(architecture(kind))[1]["params"]["qkv"]["kernel"].shape for kind in KINDS}
    assert widths == {"mha": (16, 48), "favor": (16, 48), "local": (16, 48), "lsh": (16, 32)}


def test_attention_width_and_bias():
    config = architecture(attention_embedding_dim=24, projection_bias=False)
    module, variables = with_variables(config)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"qkv": {"kernel": (16, 72)}, "out": {"kernel": (24, 16)}}}
    assert run(module, variables).shape == X.shape


def test_local_layers_can_be_global_every_so_often():
    """Of the layers 0..3, `global_every_n_layers: 2` makes 0 and 2 attend to everything."""
    config = architecture("local", {"window": 2, "global_tokens": 0, "global_every_n_layers": 2})
    _, variables = with_variables(config)
    exact = run(SelfAttention(architecture("mha")), variables)
    is_exact = [np.allclose(real(run(SelfAttention(config, i), variables)), real(exact), atol=1e-5) for i in range(4)]
    assert is_exact == [True, False, True, False]


def test_rotations_are_fixed_in_evaluation_differ_by_layer_and_can_be_given():
    config = architecture("lsh", {"num_hashes": 1, "chunk_size": 2})
    _, variables = with_variables(config)
    assert "hashing" not in variables

    def apply(layer=0, train=False, rotations=None, seed=None):
        given = {} if rotations is None else {"hashing": {"rotations": rotations}}
        rngs = {} if seed is None else {"hashing": jax.random.key(seed)}
        return real(run(SelfAttention(config, layer), variables | given, train=train, rngs=rngs))

    np.testing.assert_array_equal(apply(), apply())
    assert np.abs(apply(layer=0) - apply(layer=1)).max() > 1e-3
    np.testing.assert_array_equal(apply(train=True, seed=1), apply(train=True, seed=1))
    assert np.abs(apply(train=True, seed=1) - apply(train=True, seed=2)).max() > 1e-3
    directions = normal((1, 2, 8, 8))
    assert np.abs(apply(rotations=directions) - apply()).max() > 1e-3
    np.testing.assert_array_equal(apply(rotations=directions), apply(rotations=directions, train=True))


def test_random_features_are_drawn_once_and_are_no_parameters():
    module, variables = with_variables(architecture("favor", {"nb_features": 10}))
    assert variables["features"]["omega"].shape == (2, 5, 8)
    assert set(variables["params"]) == {"qkv", "out"}
    other = {"params": variables["params"], "features": {"omega": 2 * variables["features"]["omega"]}}
    assert np.abs(real(run(module, variables)) - real(run(module, other))).max() > 1e-3
    assert "features" not in with_variables(architecture("favor", {"phi": "elu"}))[1]


@pytest.mark.parametrize("kind", ["mha", "lsh", "local"])
def test_dropout_of_probabilities_is_for_training_alone(kind):
    module, variables = with_variables(architecture(kind, attn_dropout=0.5))

    def apply(train, seed):
        # the same hashes, so that only dropout can differ
        rngs = {"dropout": jax.random.key(seed), "hashing": jax.random.key(0)}
        return real(run(module, variables, train=train, rngs=rngs))

    np.testing.assert_array_equal(apply(False, 1), apply(False, 2))
    assert np.abs(apply(True, 1) - apply(True, 2)).max() > 1e-3


def test_flash_attention_is_chosen_where_it_fits(monkeypatch):
    """bf16 on a GPU, no dropout of probabilities, heads of a multiple of 8; and where it is not forbidden."""
    chosen = []
    monkeypatch.setattr(
        softmax, "softmax_attention", lambda *a, implementation, **options: chosen.append(implementation)
    )
    q = jnp.zeros((1, 4, 2, 8), jnp.bfloat16)

    def implementation(q=q, train=False, **changes):
        module = SelfAttention(architecture(**changes)).bind({}, rngs={"dropout": jax.random.key(0)})
        softmax.attend(q, q, q, Inputs(module, LENGTHS, None, train))
        return chosen.pop()

    assert implementation() == "xla"
    monkeypatch.setattr(backend, "platform", lambda: "gpu")
    monkeypatch.setattr(backend, "compute_capability", lambda: (9, 0))
    assert implementation() == implementation(attn_dropout=0.5) == "cudnn"
    assert implementation(q=q.astype(jnp.float32)) == "xla"
    assert implementation(train=True, attn_dropout=0.5) == "xla"
    assert implementation(q=q[..., :4]) == "xla"
    assert implementation(parameters={"implementation": "xla"}) == "xla"
