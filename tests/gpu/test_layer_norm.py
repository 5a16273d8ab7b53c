"""LayerNorm on the device, values and gradients, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.gpu import exact
from tests.model.cases import HALF, normal
from textclf_jax.kernels.layer_norm import layer_norm
from textclf_jax.kernels.precision import FULL

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("dtype", "precision", "error"), [(jnp.bfloat16, HALF, 2**-6), (jnp.float32, FULL, 1e-4)], ids=["bf16", "full"]
)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_values_and_gradients(dtype, precision, error, offset):
    """Each may be off by a share of its largest value; an offset is what the mean takes away."""
    x = np.asarray(jnp.asarray(2 * normal((512, 256)) + offset, dtype).astype(jnp.float32))
    scale, bias, weights = 1 + normal((256,)) / 4, normal((256,), seed=1), normal(x.shape, seed=2)

    def in_float64(x, scale, bias):
        deviation = x.var(dim=-1, keepdim=True, unbiased=False).sqrt()
        return (x - x.mean(dim=-1, keepdim=True)) / deviation * scale + bias

    @jax.jit
    def on_device(x, scale, bias):
        output, vjp = jax.vjp(lambda x, s, b: layer_norm(x, s, b, precision), x.astype(dtype), scale, bias)
        return [output, *vjp(jnp.asarray(weights, output.dtype))]

    expected = exact.with_gradients(in_float64, [x, scale, bias], weights)
    for found, right in zip(on_device(x, scale, bias), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found, np.float64), right, rtol=0, atol=error * np.abs(right).max())
