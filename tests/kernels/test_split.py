import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED, rounded
from tests.model.cases import normal
from textclf_jax.kernels.precision import FULL
from textclf_jax.kernels.split import split


@pytest.mark.parametrize(("precision", "operand"), [(FULL, lambda x: x), (ROUNDED, rounded)])
def test_the_gradient_of_a_split_is_that_of_its_parts_as_operands(precision, operand):
    x, cotangents = jnp.arange(24.0).reshape(2, 12), normal((3, 2, 4))
    parts, vjp = jax.vjp(lambda x: split(x, 3, precision), x)
    for part, expected in zip(parts, np.split(np.asarray(x), 3, axis=-1), strict=True):
        np.testing.assert_array_equal(part, expected)
    (dx,) = vjp(list(cotangents))
    assert dx.dtype == jnp.float32
    np.testing.assert_array_equal(dx, operand(np.concatenate(list(cotangents), axis=-1)))
