import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels.cases import ROUNDED, rounded
from tests.model.cases import normal
from textclf_jax.kernels import split as split_module
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


def test_on_a_gpu_the_gradient_is_put_together_once(monkeypatch):
    """There a barrier keeps it out of the products that read it; on a CPU it is as it was."""
    x, cotangents = jnp.arange(24.0).reshape(2, 12), list(normal((3, 2, 4)))

    def gradient(*cotangents):
        return jax.vjp(lambda x: split(x, 3, FULL), x)[1](list(cotangents))[0]

    def operations():
        # of a new function: what was traced before is not traced again
        return str(jax.make_jaxpr(lambda *cotangents: gradient(*cotangents))(*cotangents))

    expected = gradient(*cotangents)
    assert "optimization_barrier" not in operations()
    monkeypatch.setattr(split_module, "platform", lambda: "gpu")
    assert "optimization_barrier" in operations()
    np.testing.assert_array_equal(gradient(*cotangents), expected)
