"""Values and gradients of every kind of attention on the device, against float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.gpu import exact
from tests.model.cases import HALF, architecture, normal
from textclf_jax.config.schema import Favor, Local, Lsh
from textclf_jax.data.joining import Joined, spans_of
from textclf_jax.data.packing import token_places
from textclf_jax.kernels.backend import why_not_within_spans
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.kernels.spans import attend_within_spans, row_lengths
from textclf_jax.model.attention import SelfAttention, softmax
from textclf_jax.model.attention.favor import draw_features, favor_attention
from textclf_jax.model.attention.inputs import Inputs
from textclf_jax.model.attention.local import local_attention
from textclf_jax.model.attention.lsh import draw_rotations, hash_and_sort, lsh_attention, padded_length
from textclf_jax.model.packing import Packing

pytestmark = pytest.mark.gpu

BATCH, HEADS, WIDTH = 3, 2, 64
LENGTHS = (64, 192, 200, 512)  # cuDNN's backward pass has given NaN at 64 more than a multiple of 128
LOCAL, FAVOR = Local(window=48, global_tokens=2), Favor(nb_features=64)
LSH = Lsh(num_hashes=2, chunk_size=32, combine="logsumexp")
# with the error that is allowed, as a share of the largest value: operands and results of 8 bits; float32
PRECISIONS = {"bf16": (HALF, 2**-6), "full": (FULL, 1e-4)}


class Case(NamedTuple):
    """A kind of attention on [BATCH, L, HEADS, WIDTH] queries, keys and values.

    Attributes:
      lengths: [BATCH] real tokens of each row.
      kernel: what runs on the device.
      in_float64: the same of torch's tensors.
    """

    lengths: np.ndarray
    kernel: Callable[..., Any]
    in_float64: Callable[..., Any]


def ragged(length: int) -> np.ndarray:
    return np.array([length, length - 37, length // 2], np.int32)


def within_module(lengths: np.ndarray, packing: Packing | None, precision: Precision) -> Callable[..., Any]:
    """Exact attention by the implementation that is chosen here."""
    config = architecture(embedding_dim=HEADS * WIDTH, num_heads=HEADS, max_sequence_length=512)
    module = SelfAttention(config, 0, precision).bind({})
    return lambda q, k, v: softmax.attend(q, k, v, Inputs(module, jnp.asarray(lengths), packing, False))


def mha(length: int, precision: Precision) -> Case:
    lengths = ragged(length)
    segments = np.where(np.arange(length) < lengths[:, None], 1, 0)
    kernel = within_module(lengths, None, precision)
    return Case(lengths, kernel, lambda q, k, v: exact.within_segments(q, k, v, segments))


def packed(length: int, precision: Precision) -> Case:
    """Each row holds texts of a half, a third and a seventh of its length, in an order of its own."""
    segments, position_ids = np.zeros((2, BATCH, length), np.int32)
    starts = np.zeros((BATCH, 3), np.int32)
    for row in range(BATCH):
        sizes = np.roll([length // 2, length // 3, length // 7], row)
        segments[row, : sizes.sum()] = np.repeat([1, 2, 3], sizes)
        position_ids[row, : sizes.sum()] = np.concatenate([np.arange(size) for size in sizes])
        starts[row] = row * length + np.cumsum(sizes) - sizes
    packing = Packing(*map(jnp.asarray, (segments, position_ids, starts.reshape(-1))))
    lengths = (segments > 0).sum(axis=1)
    kernel = within_module(lengths, packing, precision)
    return Case(lengths, kernel, lambda q, k, v: exact.within_segments(q, k, v, segments))


def local(length: int, precision: Precision) -> Case:
    lengths = ragged(length)
    return Case(
        lengths,
        lambda q, k, v: local_attention(q, k, v, jnp.asarray(lengths), settings=LOCAL, precision=precision),
        lambda q, k, v: exact.local_attention(q, k, v, lengths, LOCAL),
    )


def favor(length: int, precision: Precision) -> Case:
    lengths, omega = ragged(length), draw_features(jax.random.key(0), HEADS, WIDTH, FAVOR)
    return Case(
        lengths,
        lambda q, k, v: favor_attention(q, k, v, jnp.asarray(lengths), omega, settings=FAVOR, precision=precision),
        lambda q, k, v: exact.favor_attention(q, k, v, lengths, np.asarray(omega, np.float64), FAVOR),
    )


def lsh(length: int, precision: Precision) -> Case:
    """With the buckets that the device finds; that they are the right ones is another test. k is not used."""
    lengths, rotations = ragged(length), draw_rotations(jax.random.key(0), HEADS, WIDTH, 16, LSH)

    def in_float64(qk, k, v):
        codes = found_codes(qk.detach().numpy(), lengths, rotations)
        return exact.lsh_attention(qk, v, lengths, codes, LSH) + 0 * k

    def kernel(qk, k, v):
        return lsh_attention(qk, v, jnp.asarray(lengths), rotations, settings=LSH, precision=precision) + 0 * k

    return Case(lengths, kernel, in_float64)


def found_codes(qk: np.ndarray, lengths: np.ndarray, rotations) -> np.ndarray:
    """The buckets [B, R, H, L'] of queries [B, L, H, K]."""
    total = padded_length(qk.shape[1], LSH)
    real = np.arange(total) < lengths[:, None]
    padded = np.pad(qk, [(0, 0), (0, total - qk.shape[1]), (0, 0), (0, 0)]).swapaxes(1, 2)
    padded = np.where(real[:, None, :, None], padded, 0).astype(np.float32)
    return np.asarray(hash_and_sort(jnp.asarray(padded), jnp.asarray(real)[:, None], rotations, LSH).codes)


KINDS = {case.__name__: case for case in (mha, packed, local, favor, lsh)}
# full precision at one length: what depends on the length is the same
CASES = [(kind, length, "bf16") for kind in KINDS for length in LENGTHS] + [(kind, 200, "full") for kind in KINDS]


@pytest.mark.parametrize(("kind", "length", "name"), CASES)
def test_values_and_gradients(kind, length, name):
    precision, tolerance = PRECISIONS[name]
    lengths, kernel, in_float64 = KINDS[kind](length, precision)
    real = (np.arange(length) < lengths[:, None])[..., None, None]
    check(kernel, in_float64, (BATCH, length, HEADS, WIDTH), real, precision, tolerance)


@pytest.mark.parametrize("longest", LENGTHS)
def test_values_and_gradients_of_texts_end_to_end(longest):
    """Of texts of those lengths and of others, some of which go on in the next row, after a row and more of padding."""
    if reason := why_not_within_spans(jnp.bfloat16, WIDTH, drops_weights=False):
        pytest.skip(reason)
    lengths = np.array([longest, longest // 2, longest - 37, 64, 1, longest // 3, longest])
    width = row_lengths(longest)[0]
    rows = -(-int(lengths.sum()) // width) + 1
    (batch,) = Joined(9, (rows, width), longest).evaluation(lengths)
    sizes = lengths[batch.rows]
    tokens = token_places(batch.starts, sizes)
    segments = np.zeros(batch.shape, np.int32)
    segments.reshape(-1)[tokens.place] = tokens.text + 1
    spans = [jnp.asarray(x) for x in spans_of(batch, sizes, 9)]

    def in_float64(*arrays):
        flat = (x.reshape(1, -1, HEADS, WIDTH) for x in arrays)
        return exact.within_segments(*flat, segments.reshape(1, -1)).reshape(arrays[0].shape)

    def kernel(*arrays):
        return attend_within_spans(*arrays, *spans)

    real = (segments > 0)[..., None, None]
    check(kernel, in_float64, (*batch.shape, HEADS, WIDTH), real, *PRECISIONS["bf16"])


def check(kernel, in_float64, shape: tuple[int, ...], real: np.ndarray, precision: Precision, tolerance: float) -> None:
    """Compares values and gradients for [B, L, H, K] random arrays where tokens are `real` [B, L, 1, 1]."""
    inputs = [jnp.asarray(x, precision.activations) for x in normal(shape, count=3)]
    weights = np.where(real, normal(shape, seed=1), 0)

    def total(*arrays):
        output = kernel(*arrays)
        return (output.astype(jnp.float32) * weights).sum(), output

    (_, output), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*inputs)
    results, expected = (output, *gradients), exact.with_gradients(in_float64, inputs, weights)
    for what, found, wanted in zip(("output", "dq", "dk", "dv"), results, expected, strict=True):
        found = np.asarray(found, np.float32)
        assert np.isfinite(found).all(), what  # in padding, too
        largest = np.abs(np.where(real, wanted, 0)).max()
        error = np.abs(np.where(real, found - wanted, 0)).max()
        assert error <= tolerance * largest, (what, error, largest)


def test_hashes_are_those_of_float64():
    """But for vectors that two buckets are equally near to, to float32's last digits."""
    rotations = draw_rotations(jax.random.key(0), HEADS, WIDTH, 16, LSH)
    lengths, qk = np.array([512] * BATCH, np.int32), normal((BATCH, 512, HEADS, WIDTH))
    projected = np.einsum("blhk,rhkn->brhln", qk.astype(np.float64), np.asarray(rotations, np.float64))
    both = np.concatenate([projected, -projected], axis=-1)
    second, first = np.moveaxis(np.sort(both, axis=-1)[..., -2:], -1, 0)
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found_codes(qk, lengths, rotations)[clear], both.argmax(axis=-1)[clear])
