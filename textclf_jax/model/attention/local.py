"""Sliding-window attention with global tokens (kind `local`; Beltagy et al. 2020, Longformer)."""

import functools

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Local
from textclf_jax.kernels.attention import MASKED_SCORE, attention
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.attention import softmax
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours
from textclf_jax.model.attention.inputs import Inputs
from textclf_jax.model.attention.softmax import softmax_attention


def attend(q, k, v, inputs: Inputs) -> Float[Array, "B L H K"]:
    """Kind `local`: a window and global tokens; exact attention in every `global_every_n_layers`-th layer."""
    settings, layer = inputs.attention.local, inputs.module.layer  # pyright: ignore[reportAttributeAccessIssue]
    if is_exact_layer(settings, layer):
        return softmax.attend(q, k, v, inputs)
    attend_nearby = functools.partial(local_attention, settings=settings)
    return inputs.attend_on_each_shard(attend_nearby, (q, k, v, inputs.lengths))


def is_exact_layer(settings: Local, layer: int) -> bool:
    """Whether a layer attends to everything."""
    every = settings.global_every_n_layers
    return every > 0 and layer % every == 0


class WindowTokens(struct.PyTreeNode):
    """What decides which tokens a block of queries sees.

    Attributes:
      lengths: [...] real tokens of each row.
      num_blocks, window, num_global: N, c and G.
    """

    lengths: Int[Array, "..."]
    num_blocks: int = struct.field(pytree_node=False)
    window: int = struct.field(pytree_node=False)
    num_global: int = struct.field(pytree_node=False)

    def bias(self) -> Float[Array, "... N c G+3*c"]:
        """-1e9 where a key is padding or outside the row; in the three blocks also where it is too far, or global."""
        places = jnp.arange(self.num_blocks * self.window).reshape(self.num_blocks, self.window)
        first, near = jnp.arange(self.num_global), with_neighbours(places, axis=0, fill=-1)
        is_near = jnp.abs(places[:, :, None] - near[:, None, :]) <= self.window
        is_near &= (near >= self.num_global)[:, None, :]
        seen = jnp.concatenate([jnp.ones((*places.shape, self.num_global), bool), is_near], axis=-1)
        keys = jnp.concatenate([jnp.broadcast_to(first, (self.num_blocks, self.num_global)), near], axis=-1)
        real = keys < self.lengths[..., None, None]
        return jnp.where(seen & real[..., None, :], 0.0, MASKED_SCORE).astype(jnp.float32)


def _first_and_near(x: tuple[Array, Array]) -> Float[Array, "... N G+3*c K"]:
    """Puts the global tokens [..., G, K] before each of the blocks [..., N, c, K] and its two neighbours."""
    first, blocks = x
    of_every_block = jnp.broadcast_to(first[..., None, :, :], (*blocks.shape[:-2], *first.shape[-2:]))
    return jnp.concatenate([of_every_block, with_neighbours(blocks, axis=-3, fill=0)], axis=-2)


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

    The global tokens attend to every real token. Blocks of `window` queries see three blocks of keys, so that time and
    memory are linear in L.

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
    options = {"precision": precision, "dropout_rate": dropout_rate}
    if window >= length - 1:
        return softmax_attention(q, k, v, lengths, dropout_key=keys[0], **options)
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))

    def blocks(x):
        return cut(pad_to_multiple(x, window, axis=2), window, axis=2)

    queries = blocks(q)
    tokens = WindowTokens(lengths[:, None], queries.shape[2], window, num_global)
    around_k, around_v = ((x[:, :, :num_global], blocks(x)) for x in (k, v))
    context, _ = attention(queries, around_k, around_v, tokens, dropout_key=keys[0], expand=_first_and_near, **options)
    context = context.reshape(*q.shape[:2], -1, q.shape[3])[:, :, :length].swapaxes(1, 2).astype(dtype)
    if num_global == 0:
        return context
    first, k, v = (x.swapaxes(1, 2) for x in (q[:, :, :num_global], k, v))
    seeing_all = softmax_attention(first, k, v, lengths, dropout_key=keys[1], **options)
    return jnp.concatenate([seeing_all, context[:, num_global:]], axis=1)
