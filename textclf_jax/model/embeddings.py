"""Word, position and token-type embeddings with the LayerNorm and dropout after them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Architecture
from textclf_jax.constants import PAD_ID
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.initializers import xavier_uniform, xavier_uniform_with_pad_row
from textclf_jax.model.layers import Dropout, LayerNorm


def sinusoidal_table(length: int, width: int) -> Float[np.ndarray, "L D"]:
    """Computes fixed position embeddings [L, D] float32: sines in even channels, cosines in odd ones.

    Source: Vaswani et al. 2017, section 3.5.
    """
    angles = np.arange(length)[:, None] * 10_000.0 ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width).astype(np.float32)


class Embeddings(nn.Module):
    """Embeds ids and positions. Ids [B, L] -> [B, L, D].

    Attributes:
      config: sizes, kind of positions, dropout.
      vocab_size: V.
      precision: its activations' dtype is the output's.
    """

    config: Architecture
    vocab_size: int
    precision: Precision = FULL

    def setup(self):
        c = self.config
        self.word = nn.Embed(self.vocab_size, c.embedding_dim, embedding_init=xavier_uniform_with_pad_row)
        if c.pos_encoding == "learned":
            self.position = nn.Embed(c.max_sequence_length, c.embedding_dim, embedding_init=xavier_uniform)
        if c.type_vocab_size:
            self.token_type = nn.Embed(c.type_vocab_size, c.embedding_dim, embedding_init=xavier_uniform)
        self.layer_norm = LayerNorm(self.precision)
        self.dropout = Dropout(c.embedding_dropout)

    def __call__(
        self,
        input_ids: Int[Array, "B L"],
        position_ids: Int[Array, "#B L"] | None,
        token_type_ids: Int[Array, "B L"] | None,
        *,
        train: bool,
    ) -> Float[Array, "B L D"]:
        x = self.word(input_ids)
        # PAD's row learns from the tied decoder alone, never from being looked up
        x = jnp.where((input_ids == PAD_ID)[..., None], jax.lax.stop_gradient(x), x)
        length = input_ids.shape[1]
        if self.config.pos_encoding == "learned":
            x = x + self.position(jnp.arange(length)[None] if position_ids is None else position_ids)
        elif self.config.pos_encoding == "sinusoidal":
            table = jnp.asarray(sinusoidal_table(length, self.config.embedding_dim))
            x = x + (table[None] if position_ids is None else table[position_ids])
        if self.config.type_vocab_size:
            x = x + self.token_type(jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids)
        # rounded as the sums of all other layers are
        return self.dropout(self.layer_norm(x.astype(self.precision.activations)), train=train)
