"""Products with one kernel, in every precision, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED, close, rounded
from tests.model.cases import HALF, normal
from textclf_jax.kernels.linear import add_bias, kernel_gradient, linear, linear_reference
from textclf_jax.kernels.precision import FULL

SHAPES = [(5, 8), (16, 8), (2, 3, 8), (1, 1, 8), (2, 3, 4, 8)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_products_round_the_operands_and_nothing_else(shape, transposed):
    x, w, g = (normal(s, seed=i) for i, s in enumerate((shape, (8, 6), (*shape[:-1], 6))))
    y, vjp = jax.vjp(jax.jit(lambda x, w: linear(x, w.T if transposed else w, ROUNDED, transposed=transposed)), x, w)
    dx, dw = vjp(g)
    assert y.dtype == dx.dtype == dw.dtype == jnp.float32
    close(y, rounded(x) @ rounded(w))
    close(dx, rounded(g) @ rounded(w).T)
    close(dw, rounded(x).reshape(-1, 8).T @ rounded(g).reshape(-1, 6))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("precision", "tolerance"), [(FULL, 1e-6), (ROUNDED, 2e-2), (HALF, 2e-2)])
def test_values_and_gradients_are_those_of_the_reference(shape, transposed, precision, tolerance):
    x, w, g = (normal(s, seed=i) for i, s in enumerate((shape, (6, 8) if transposed else (8, 6), (*shape[:-1], 6))))

    def results(function):
        y, vjp = jax.vjp(lambda x, w: function(x, w, transposed=transposed), x, w)
        return y, *vjp(jnp.asarray(g, y.dtype))

    found_ones = results(lambda x, w, **options: linear(x, w, precision, **options))
    for found, expected in zip(found_ones, results(linear_reference), strict=True):
        expected = np.asarray(expected)
        np.testing.assert_allclose(found.astype(np.float32), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", [(4, 64), (64, 4), (64, 60)], ids=["narrow", "wide", "no unit"])
def test_the_gradient_of_a_kernel_does_not_depend_on_its_shape(sizes, transposed):
    """Whichever operand is transposed."""
    x, cotangent = normal((2, 32, sizes[0])), normal((2, 32, sizes[1]), seed=1)
    expected = rounded(x).reshape(64, -1).T @ rounded(cotangent).reshape(64, -1)
    found = jax.jit(lambda x, g: kernel_gradient(x, g, ROUNDED, transposed=transposed))(x, cotangent)
    close(found, expected.T if transposed else expected)


def test_each_precision_gives_its_dtype():
    x, w = jnp.ones((2, 4)), jnp.ones((4, 3))
    assert [linear(x, w, p).dtype for p in (FULL, ROUNDED, HALF)] == [jnp.float32, jnp.float32, jnp.bfloat16]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_of_a_bias_is_summed_in_float32(dtype):
    """In bfloat16 256 ones are as far as a sum of them comes."""
    y, bias = jnp.asarray(normal((8, 512, 4)), dtype), normal((4,), seed=1)
    found, vjp = jax.vjp(add_bias, y, bias)
    np.testing.assert_array_equal(found, y + jnp.asarray(bias, dtype))
    dy, dbias = vjp(jnp.ones_like(y))
    assert (found.dtype, dy.dtype, dbias.dtype) == (dtype, dtype, jnp.float32)
    np.testing.assert_array_equal(dbias, np.full(4, 4096, np.float32))
