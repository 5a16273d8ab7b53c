"""Scores of one head or one block of queries at a time give what all at once give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import normal, real_lengths
from textclf_jax.config.schema import Local, Lsh
from textclf_jax.kernels.attention import BLOCKS, Blocks, attention, attention_reference
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.attention.local import local_attention
from textclf_jax.model.attention.lsh import draw_rotations, lsh_attention
from textclf_jax.model.attention.softmax import softmax_attention

LENGTHS, SHAPE = real_lengths(70, 33, 1), (3, 70, 2, 8)
WHOLE = Blocks(scores=2**30, single_heads=False, from_scores=2**30)
ONE_HEAD = Blocks(scores=2**30, single_heads=True, from_scores=0)
FEW_QUERIES = Blocks(scores=1, single_heads=False, from_scores=0)
BOTH = Blocks(scores=1, single_heads=True, from_scores=0)
ROUNDED = Precision(jnp.float32, jnp.bfloat16)

LSH = Lsh(num_hashes=2, chunk_size=8, combine="logsumexp")
DIRECTIONS = draw_rotations(jax.random.key(0), 2, 8, 10, LSH)


def mha(q, k, v, **options):
    return softmax_attention(q, k, v, LENGTHS, **options)


def lsh(q, k, v, **options):
    return lsh_attention(q + k, v, LENGTHS, DIRECTIONS, settings=LSH, **options)


def local(q, k, v, **options):
    return local_attention(q, k, v, LENGTHS, settings=Local(window=5, global_tokens=2), **options)


@pytest.mark.parametrize("precision", [FULL, ROUNDED], ids=["float32", "bfloat16 products"])
@pytest.mark.parametrize("blocks", [ONE_HEAD, FEW_QUERIES, BOTH], ids=["one head", "few queries", "both"])
@pytest.mark.parametrize("attend", [mha, lsh, local])
def test_outputs_and_gradients_do_not_depend_on_blocks(attend, blocks, precision, monkeypatch):
    weights = np.where((np.arange(70) < LENGTHS[:, None])[..., None, None], normal(SHAPE, seed=1), 0)

    def results(chosen):
        monkeypatch.setitem(BLOCKS, "cpu", chosen)

        def weighted_sum(*arguments):
            output = attend(*arguments, precision=precision)
            return (output * weights).sum(), output

        (_, output), gradients = jax.jit(jax.value_and_grad(weighted_sum, (0, 1, 2), has_aux=True))(
            *normal(SHAPE, count=3)
        )
        return output, *gradients

    for found, expected in zip(results(blocks), results(WHOLE), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 if precision == FULL else 2e-2)


@pytest.mark.parametrize(("precision", "tolerance"), [(FULL, 1e-5), (ROUNDED, 2e-2)])
@pytest.mark.parametrize("blocks", [WHOLE, ONE_HEAD, BOTH], ids=["whole", "one head", "blocks"])
def test_values_and_gradients_are_those_of_the_reference(blocks, precision, tolerance, monkeypatch):
    """The context, the logarithm of the partition function, and gradients of both."""
    monkeypatch.setitem(BLOCKS, "cpu", blocks)
    q, k, v = normal((2, 3, 70, 8), count=3)
    bias = np.where(np.arange(70) < 50, 0, -1e9).astype(np.float32)[None, None, None]
    weights = normal((2, 3, 70, 8), seed=1), normal((2, 3, 70), seed=2)

    def results(function):
        def total(*arguments):
            outputs = function(*arguments, bias)
            return sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)), outputs

        (_, outputs), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(q, k, v)
        return *outputs, *gradients

    found = results(lambda *arguments: attention(*arguments, precision=precision))
    for ours, theirs in zip(found, results(attention_reference), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("attend", [mha, lsh, local])
def test_heads_and_blocks_drop_weights_of_their_own(attend, monkeypatch):
    """Values of one: what a query gets is the sum of its weights that were kept, over the share that is kept."""
    monkeypatch.setitem(BLOCKS, "cpu", BOTH)
    q = np.zeros(SHAPE, np.float32)
    kept = np.asarray(attend(q, q, np.ones_like(q), dropout_rate=0.5, dropout_key=jax.random.key(0)))[0, :, :, 0]
    assert abs(kept.mean() - 1) < 0.1
    assert kept.std() > 0.05
    # neither a second head nor a later block of 64 queries repeats the mask
    assert (kept[:, 0] != kept[:, 1]).mean() > 0.5
    assert (kept[:6] != kept[64:]).mean() > 0.5
