"""Self-attention: projections around one of several ways to attend, each in its own file.

A kind is a function in a file of its own and a line in `ATTEND`; docs/architecture.md lists what else there is to do.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Architecture, Attention
from textclf_jax.kernels.backend import masks_between_texts
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.kernels.shards import is_divided
from textclf_jax.kernels.split import split
from textclf_jax.model.attention import favor, local, lsh, softmax
from textclf_jax.model.attention.inputs import Inputs
from textclf_jax.model.layers import Linear
from textclf_jax.model.packing import Packing, at, columns_of, segments_of
from textclf_jax.model.rope import rotate

# queries, keys, values, all [B, L, H, K], and what else there is to know -> context [B, L, H, K]
ATTEND: dict[str, Callable[[Any, Any, Any, Inputs], Float[Array, "B L H K"]]] = {
    "mha": softmax.attend,
    "lsh": lsh.attend,
    "favor": favor.attend,
    "local": local.attend,
}


def attends_from_few(attention: Attention, length: int, num_queries: int) -> bool:
    """Whether so few vectors [P] of [B, L] are read that only their queries are compared, with all keys of the batch.

    P * B * L scores then take the place of B * L * L. Not on several devices, each of which would need all keys.
    """
    return num_queries < length and attention.kind == "mha" and masks_between_texts() and not is_divided()


def redraw(attention: Attention, collections: Any, step: Array, key: Array) -> Any:
    """The collections of a model at a step of training: random features are drawn anew from time to time."""
    return favor.redraw(attention.favor, collections, step, key)


class SelfAttention(nn.Module):
    """Projects, attends with the configured kind, projects back. [B, L, D] -> [B, L, D], or [P, D] at P places.

    Attributes:
      config: the architecture.
      layer: index of the layer, from 0.
      precision: of activations and projections.

    Random streams: "dropout", and "hashing" (kind lsh; in evaluation its rotations are fixed). Collections: "features"
    holds the random directions of kind favor; "hashing" may hold `rotations` to be used instead of drawn ones.
    """

    config: Architecture
    layer: int = 0
    precision: Precision = FULL

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        lengths: Int[Array, " B"],
        packing: Packing | None = None,
        positions: Int[Array, " P"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "*N D"]:
        attention = self.config.attention
        if packing is not None and attention.kind != "mha":
            raise ValueError(f"attention of kind {attention.kind} cannot tell apart several texts in one row")
        inputs = Inputs(self, lengths, packing, train)
        if positions is not None and attends_from_few(attention, x.shape[1], len(positions)):
            context = self.attend_from_few(positions, x, inputs)
        else:
            q, k, v = self.queries_keys_values(x, packing)
            context = at(self.merge_heads(ATTEND[attention.kind](q, k, v, inputs)), positions)
        return self.linear(x.shape[-1], "out")(context)

    def linear(self, features: int, name: str) -> Linear:
        """A projection."""
        return Linear(features, self.precision, use_bias=self.config.attention.projection_bias, name=name)

    def queries_keys_values(self, x, packing: Packing | None):
        """[B, L, D] -> three times [B, L, H, K]; kind lsh has one projection for queries and keys."""
        count = 2 if self.config.attention.kind == "lsh" else 3
        projected = split(self.linear(count * self.config.attention_dim, "qkv")(x), count, self.precision)
        *queries_keys, v = (self.split_heads(part) for part in projected)
        rotated = [self.rotate(x, packing and packing.position_ids) for x in queries_keys]
        return rotated[0], rotated[-1], v

    def attend_from_few(self, positions: Int[Array, " P"], x, inputs: Inputs) -> Float[Array, "P HK"]:
        """The context of the tokens at `positions`: each attends, among all tokens of the batch, to its text's."""
        length, width, packing = x.shape[1], self.config.attention_dim, inputs.packing
        segments = segments_of(inputs.lengths, length, packing).reshape(-1)
        columns = columns_of(len(x), length, packing).reshape(-1)
        project = self.linear(3 * width, "qkv")
        q = project(at(x, positions), slice(width))[None]
        k, v = (part.reshape(1, -1, width) for part in jnp.split(project(x, slice(width, None)), 2, axis=-1))
        q, k, v = (self.split_heads(part) for part in (q, k, v))
        q = self.rotate(q, columns[positions][None], num_positions=length)
        k = self.rotate(k, columns[None], num_positions=length)
        context = softmax.attend_within_segments(q, k, v, segments[positions][None], segments[None], inputs)
        return self.merge_heads(context)[0]

    def rotate(self, x, position_ids, **options):
        """Rotary positions, where the architecture has them."""
        if self.config.pos_encoding != "rope":
            return x
        return rotate(x, self.config.rope, position_ids, **options)

    def split_heads(self, x):
        """[B, L, H * K] -> [B, L, H, K]."""
        return x.reshape(*x.shape[:2], self.config.attention.num_heads, self.config.head_dim)

    def merge_heads(self, x):
        """[B, L, H, K] -> [B, L, H * K]."""
        return x.reshape(*x.shape[:2], self.config.attention_dim)
