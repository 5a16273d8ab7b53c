"""What a kind of attention gets besides queries, keys and values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Int

from textclf_jax.config.schema import Attention
from textclf_jax.kernels.precision import Precision
from textclf_jax.kernels.shards import on_each_shard
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

    def attend_on_each_shard(
        self, attend: Callable[..., Array], divided: tuple[Any, ...], whole: tuple[Any, ...] = ()
    ) -> Array:
        """attend(*divided, *whole) with `draw_options`; on several devices each has its rows of what is divided.

        Args:
          attend: a row of its result depends on the same row of the divided arguments alone.
          divided: queries, keys and values [B, L, H, K], and what else there is of each row.
          whole: what is the same for all rows.
        """
        options = self.draw_options()
        key = options.pop("dropout_key")

        def attend_with_key(*arguments):
            *others, key = arguments
            return attend(*others, dropout_key=key, **options)

        return on_each_shard(attend_with_key, divided, (*whole, key))
