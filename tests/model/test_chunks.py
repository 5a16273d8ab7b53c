"""Cutting into chunks and looking at the neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import normal
from textclf_jax.model.attention import chunks as chunks_module
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours


@pytest.mark.parametrize("axis", [0, -2])
def test_pads_with_zeros_up_to_the_next_multiple(axis):
    for length, padded in ((1, 3), (3, 3), (4, 6)):
        x = jnp.ones((length, 2))
        out = pad_to_multiple(x, 3, axis)
        assert out.shape == (padded, 2)
        np.testing.assert_array_equal(out.sum(axis=0), length)


def test_cuts_one_axis_in_order():
    x = jnp.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(cut(x, 2, axis=1), np.arange(12).reshape(2, 3, 2))
    np.testing.assert_array_equal(cut(x, 2, axis=-1), cut(x, 2, axis=1))
    assert cut(jnp.zeros((4, 6, 5)), 3, axis=-2).shape == (4, 2, 3, 5)


@pytest.mark.parametrize("axis", [0, -3])
def test_previous_own_and_next_chunk_side_by_side(axis):
    chunks = cut(jnp.arange(6)[:, None], 2, axis=0)
    seen = with_neighbours(chunks, axis=axis, fill=-1)
    np.testing.assert_array_equal(seen[..., 0], [[-1, -1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, -1, -1]])


def test_a_single_chunk_has_empty_neighbours():
    seen = with_neighbours(jnp.array([[True, True]]), axis=0, fill=False)
    np.testing.assert_array_equal(seen, [[False, False, True, True, False, False]])


@pytest.mark.parametrize("axis", [0, -3])
def test_on_a_gpu_neighbours_are_slices(axis, monkeypatch):
    """Values and gradients are those of a CPU; no operation gathers or scatters."""
    x, weights = normal((4, 2, 3)), normal((4, 6, 3), seed=1)

    def gradient():
        # a new function: what was traced before is not traced again
        return jax.value_and_grad(lambda x: (with_neighbours(x, axis, fill=0) * weights).sum())

    expected = gradient()(x)
    monkeypatch.setattr(chunks_module, "platform", lambda: "gpu")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), gradient()(x), expected)
    operations = str(jax.make_jaxpr(gradient())(x))
    assert "gather" not in operations
    assert "scatter" not in operations
