"""Which numbers the model computes with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from textclf_jax.kernels.casts import cast


class Precision(NamedTuple):
    """The dtypes of a model's computation. Parameters, softmax, LayerNorm statistics and losses are float32 always.

    Attributes:
      activations: of what flows between layers.
      products: what the operands of matrix products are rounded to; sums are float32.
    """

    activations: Any = jnp.float32
    products: Any = jnp.float32

    @property
    def rounds_products(self) -> bool:
        """Whether float32 operands are rounded: on CPUs with bfloat16 instructions, and for MLM logits on GPUs."""
        return self.products == jnp.bfloat16 and self.activations == jnp.float32

    @property
    def of_dot(self) -> jax.lax.Precision | None:
        """What `jax.lax.dot_general` is told: float32 stays float32, of which GPUs would drop 13 bits by default."""
        return None if self.products == jnp.bfloat16 else jax.lax.Precision.HIGHEST

    def rounded(self, x: Any, *, in_integers: bool = False) -> Any:
        """x as the operand of a product that rounds; x itself where products do not round.

        `in_integers`: by `cast`, which is faster where it reads memory, or long computations that nothing else needs.
        """
        if not self.rounds_products:
            return x
        return cast(x, self.products) if in_integers else x.astype(self.products)


FULL = Precision()
