"""The encoder: embeddings, then post-norm blocks of attention and a feed-forward network."""

import flax.linen as nn
from jaxtyping import Array, Float, Int

from textclf_jax.config import Architecture
from textclf_jax.model.attention import SelfAttention
from textclf_jax.model.dropout import Dropout
from textclf_jax.model.embeddings import Embeddings
from textclf_jax.model.initializers import uniform_by_fan_in
from textclf_jax.model.layers import GeluLinear, LayerNorm
from textclf_jax.model.packing import Packing, at
from textclf_jax.model.precision import FULL, Linear, Precision


class FeedForward(nn.Module):
    """Two linear layers with a GELU between. [..., D] -> [..., D] through width F."""

    config: Architecture
    precision: Precision = FULL

    @nn.compact
    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        # what GELU is computed from is kept, where products round in their dtype, and GELU itself is not
        hidden = self.precision.rounded(self.linear(Linear, x, self.config.mlp_size, "up"))
        return self.linear(GeluLinear, hidden, x.shape[-1], "down")

    def linear(self, layer: type[Linear], x, features: int, name: str):
        init = uniform_by_fan_in(x.shape[-1])
        return layer(features, self.precision, kernel_init=init, bias_init=init, name=name)(x)


class EncoderBlock(nn.Module):
    """x = LN(x + attention(x)), then x = LN(x + feed-forward(x)). [B, L, D] -> [B, L, D], or [P, D] at P places."""

    config: Architecture
    layer: int
    precision: Precision = FULL

    def setup(self):
        c = self.config
        self.attention = SelfAttention(c, self.layer, self.precision)
        self.attention_dropout = Dropout(c.attention.attn_out_dropout)
        self.attention_norm = LayerNorm(self.precision)
        self.mlp = FeedForward(c, self.precision)
        self.mlp_dropout = Dropout(c.mlp_dropout)
        self.mlp_norm = LayerNorm(self.precision)

    def __call__(
        self,
        x: Float[Array, "B L D"],
        lengths: Int[Array, " B"],
        packing: Packing | None = None,
        positions: Int[Array, " P"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "*N D"]:
        attended = self.attention(x, lengths, packing, positions, train=train)
        x = self.attention_norm(at(x, positions) + self.attention_dropout(attended, train=train))
        return self.mlp_norm(x + self.mlp_dropout(self.mlp(x), train=train))


class Encoder(nn.Module):
    """Turns token ids into contextual vectors. [B, L] -> [B, L, D], or [P, D] at P places.

    Attributes:
      config: the architecture.
      vocab_size: V.
      precision: of activations and matrix products.
    """

    config: Architecture
    vocab_size: int
    precision: Precision = FULL

    def setup(self):
        self.embeddings = Embeddings(self.config, self.vocab_size, self.precision)
        self.layers = [EncoderBlock(self.config, i, self.precision) for i in range(self.config.num_layers)]

    def __call__(
        self,
        input_ids: Int[Array, "B L"],
        lengths: Int[Array, " B"],
        *,
        position_ids: Int[Array, "#B L"] | None = None,
        token_type_ids: Int[Array, "B L"] | None = None,
        packing: Packing | None = None,
        positions: Int[Array, " P"] | None = None,
        train: bool = False,
    ) -> Float[Array, "*N D"]:
        """Computes vectors [B, L, D] of all tokens, or [P, D] of those at `positions`.

        The last layer computes no others: of a vector that nobody reads, only key and value are needed.
        """
        x = self.embed(input_ids, position_ids, token_type_ids, packing, train=train)
        return self.encode(x, lengths, packing, positions, train=train)

    def embed(
        self,
        input_ids: Int[Array, "B L"],
        position_ids: Int[Array, "#B L"] | None,
        token_type_ids: Int[Array, "B L"] | None,
        packing: Packing | None,
        *,
        train: bool,
    ) -> Float[Array, "B L D"]:
        """What the layers begin with."""
        if packing is not None:
            position_ids = packing.position_ids
        return self.embeddings(input_ids, position_ids, token_type_ids, train=train)

    def encode(
        self,
        x: Float[Array, "B L D"],
        lengths: Int[Array, " B"],
        packing: Packing | None,
        positions: Int[Array, " P"] | None,
        *,
        train: bool,
    ) -> Float[Array, "*N D"]:
        """Runs the layers."""
        for layer in self.layers[:-1]:
            x = layer(x, lengths, packing, train=train)
        return self.layers[-1](x, lengths, packing, positions, train=train)
