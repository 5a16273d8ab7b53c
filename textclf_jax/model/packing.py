"""Where texts and tokens are: rows that hold several texts, and places in a batch."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.kernels.gather import gather_rows


class Packing(NamedTuple):
    """Where texts are in rows that hold several.

    Attributes:
      segments: [B, L] int32, which text each token belongs to, from 1; 0 at padding.
      position_ids: [B, L] int32, positions from 0 in each text.
      starts: [N] int32, the place (row * L + column) of each text's first token.
      span_sizes, span_offsets: what `kernels.spans` takes, where flash attention is to tell texts apart; otherwise it
        is by segments.
    """

    segments: Int[Array, "B L"]
    position_ids: Int[Array, "B L"]
    starts: Int[Array, " N"]
    span_sizes: Int[Array, "B M"] | None = None
    span_offsets: Int[Array, "B M1"] | None = None


def packing_of(batch: dict[str, Any]) -> Packing | None:
    """The packing of a batch that has these arrays; None where rows hold one text each."""
    return Packing(**{n: batch[n] for n in Packing._fields if n in batch}) if "segments" in batch else None


def at(x: Float[Array, "B L D"], positions: Int[Array, "*P"] | None) -> Float[Array, "*N D"]:
    """The vectors [..., D] at places (row * L + column) [...] of a batch; all of it [B, L, D] where None are given."""
    return x if positions is None else gather_rows(x.reshape(-1, x.shape[-1]), positions)


def segments_of(lengths: Int[Array, " B"], length: int, packing: Packing | None) -> Int[Array, "B L"]:
    """The number of the text that each token belongs to, from 1; 0 at padding.

    Args:
      lengths: [B] real tokens of each row, where it holds one text; an empty one has its first place nevertheless.
      length: L.
      packing: where rows hold several texts.
    """
    if packing is not None:
        return packing.segments
    numbers = jnp.arange(1, len(lengths) + 1)[:, None]
    return jnp.where(jnp.arange(length) < jnp.maximum(lengths, 1)[:, None], numbers, 0)


def columns_of(batch_size: int, length: int, packing: Packing | None) -> Int[Array, "B L"]:
    """The position of each token in its text, from 0."""
    return jnp.broadcast_to(jnp.arange(length), (batch_size, length)) if packing is None else packing.position_ids


def unpacked(x: Float[Array, "B L D"], starts: Int[Array, " N"], width: int) -> Float[Array, "N W D"]:
    """The first `width` tokens from each start on, a row each; past a text's end they are those of others.

    Args:
      x: [B, L, D], any float dtype.
      starts: [N] places in the flattened batch.
      width: W.

    Returns:
      [N, W, D] in x's dtype.
    """
    places = starts[:, None] + jnp.arange(width)
    return at(x, jnp.minimum(places, x.shape[0] * x.shape[1] - 1))
