"""Sliding-window attention with global tokens (kind `local`; Beltagy et al. 2020, Longformer)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config import Local
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours
from textclf_jax.model.attention.softmax import padding_bias, softmax_attention
from textclf_jax.model.attention.weighting import MASKED_SCORE, weighted_values
from textclf_jax.model.precision import FULL, Precision


def local_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B L H K"],
    v: Float[Array, "B L H K"],
    lengths: Int[Array, " B"],
    *,
    settings: Local,
    precision: Precision = FULL,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Float[Array, "B L H K"]:
    """Attends from each token to those at most `window` places away and to the first `global_tokens`.

    The global tokens attend to every real token. Computed in blocks of `window` queries against three blocks of keys:
    time and memory are linear in L, no [L, L] array exists.

    Args:
      q, k, v: [B, L, H, K], any float dtype; scores and softmax are float32 or wider.
      lengths: [B] number of real tokens of each row.
      settings: window (to each side) and number of global tokens.
      precision: of the products.
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in q's dtype.

    Source: Longformer, section 3.1.
    """
    dtype, length, window = q.dtype, q.shape[1], settings.window
    num_global = min(settings.global_tokens, length)
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    if window >= length - 1:
        return softmax_attention(q, k, v, lengths, precision=precision, dropout_rate=dropout_rate, dropout_key=keys[0])

    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))

    def blocks(x):
        return cut(pad_to_multiple(x, window, axis=2), window, axis=2)

    def every_block(x):
        return jnp.broadcast_to(x[:, :, None], (*x.shape[:2], queries.shape[2], *x.shape[2:]))

    queries = blocks(q)
    near_keys, near_values = (with_neighbours(blocks(x), axis=2, fill=0) for x in (k, v))
    bias = _window_bias(lengths, queries.shape[2], window, num_global)
    if num_global:
        near_keys, near_values = (
            jnp.concatenate([every_block(x[:, :, :num_global]), near], axis=3)
            for x, near in ((k, near_keys), (v, near_values))
        )
        global_bias = padding_bias(lengths, num_global)[:, None, None, None, :]
        bias = jnp.concatenate([jnp.broadcast_to(global_bias, (*bias.shape[:-1], num_global)), bias], axis=-1)
    context, _ = weighted_values(queries, near_keys, near_values, bias, keys[0], dropout_rate, precision)
    context = context.reshape(*q.shape[:2], -1, q.shape[3])[:, :, :length].swapaxes(1, 2).astype(dtype)
    if num_global == 0:
        return context
    first, k, v = (x.swapaxes(1, 2) for x in (q[:, :, :num_global], k, v))
    seeing_all = softmax_attention(
        first, k, v, lengths, precision=precision, dropout_rate=dropout_rate, dropout_key=keys[1]
    )
    return jnp.concatenate([seeing_all, context[:, num_global:]], axis=1)


def _window_bias(
    lengths: Int[Array, " B"], num_blocks: int, window: int, num_global: int
) -> Float[Array, "B 1 N c 3*c"]:
    """-1e9 where a key of the three blocks is too far, padding, outside the row, or global (it is counted apart)."""
    places = jnp.arange(num_blocks * window).reshape(num_blocks, window)
    keys = with_neighbours(places, axis=0, fill=-1)
    near = jnp.abs(places[:, :, None] - keys[:, None, :]) <= window
    allowed = near & (keys >= num_global)[:, None, :]
    real = keys < lengths[:, None, None]
    return jnp.where(allowed & real[:, :, None, :], 0.0, MASKED_SCORE).astype(jnp.float32)[:, None]
