"""The reference's initialisation: Xavier uniform everywhere but in the feed-forward layers."""

import jax
import jax.numpy as jnp

xavier_uniform = jax.nn.initializers.xavier_uniform()


def xavier_uniform_with_pad_row(key, shape, dtype=jnp.float32):
    """Xavier uniform [V, D] whose row 0, the embedding of PAD, is zero."""
    return xavier_uniform(key, shape, dtype).at[0].set(0)


def uniform_by_fan_in(fan_in: int):
    """An initializer, uniform within +-1/sqrt(fan_in), for a kernel or a bias of any shape."""
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
