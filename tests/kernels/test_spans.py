"""Attention within spans: what it means, and that JAX is asked for just that; a GPU alone can run it (tests/gpu)."""

import importlib
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import normal
from textclf_jax.data.joining import Joined, spans_of
from textclf_jax.data.packing import token_places
from textclf_jax.kernels import spans
from textclf_jax.kernels.attention import Segments
from textclf_jax.kernels.precision import FULL
from textclf_jax.kernels.spans import (
    PRIVATE_MODULE,
    attend_within_spans,
    attend_within_spans_reference,
    row_lengths,
    why_jax_has_no_spans,
)
from textclf_jax.model.attention.softmax import softmax_attention

HEADS, WIDTH = 2, 8
TEXTS = {
    "many": (12, [5, 1, 24, 9, 9, 3, 17, 2, 30, 31, 32]),
    "one": (4, [7]),
    "a full batch": (3, [32, 32, 32]),
    "few of many": (40, [3, 2]),
}


def joined(name: str):
    """A batch of 3 rows or more of 32 tokens: its spans, the segment of each token, and its shape."""
    batch_size, lengths = TEXTS[name]
    (batch,) = Joined(batch_size, (3, 32), 16).evaluation(np.array(lengths))
    sizes = np.array(lengths)[batch.rows]
    tokens = token_places(batch.starts, sizes)
    segments = np.zeros(batch.shape, np.int32)
    segments.reshape(-1)[tokens.place] = tokens.text + 1
    return spans_of(batch, sizes, batch_size), segments, batch.shape


def by_segments(q, k, v, segments):
    """Tokens of the whole batch, each with those of its segment."""
    flat = [x.reshape(1, -1, HEADS, WIDTH) for x in (q, k, v)]
    both = Segments(segments.reshape(1, -1), segments.reshape(1, -1))
    return softmax_attention(*flat, np.array([segments.size]), segments=both, precision=FULL).reshape(q.shape)


def with_gradients(attend, inputs, weights):
    def total(q, k, v):
        output = attend(q, k, v)
        return (output * weights).sum(), output

    (_, output), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*inputs)
    return output, *gradients


def sliced(inputs, weights, sizes, offsets):
    """Attention and its gradients in float64, a slice of the line of tokens after the other.

    Sizes and offsets are those that JAX hands to cuDNN: of all spans in one line, offsets in elements.
    """
    q, k, v, weights = (np.asarray(x, np.float64).reshape(-1, HEADS, WIDTH) for x in (*inputs, weights))
    results = [np.full_like(q, np.nan) for _ in range(4)]
    for size, offset in zip(sizes.reshape(-1), offsets.reshape(-1), strict=False):
        assert offset % (HEADS * WIDTH) == 0
        piece = slice(offset // (HEADS * WIDTH), offset // (HEADS * WIDTH) + size)
        scores = np.einsum("lhk,shk->hls", q[piece], k[piece]) * WIDTH**-0.5
        exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
        p = exponentials / exponentials.sum(axis=-1, keepdims=True)
        dp = np.einsum("lhk,shk->hls", weights[piece], v[piece])
        ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True)) * WIDTH**-0.5
        of_piece = (
            np.einsum("hls,shk->lhk", p, v[piece]),
            np.einsum("hls,shk->lhk", ds, k[piece]),
            np.einsum("hls,lhk->shk", ds, q[piece]),
            np.einsum("hls,lhk->shk", p, weights[piece]),
        )
        for result, values in zip(results, of_piece, strict=True):
            assert np.isnan(result[piece]).all(), "no token is in two spans"
            result[piece] = values
    return results


@pytest.mark.parametrize("name", TEXTS)
def test_spans_are_segments_by_the_plain_function_and_by_what_cudnn_is_told(name):
    (sizes, offsets), segments, shape = joined(name)
    inputs, weights = normal((*shape, HEADS, WIDTH), count=3), normal((*shape, HEADS, WIDTH), seed=1)
    # what is in the padding has no gradient; its values are compared within its own spans, not those of segment 0
    weights = weights * (segments > 0)[..., None, None]
    real = (segments > 0).reshape(-1)
    expected = with_gradients(lambda q, k, v: by_segments(q, k, v, segments), inputs, weights)
    plain = with_gradients(lambda q, k, v: attend_within_spans_reference(q, k, v, sizes, offsets), inputs, weights)
    fixed = importlib.import_module(PRIVATE_MODULE)._fix_seqlen_offsets(
        *map(jnp.asarray, (sizes, sizes, offsets, offsets)), *inputs[:2]
    )
    told = sliced(inputs, weights, np.asarray(fixed[0]), np.asarray(fixed[2]))
    for one, other, wanted in zip(plain, told, expected, strict=True):
        one, wanted = (np.asarray(x).reshape(-1, HEADS, WIDTH) for x in (one, wanted))
        assert np.isfinite(other).all()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one[real], wanted[real], rtol=1e-4, atol=1e-5)


def test_jax_is_asked_for_cudnns_attention_with_room_for_all_spans(monkeypatch):
    """Lowered for a GPU that is not there: both passes, with the mask that lengths make."""
    cudnn = importlib.import_module(PRIVATE_MODULE)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: False)
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    assert why_jax_has_no_spans() is None

    def loss(q, k, v, sizes, offsets):
        return attend_within_spans(q, k, v, sizes, offsets).astype(jnp.float32).sum()

    q = jax.ShapeDtypeStruct((3, 96, HEADS, 16), jnp.bfloat16)
    sizes, offsets = (jax.ShapeDtypeStruct((3, columns), jnp.int32) for columns in (4, 5))
    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, q, q, sizes, offsets)
    text = traced.lower(lowering_platforms=("cuda",)).as_text().replace("\\22", '"')
    assert re.findall(r"__cudnn\$\w+", text) == ["__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"]
    assert re.findall(r'"max_seg_per_batch": (\d+)', text) == ["4", "4"]
    assert re.findall(r'"mask_type": "(\w+)"', text) == ["PADDING", "PADDING"]
    assert re.findall(r'"fmha_scale": ([\d.]+)', text) == ["0.25", "0.25"]


def has_all(q, k, v, q_seqlen, kv_seqlen, q_offsets, kv_offsets, scale, mask_type):
    """Takes what is needed."""


def has_no_offsets(q, k, v, q_seqlen, kv_seqlen, scale, mask_type):
    """Lacks something."""


def no_cudnn():
    raise RuntimeError("cuDNN is not detected.")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, f"JAX {jax.__version__} does not have it in {PRIVATE_MODULE}, where it was"),
        ({"dot_product_attention": has_no_offsets}, "does not have it"),
        ({"dot_product_attention": has_all, "MaskType": SimpleNamespace()}, "does not have it"),
        ({"dot_product_attention": has_all}, "does not have it"),
        ({"dot_product_attention": has_all, "check_cudnn_version": no_cudnn}, "JAX finds no cuDNN"),
        (
            {"dot_product_attention": has_all, "check_cudnn_version": lambda: 90501},
            "it needs cuDNN 9.6 (90600), and this is 90501",
        ),
        ({"dot_product_attention": has_all, "check_cudnn_version": lambda: 90600}, None),
    ],
)
def test_what_jax_lacks_is_said(monkeypatch, module, reason):
    known = None if module is None else SimpleNamespace(**({"MaskType": SimpleNamespace(PADDING=1)} | module))
    monkeypatch.setitem(sys.modules, PRIVATE_MODULE, known)
    found = why_jax_has_no_spans()
    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize("longest", [1, 32, 33, 64, 150, 192, 200, 512, 1024])
def test_rows_hold_the_longest_text_and_have_no_length_at_which_cudnn_gave_nan(longest):
    found = row_lengths(longest)
    assert found == sorted(found)
    assert longest <= found[0] <= longest + 63
    assert found[-1] >= max(2 * longest, spans.WIDEST_TOKENS)
    assert all(length % 32 == 0 and length % 128 != 64 for length in found)
