"""Sliding-window attention with global tokens (kind `local`; Beltagy et al. 2020, Longformer)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config import Local
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours
from textclf_jax.model.attention.softmax import MASKED_SCORE, padding_bias, softmax_attention
from textclf_jax.model.dropout import dropout


def local_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B L H K"],
    v: Float[Array, "B L H K"],
    lengths: Int[Array, " B"],
    *,
    settings: Local,
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
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in q's dtype.

    Source: Longformer, section 3.1.
    """
    length, window = q.shape[1], settings.window
    num_global = min(settings.global_tokens, length)
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    if window >= length - 1:
        return softmax_attention(q, k, v, lengths, dropout_rate=dropout_rate, dropout_key=keys[0])

    def blocks(x):
        return cut(pad_to_multiple(x.swapaxes(1, 2), window, axis=2), window, axis=2)

    wide = jnp.promote_types(q.dtype, jnp.float32)
    queries, block_keys = blocks(q), with_neighbours(blocks(k), axis=2, fill=0)
    scores = jnp.einsum("bhnck,bhnsk->bhncs", queries, block_keys, preferred_element_type=wide)
    global_scores = jnp.einsum("bhnck,bghk->bhncg", queries, k[:, :num_global], preferred_element_type=wide)
    bias = _window_bias(lengths, queries.shape[2], window, num_global)
    global_bias = padding_bias(lengths, num_global)[:, None, None, None, :]
    scores = jnp.concatenate(
        [global_scores * q.shape[-1] ** -0.5 + global_bias, scores * q.shape[-1] ** -0.5 + bias], axis=-1
    )
    weights = dropout(jax.nn.softmax(scores, axis=-1).astype(v.dtype), dropout_rate, keys[0])
    context = jnp.einsum("bhncs,bhnsk->bhnck", weights[..., num_global:], with_neighbours(blocks(v), axis=2, fill=0))
    context = context + jnp.einsum("bhncg,bghk->bhnck", weights[..., :num_global], v[:, :num_global])
    context = context.reshape(q.shape[0], q.shape[2], -1, q.shape[3])[:, :, :length].swapaxes(1, 2)
    if num_global == 0:
        return context
    seeing_all = softmax_attention(q[:, :num_global], k, v, lengths, dropout_rate=dropout_rate, dropout_key=keys[1])
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
