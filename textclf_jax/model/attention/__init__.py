"""Self-attention: projections around one of several ways to attend, each a pure function in its own file."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config import Architecture, Attention
from textclf_jax.model.attention.favor import draw_features, favor_attention
from textclf_jax.model.attention.local import local_attention
from textclf_jax.model.attention.lsh import draw_rotations, lsh_attention, num_buckets, padded_length
from textclf_jax.model.attention.softmax import softmax_attention
from textclf_jax.model.attention.weighting import Segments
from textclf_jax.model.packing import Packing, at, texts_of_tokens
from textclf_jax.model.precision import FULL, Linear, Precision, split
from textclf_jax.model.rope import rotate

EVALUATION_SEED = 0


def attends_from_few(attention: Attention, length: int, num_queries: int) -> bool:
    """Whether so few vectors [P] of [B, L] are read that only their queries are compared, with all keys of the batch.

    P * B * L scores then take the place of B * L * L. Exact attention alone can mask the keys of other texts, and on
    GPUs its flash form cannot.
    """
    return num_queries < length and attention.kind == "mha" and jax.default_backend() != "gpu"


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
        rate = attention.attn_dropout if attention.kind != "favor" else 0.0
        dropout = {"dropout_rate": rate, "dropout_key": self.make_rng("dropout") if train and rate > 0 else None}
        if positions is not None and attends_from_few(attention, x.shape[1], len(positions)):
            context = self.context_of(positions, x, lengths, packing, **dropout)
        else:
            q, k, v = self.queries_keys_values(x, packing)
            context = at(self.merge_heads(self.attend(q, k, v, lengths, packing, train=train, **dropout)), positions)
        return self.linear(x.shape[-1], "out")(context)

    def linear(self, features: int, name: str) -> Linear:
        return Linear(features, self.precision, use_bias=self.config.attention.projection_bias, name=name)

    def queries_keys_values(self, x, packing: Packing | None):
        """[B, L, D] -> three times [B, L, H, K]; kind lsh has one projection for queries and keys."""
        count = 2 if self.config.attention.kind == "lsh" else 3
        projected: Any = split(self.linear(count * self.config.attention_dim, "qkv")(x), count, self.precision)
        q, *k, v = (self.split_heads(part) for part in projected)
        q, *k = (self.rotate(part, packing and packing.position_ids) for part in (q, *k))
        return q, k[0] if k else q, v

    def context_of(self, positions, x, lengths, packing: Packing | None, **dropout) -> Float[Array, "P W"]:
        """What the tokens at `positions` attend to, each among all tokens of the batch, of which it sees its text's."""
        length, width = x.shape[1], self.config.attention_dim
        qkv = self.linear(3 * width, "qkv")
        texts = texts_of_tokens(lengths, length, packing).reshape(-1)
        columns = jnp.broadcast_to(jnp.arange(length), x.shape[:2]) if packing is None else packing.position_ids
        columns = columns.reshape(-1)
        q = qkv(at(x, positions), slice(width))[None]
        k, v = (part.reshape(1, -1, width) for part in jnp.split(qkv(x, slice(width, None)), 2, axis=-1))
        q, k, v = (self.split_heads(part) for part in (q, k, v))
        q = self.rotate(q, columns[positions][None], num_positions=length)
        k = self.rotate(k, columns[None], num_positions=length)
        segments = Segments(texts[positions][None], texts[None])
        context = softmax_attention(q, k, v, lengths, segments=segments, precision=self.precision, **dropout)
        return self.merge_heads(context)[0]

    def rotate(self, x, position_ids, **options):
        """Rotary positions, where the architecture has them."""
        if self.config.pos_encoding != "rope":
            return x
        return rotate(x, self.config.rope, position_ids, **options)

    def split_heads(self, x):
        return x.reshape(*x.shape[:2], self.config.attention.num_heads, self.config.head_dim)

    def merge_heads(self, x):
        return x.reshape(*x.shape[:2], self.config.attention_dim)

    def attend(self, q, k, v, lengths, packing, *, train: bool, dropout_rate: float, dropout_key: Array | None):
        """Attends with the configured kind. All [B, L, H, K]; arguments of the kind itself are made here."""
        attention = self.config.attention
        if packing is not None and attention.kind != "mha":
            raise ValueError(f"attention of kind {attention.kind} cannot tell apart several texts in one row")
        shared = {"dropout_rate": dropout_rate, "dropout_key": dropout_key, "precision": self.precision}
        if attention.kind == "lsh":
            rotations = self.rotations(q.shape[1], train=train)
            return lsh_attention(q, v, lengths, rotations, settings=attention.lsh, **shared)
        if attention.kind == "favor":
            return favor_attention(
                q, k, v, lengths, self.features(), settings=attention.favor, precision=self.precision
            )
        every = attention.local.global_every_n_layers
        if attention.kind == "local" and not (every and self.layer % every == 0):
            return local_attention(q, k, v, lengths, settings=attention.local, **shared)
        if packing is not None:
            return softmax_attention(q, k, v, lengths, segments=Segments(packing.segments, packing.segments), **shared)
        implementation = self.softmax_implementation(q.dtype, dropout_key)
        return softmax_attention(q, k, v, lengths, implementation=implementation, **shared)

    def softmax_implementation(self, dtype, dropout_key: Array | None) -> str:
        chosen = self.config.attention.mha.implementation
        if chosen != "auto":
            return chosen
        # flash attention never forms the probabilities, so it cannot drop them
        fits = dtype == jnp.bfloat16 and dropout_key is None and self.config.head_dim % 8 == 0
        return "cudnn" if fits and jax.default_backend() == "gpu" else "xla"

    def rotations(self, length: int, *, train: bool) -> Float[Array, "R H K N"]:
        if self.has_variable("hashing", "rotations"):
            return self.get_variable("hashing", "rotations")
        settings = self.config.attention.lsh
        key = self.make_rng("hashing") if train else jax.random.fold_in(jax.random.key(EVALUATION_SEED), self.layer)
        buckets = num_buckets(padded_length(length, settings), self.config.max_sequence_length, settings)
        return draw_rotations(key, self.config.attention.num_heads, self.config.head_dim, buckets, settings)

    def features(self) -> Float[Array, "H M K"] | None:
        settings, heads = self.config.attention.favor, self.config.attention.num_heads
        if settings.phi != "exp":
            return None

        def draw():
            return draw_features(self.make_rng("params"), heads, self.config.head_dim, settings)

        return self.variable("features", "omega", draw).value
