"""What the tests of kernels have in common."""

import jax.numpy as jnp
import numpy as np

from textclf_jax.kernels.precision import Precision

ROUNDED = Precision(jnp.float32, jnp.bfloat16)


def rounded(x) -> np.ndarray:
    """x rounded to bfloat16, as float64."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def close(found, expected) -> None:
    """Equal but for the order of float32 sums."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
