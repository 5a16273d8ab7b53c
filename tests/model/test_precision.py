import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF
from textclf_jax.model.precision import FULL, Linear, Precision, bf16_matmul, matmul

ROUNDED = Precision(jnp.float32, jnp.bfloat16)


def rounded(x):
    """x rounded to bfloat16, as float64."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
def test_bf16_products_round_the_operands_and_nothing_else(shape):
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=s).astype(np.float32) for s in (shape, (8, 6), (*shape[:-1], 6)))
    y, vjp = jax.vjp(bf16_matmul, x, w)
    dx, dw = vjp(g)
    assert y.dtype == dx.dtype == dw.dtype == jnp.float32
    np.testing.assert_allclose(y, rounded(x) @ rounded(w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, rounded(g) @ rounded(w).T, rtol=1e-5, atol=1e-5)
    expected = rounded(x).reshape(-1, 8).T @ rounded(g).reshape(-1, 6)
    np.testing.assert_allclose(dw, expected, rtol=1e-5, atol=1e-5)


def test_each_precision_gives_its_dtype():
    x, w = jnp.ones((2, 4)), jnp.ones((4, 3))
    assert [matmul(x, w, p).dtype for p in (FULL, ROUNDED, HALF)] == [jnp.float32, jnp.float32, jnp.bfloat16]


def test_linear_keeps_float32_parameters():
    module = Linear(3, HALF)
    variables = module.init(jax.random.key(0), jnp.ones((2, 4)))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert module.apply(variables, jnp.ones((2, 4))).dtype == jnp.bfloat16  # pyright: ignore[reportAttributeAccessIssue]
