import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import HALF
from textclf_jax.model.precision import FULL, Linear, Precision, matmul, split, turned
from textclf_jax.model.products import bf16_batched_matmul, bf16_matmul

ROUNDED = Precision(jnp.float32, jnp.bfloat16)


def rounded(x):
    """x rounded to bfloat16, as float64."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (16, 8), (2, 3, 8), (1, 1, 8), (2, 3, 4, 8)])
def test_bf16_products_round_the_operands_and_nothing_else(shape, transposed):
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=s).astype(np.float32) for s in (shape, (8, 6), (*shape[:-1], 6)))
    y, vjp = jax.vjp(jax.jit(lambda x, w: bf16_matmul(x, w.T if transposed else w, transposed)), x, w)
    dx, dw = vjp(g)
    assert y.dtype == dx.dtype == dw.dtype == jnp.float32
    close(y, rounded(x) @ rounded(w))
    close(dx, rounded(g) @ rounded(w).T)
    close(dw, rounded(x).reshape(-1, 8).T @ rounded(g).reshape(-1, 6))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("lead", [(1,), (3,), (1, 1), (2, 1), (1, 4), (2, 3), (2, 2, 1, 3)])
def test_bf16_batched_products_round_the_operands_and_nothing_else(lead, transposed):
    """Operands and results that are turned around the product too, as attention does: XLA must run those as well."""
    rng = np.random.default_rng(0)
    a, b, g = (rng.normal(size=(*lead, *s)).astype(np.float32) for s in ((6, 8), (8, 4), (6, 4)))

    def product(a_turned, b_turned):
        b_given = b_turned if transposed else b_turned.swapaxes(-1, -2)
        return bf16_batched_matmul(a_turned.swapaxes(-1, -2), b_given, transposed).swapaxes(-1, -2)

    y, vjp = jax.vjp(jax.jit(product), a.swapaxes(-1, -2), b.swapaxes(-1, -2))
    da, db = vjp(g.swapaxes(-1, -2))
    turned = [np.asarray(x).swapaxes(-1, -2) for x in (y, da, db)]
    expected = (
        rounded(a) @ rounded(b),
        rounded(g) @ rounded(b).swapaxes(-1, -2),
        rounded(a).swapaxes(-1, -2) @ rounded(g),
    )
    for found, wanted in zip(turned, expected, strict=True):
        close(found, wanted)


def test_each_precision_gives_its_dtype():
    x, w = jnp.ones((2, 4)), jnp.ones((4, 3))
    assert [matmul(x, w, p).dtype for p in (FULL, ROUNDED, HALF)] == [jnp.float32, jnp.float32, jnp.bfloat16]


def test_linear_keeps_float32_parameters():
    module = Linear(3, HALF)
    variables = module.init(jax.random.key(0), jnp.ones((2, 4)))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert module.apply(variables, jnp.ones((2, 4))).dtype == jnp.bfloat16  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("precision", "operand"), [(FULL, lambda x: x), (ROUNDED, rounded)])
def test_the_gradient_of_a_split_is_that_of_its_parts_as_operands(precision, operand):
    x, cotangents = jnp.arange(24.0).reshape(2, 12), np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    parts, vjp = jax.vjp(lambda x: split(x, 3, precision), x)
    for part, expected in zip(parts, np.split(np.asarray(x), 3, axis=-1), strict=True):
        np.testing.assert_array_equal(part, expected)
    (dx,) = vjp(list(cotangents))
    assert dx.dtype == jnp.float32
    np.testing.assert_array_equal(dx, operand(np.concatenate(list(cotangents), axis=-1)))


@pytest.mark.parametrize("precision", [FULL, ROUNDED, HALF])
@pytest.mark.parametrize("shape", [(8, 5), (16, 3), (7, 5), (2, 3, 24, 5)])
def test_turned_results_hold_the_same_numbers(shape, precision):
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(jax.jit(lambda x: turned(x, precision))(x), x.swapaxes(-1, -2))
