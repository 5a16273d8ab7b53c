"""Self-attention: projections around one of several ways to attend, each a pure function in its own file."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config import Architecture
from textclf_jax.model.attention.favor import draw_features, favor_attention
from textclf_jax.model.attention.local import local_attention
from textclf_jax.model.attention.lsh import draw_rotations, lsh_attention, num_buckets, padded_length
from textclf_jax.model.attention.softmax import softmax_attention
from textclf_jax.model.packing import Packing, at
from textclf_jax.model.precision import FULL, Linear, Precision
from textclf_jax.model.rope import rotate

EVALUATION_SEED = 0


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
        attention, width = self.config.attention, self.config.attention_dim
        shared_qk = attention.kind == "lsh"
        projected = self.project(x, (2 if shared_qk else 3) * width, "qkv")
        q, *k, v = (self.split_heads(part) for part in jnp.split(projected, 2 if shared_qk else 3, axis=-1))
        if self.config.pos_encoding == "rope":
            q, *k = (rotate(part, self.config.rope, packing and packing.position_ids) for part in (q, *k))
        rate = attention.attn_dropout if attention.kind != "favor" else 0.0
        key = self.make_rng("dropout") if train and rate > 0 else None
        context = self.attend(q, k[0] if k else q, v, lengths, packing, train=train, dropout_rate=rate, dropout_key=key)
        return self.project(at(context.reshape(*context.shape[:2], width), positions), x.shape[-1], "out")

    def project(self, x, features: int, name: str):
        use_bias = self.config.attention.projection_bias
        return Linear(features, self.precision, use_bias=use_bias, name=name)(x)

    def split_heads(self, x):
        return x.reshape(*x.shape[:2], self.config.attention.num_heads, self.config.head_dim)

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
            return softmax_attention(q, k, v, lengths, segments=packing.segments, **shared)
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
