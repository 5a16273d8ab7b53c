"""Flash attention within each of several texts, by cuDNN; for Hopper and newer.

Texts are told apart by spans: where each begins, and how long it is. JAX has this in a private module alone, so what is
needed of it is looked up, and what is missing is said.
"""

import importlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

PRIVATE_MODULE = "jax._src.cudnn.fused_attention_stablehlo"
NEEDED = {"q_seqlen", "kv_seqlen", "q_offsets", "kv_offsets", "scale", "mask_type"}
FIRST_CUDNN = 90600  # 9.6.0

# rows are at most so many times as long as the longest text, or as long as this
WIDEST, WIDEST_TOKENS = 2, 512


def why_jax_has_no_spans() -> str | None:
    """What JAX or cuDNN lack for it, a clause; None where nothing."""
    try:
        cudnn = importlib.import_module(PRIVATE_MODULE)
        parameters = inspect.signature(cudnn.dot_product_attention).parameters
        is_there = parameters.keys() >= NEEDED and hasattr(cudnn.MaskType, "PADDING")
        version = cudnn.check_cudnn_version() if is_there else 0
    except (ImportError, AttributeError):
        is_there, version = False, 0
    except RuntimeError:  # by check_cudnn_version
        return "JAX finds no cuDNN"
    if not is_there:
        return f"JAX {jax.__version__} does not have it in {PRIVATE_MODULE}, where it was"
    return None if version >= FIRST_CUDNN else f"it needs cuDNN 9.6 (90600), and this is {version}"


def row_lengths(longest: int) -> list[int]:
    """The lengths that rows may have where texts have at most `longest` tokens: multiples of 32, the shortest first.

    At 64 more than a multiple of 128 cuDNN's backward pass has given NaN.
    """
    widest = max(WIDEST * longest, WIDEST_TOKENS)
    return [length for length in range(-(-longest // 32) * 32, widest + 32, 32) if length % 128 != 64]


def attend_within_spans(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B L H K"],
    v: Float[Array, "B L H K"],
    sizes: Int[Array, "B M"],
    offsets: Int[Array, "B M1"],
) -> Float[Array, "B L H K"]:
    """softmax(q k^T / sqrt(K)) v within each span, where `backend.why_not_within_spans` has nothing against it.

    To cuDNN the rows are one line of tokens, in which a span may begin and end anywhere; none is longer than L.

    Args:
      q, k, v: [B, L, H, K] bfloat16.
      sizes: [B, M] int32 tokens of each span; -1 where there is none. Every token must be in one: what is in none stays
        unwritten, in the gradients, too.
      offsets: [B, M + 1] int32 where each begins, in tokens from its array's row on; -1 where there is none.

    Returns:
      [B, L, H, K] bfloat16.
    """
    cudnn: Any = importlib.import_module(PRIVATE_MODULE)
    return cudnn.dot_product_attention(
        *(q, k, v),
        q_seqlen=sizes,
        kv_seqlen=sizes,
        q_offsets=offsets,
        kv_offsets=offsets,
        scale=q.shape[-1] ** -0.5,
        mask_type=cudnn.MaskType.PADDING,
    )


def attend_within_spans_reference(q, k, v, sizes, offsets) -> Float[Array, "B L H K"]:
    """What `attend_within_spans` computes, for any float dtype and device."""
    shape = batch, length, *_ = q.shape
    first = (offsets[:, :-1] + length * jnp.arange(batch)[:, None]).reshape(-1, 1)
    places = jnp.arange(batch * length)
    segments = ((places >= first) & (places < first + sizes.reshape(-1, 1))).argmax(axis=0)
    together = segments[:, None] == segments
    q, k, v = (x.reshape(batch * length, *shape[2:]) for x in (q, k, v))
    scores = jnp.einsum("lhk,shk->hls", q, k) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(together, scores, -jnp.inf))
    return jnp.einsum("hls,shk->lhk", weights, v).reshape(shape)
