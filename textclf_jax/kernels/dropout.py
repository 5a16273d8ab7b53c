"""Dropout from a counter-based hash: as random as dropout needs, and nearly free."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from textclf_jax.kernels.casts import scaled

WEYL = np.uint32(0x9E3779B9)
WEYL_INVERSE = np.uint32(pow(int(WEYL), -1, 2**32))


def _mix(bits: UInt32[Array, "..."], salt: UInt32[Array, ""] | int = 0) -> UInt32[Array, "..."]:
    """Scrambles words: each bit depends on all others. Shape is kept.

    Source: the finaliser `lowbias32` (C. Wellons, "Prospecting for Hash Functions", 2018).
    """
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15) ^ salt) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


def hash_bits(key: Array, size: int, start: UInt32[Array, ""] | None = None) -> UInt32[Array, " size"]:
    """Hashes the counters from `start` on with a key to uniform 32-bit words.

    One multiply-xorshift round of 32 bits an element instead of threefry's twenty: XLA fuses it into its consumer. For
    dropout masks only; parameters, masks of the data and rotations come from `jax.random`.

    Args:
      key: a typed JAX key; two 32-bit words of it seed the hash.
      size: number of words, below 2**32.
      start: the first counter; None: 0.

    Returns:
      [size] uint32: `_mix` of a Weyl sequence.
    """
    first, second = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)[-2:]
    # keys of neighbouring seeds differ in one bit of one word, which alone would give related masks
    offset = _mix(second ^ _mix(first + jnp.uint32(1)))
    salt = _mix(first + offset)
    # not iota * WEYL + offset, of which XLA on CPU would compute, keep and read the product for all masks of one size
    counters = jax.lax.iota(jnp.uint32, size) + offset * WEYL_INVERSE
    return _mix((counters if start is None else counters + start) * WEYL, salt)


def dropout(
    x: Float[Array, "..."], rate: float, key: Array | None, start: UInt32[Array, ""] | None = None
) -> Float[Array, "..."]:
    """Zeroes each element with probability `rate` and divides the others by 1 - rate.

    Args:
      x: any shape, any float dtype.
      rate: in [0, 1).
      key: a typed JAX key; None (evaluation) returns x as it is.
      start: the number of its first element, where x is a part of a larger array.

    Returns:
      x's shape and dtype.
    """
    if key is None or rate == 0.0:
        return x
    dropped = jnp.uint32(round(rate * 2**32))
    keep = hash_bits(key, x.size, start).reshape(x.shape) >= dropped
    return jnp.where(keep, scaled(x, 1.0 / (1.0 - rate)), jnp.zeros((), x.dtype))
