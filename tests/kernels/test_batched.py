"""Products of many pairs of matrices, against float64."""

import jax
import pytest

from tests.kernels.cases import ROUNDED, close, rounded
from tests.model.cases import HALF, normal
from textclf_jax.kernels.batched import batched_matmul, sum_over_rows
from textclf_jax.kernels.precision import FULL

LEADS = [(1,), (3,), (1, 1), (2, 1), (1, 4), (2, 3), (2, 2, 1, 3)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(("precision", "operand"), [(FULL, lambda x: x), (ROUNDED, rounded)], ids=["full", "rounded"])
def test_products_round_the_operands_and_nothing_else(lead, transposed, precision, operand):
    """Operands and results that are transposed around the product too, as attention does: XLA must run those too."""
    a, b, g = (normal((*lead, *s), seed=i) for i, s in enumerate(((6, 8), (8, 4), (6, 4))))

    def product(a_transposed, b_transposed):
        b_given = b_transposed if transposed else b_transposed.swapaxes(-1, -2)
        return batched_matmul(a_transposed.swapaxes(-1, -2), b_given, precision, transposed=transposed).swapaxes(-1, -2)

    y, vjp = jax.vjp(jax.jit(product), a.swapaxes(-1, -2), b.swapaxes(-1, -2))
    da, db = vjp(g.swapaxes(-1, -2))
    a, b, g = map(operand, (a, b, g))
    expected = a @ b, g @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g
    for found, wanted in zip((y, da, db), expected, strict=True):
        close(found.swapaxes(-1, -2), wanted)


@pytest.mark.parametrize("rows", [1, 6, 8, 24])
@pytest.mark.parametrize(
    ("precision", "operand"),
    [(FULL, lambda x: x), (ROUNDED, rounded), (HALF, rounded)],
    ids=["full", "rounded", "half"],
)
def test_sums_over_rows(rows, precision, operand):
    a, b = normal((3, rows, 4)), normal((3, rows, 5), seed=1)
    found = jax.jit(lambda a, b: sum_over_rows(a, b, precision))(a, b)
    close(found, operand(a).swapaxes(-1, -2) @ operand(b))


def test_operands_in_float32_are_rounded_beside_activations_in_bfloat16():
    """And not multiplied in whatever a device multiplies float32 in."""
    a, b = normal((3, 6, 8)), normal((3, 8, 4), seed=1)
    close(batched_matmul(a, b, HALF), rounded(a) @ rounded(b))
