"""Exact softmax attention (kind `mha`)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.kernels.attention import MASKED_SCORE, Segments, attention
from textclf_jax.kernels.backend import flash_attention_fits
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.kernels.spans import attend_within_spans
from textclf_jax.model.attention.inputs import Inputs


def attend(q, k, v, inputs: Inputs) -> Float[Array, "B L H K"]:
    """Kind `mha`: every real token of a text attends to every other one."""
    packing = inputs.packing
    if packing is not None and packing.span_sizes is not None and packing.span_offsets is not None:
        assert not inputs.drops_weights, "batches without spans are planned then"
        return attend_within_spans(q, k, v, packing.span_sizes, packing.span_offsets)
    if packing is not None:
        return attend_within_segments(q, k, v, packing.segments, packing.segments, inputs)
    implementation = inputs.attention.mha.implementation
    if implementation == "auto":
        fits = flash_attention_fits(q.dtype, q.shape[-1], drops_weights=inputs.drops_weights)
        implementation = "cudnn" if fits else "xla"
    attend_to_all = functools.partial(softmax_attention, implementation=implementation)
    return inputs.attend_on_each_shard(attend_to_all, (q, k, v, inputs.lengths))


def attend_within_segments(q, k, v, query_segments, key_segments, inputs: Inputs) -> Float[Array, "B L H K"]:
    """Attends from each query [B, L, H, K] to the keys [B, S, H, K] of its text, as segments [B, L] and [B, S] tell."""

    def attend_to_text(q, k, v, segments: Segments, **options):
        return softmax_attention(q, k, v, None, segments=segments, **options)

    return inputs.attend_on_each_shard(attend_to_text, (q, k, v, Segments(query_segments, key_segments)))


def padding_bias(lengths: Int[Array, " B"], size: int) -> Float[Array, "B S"]:
    """The number to add to scores: 0 at real keys, -1e9 at padding. [B] lengths -> [B, S] float32."""
    return jnp.where(jnp.arange(size) < lengths[:, None], 0.0, MASKED_SCORE).astype(jnp.float32)


def softmax_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H K"],
    lengths: Int[Array, " B"] | None,
    *,
    segments: Segments | None = None,
    implementation: str = "xla",
    precision: Precision = FULL,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Float[Array, "B L H K"]:
    """Attends from every query to every real key with softmax(q k^T / sqrt(K)) v. Memory is linear in L.

    Args:
      q, k, v: [B, L or S, H, K], any float dtype; scores and softmax are float32 or wider.
      lengths: [B] number of real keys of each row; the others are padding. None with `segments`.
      segments: [B, L] and [B, S] the text of each query and key, where rows hold several.
      implementation: "xla", or "cudnn" for flash attention: bf16 or fp16 on a CUDA device, lengths >= 1, no dropout.
      precision: of the two products.
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in q's dtype.

    Source: Vaswani et al. 2017, eq. 1.
    """
    if implementation == "cudnn":
        assert lengths is not None
        real = jnp.maximum(lengths, 1).astype(jnp.int32)
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn", key_value_seq_lengths=real)
    # [B, 1, 1 or L, S] where it is computed: the same for all heads
    if segments is None:
        assert lengths is not None
        bias = padding_bias(lengths, k.shape[1])[:, None, None]
    else:
        bias = Segments(segments.queries[:, None], segments.keys[:, None])
    dtype = q.dtype
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    options = {"precision": precision, "dropout_rate": dropout_rate, "dropout_key": dropout_key}
    context, _ = attention(q, k, v, bias, **options)
    return context.astype(dtype).swapaxes(1, 2)
