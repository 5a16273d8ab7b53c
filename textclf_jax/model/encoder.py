"""The encoder: embeddings, then post-norm blocks of attention and a feed-forward network (Devlin et al. 2019, BERT)."""

import flax.linen as nn
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Architecture
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.attention import SelfAttention
from textclf_jax.model.embeddings import Embeddings
from textclf_jax.model.initializers import uniform_by_fan_in
from textclf_jax.model.layers import Dropout, GeluLinear, LayerNorm, Linear
from textclf_jax.model.packing import Packing, at


class FeedForward(nn.Module):
    """Two linear layers with a GELU between. [..., D] -> [..., D] through width F."""

    config: Architecture
    precision: Precision = FULL

    @nn.compact
    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        hidden = self.linear(Linear, x, self.config.mlp_size, "up")
        # rounded where products round: in this dtype it is kept for the gradient
        return self.linear(GeluLinear, self.precision.rounded(hidden), x.shape[-1], "down")

    def linear(self, layer: type[Linear], x, features: int, name: str):
        """A layer with the reference's initialisation."""
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
        """Computes the vectors of all tokens, or of some.

        Args:
          input_ids: [B, L] token ids.
          lengths: [B] real tokens of each row.
          position_ids: [B or 1, L] for positions that are embedded; 0..L-1 by default, or those of `packing`.
          token_type_ids: [B, L]; zeros by default.
          packing: where rows hold several texts.
          positions: [P] places (row * L + column) of the tokens whose vectors are wanted; of the others the last layer
            computes keys and values alone.
          train: whether dropout is on.

        Returns:
          [B, L, D], or [P, D] at `positions`, in the activations' dtype.
        """
        if packing is not None:
            position_ids = packing.position_ids
        x = self.embeddings(input_ids, position_ids, token_type_ids, train=train)
        for layer in self.layers[:-1]:
            x = layer(x, lengths, packing, train=train)
        return self.layers[-1](x, lengths, packing, positions, train=train)
