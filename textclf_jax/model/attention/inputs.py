"""What a kind of attention gets besides queries, keys and values."""

from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Int

from textclf_jax.config.schema import Attention
from textclf_jax.kernels.precision import Precision
from textclf_jax.model.packing import Packing


class Inputs(NamedTuple):
    """What a kind of attention gets besides queries, keys and values.

    Attributes:
      module: the attention module: configuration, layer, random streams and variables.
      lengths: [B] real tokens of each row.
      packing: where rows hold several texts (kind mha alone).
      train: whether dropout is on, and what is random is drawn anew.
    """

    module: nn.Module
    lengths: Int[Array, " B"]
    packing: Packing | None
    train: bool

    @property
    def attention(self) -> Attention:
        """The `attention` section of the configuration."""
        return self.module.config.attention  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def precision(self) -> Precision:
        """Of the products."""
        return self.module.precision  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def drops_weights(self) -> bool:
        """Whether attention weights are dropped."""
        return self.train and self.attention.attn_dropout > 0

    def draw_options(self) -> dict[str, Any]:
        """Precision and dropout of the attention weights, as keywords; each call draws another dropout key."""
        rate = self.attention.attn_dropout
        key = self.module.make_rng("dropout") if self.drops_weights else None
        return {"precision": self.precision, "dropout_rate": rate, "dropout_key": key}
