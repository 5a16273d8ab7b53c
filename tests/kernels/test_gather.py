import jax
import numpy as np
import pytest

from tests.model.cases import normal
from textclf_jax.kernels.gather import gather_rows


@pytest.mark.parametrize("places", [np.array([3, 0, 3, 5]), np.array([[1, 1], [4, 0]])], ids=["a list", "a table"])
def test_values_and_gradients_are_those_of_indexing(places):
    """A row that is picked twice gets both gradients."""
    x = normal((6, 4))
    (y, vjp), (expected, expected_vjp) = (
        jax.vjp(pick, x) for pick in (lambda x: gather_rows(x, places), lambda x: x[places])
    )
    np.testing.assert_array_equal(y, expected)
    cotangent = normal(y.shape, seed=1)
    np.testing.assert_allclose(vjp(cotangent)[0], expected_vjp(cotangent)[0], rtol=1e-6)


def test_a_gradient_that_is_not_finite_is_not_hidden():
    _, vjp = jax.vjp(lambda x: gather_rows(x, np.array([2])), normal((3, 4)))
    assert not np.isfinite(jax.jit(vjp)(np.full((1, 4), np.inf, np.float32))[0]).all()
