import jax
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED
from tests.model.cases import check_float64_gradients, normal
from textclf_jax.kernels.linear_attention import linear_attention, linear_attention_reference
from textclf_jax.kernels.precision import FULL

PHI_Q, PHI_K, V = np.abs(normal((2, 3, 7, 4))), np.abs(normal((2, 3, 5, 4), seed=1)), normal((2, 3, 5, 6), seed=2)


@pytest.mark.parametrize(("precision", "tolerance"), [(FULL, 1e-5), (ROUNDED, 2e-2)])
@pytest.mark.parametrize("eps", [1e-6, 3.0], ids=["no denominator cut", "some denominators cut"])
def test_values_and_gradients_are_those_of_the_reference(precision, tolerance, eps):
    weights = normal((2, 3, 7, 6), seed=3)

    def results(function):
        return jax.value_and_grad(lambda *arguments: (function(*arguments) * weights).sum(), (0, 1, 2))(PHI_Q, PHI_K, V)

    (found, gradients), (expected, expected_gradients) = (
        results(lambda *a: linear_attention(*a, eps, precision)),
        results(lambda *a: linear_attention_reference(*a, eps)),
    )
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


def test_gradients():
    check_float64_gradients(lambda q, k, v: linear_attention(q, k, v, 1e-6, FULL), PHI_Q, PHI_K, V)
