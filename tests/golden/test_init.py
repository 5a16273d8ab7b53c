"""A fresh model follows the reference's law of initialisation, parameter by parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.test_models import build
from textclf_jax.interop.reference import state_dict_from_variables

pytestmark = pytest.mark.golden

SIGMAS = 5


def test_laws(golden, subtests):
    for seed, entry in enumerate(golden.entries("init")):
        # a recorded head size is odd, which rope cannot rotate: the law does not depend on fixed positions
        fixed = {"pos_encoding": "sinusoidal"} if entry["config"]["model"]["pos_encoding"] == "rope" else {}
        module, architecture, head = build(entry["config"] | {"model": entry["config"]["model"] | fixed})
        ids = jnp.zeros((1, 2), jnp.int32)
        variables = jax.jit(module.init)(jax.random.key(seed), ids, jnp.array([2], jnp.int32))
        state = state_dict_from_variables(variables, architecture, head)
        assert set(state) == set(entry["expected"])
        for name, law in entry["expected"].items():
            with subtests.test(f"{entry['file']} {name}"):
                CHECKS[law["dist"]](state[name].astype(np.float64), law)


def check_uniform(value, law):
    """Within the bound, close to it, and with the moments of a uniform distribution."""
    bound, zero_rows = law["bound"], law.get("zero_rows", [])
    assert not value[zero_rows].any()
    value = np.delete(value, zero_rows, axis=0).reshape(-1)
    # float32 may round a draw up to the bound's nearest number; the largest of n draws is bound * (1 - O(1/n))
    assert bound * (1 - 20 / value.size) < np.abs(value).max() <= bound * (1 + 1e-6)
    assert abs(value.mean()) < SIGMAS * bound / np.sqrt(3 * value.size)
    sampling_error = bound**2 * np.sqrt(4 / 45 / value.size)
    assert abs(np.square(value).mean() - bound**2 / 3) < SIGMAS * sampling_error


def check_gaussian_orthogonal(value, law):
    """Blocks of up to K orthogonal rows in each head, with the norms of independent Gaussian vectors."""
    head_dim = value.shape[-1]
    norms = np.linalg.norm(value, axis=-1)
    for head in value / norms[..., None]:
        for start in range(0, len(head), head_dim):
            block = head[start : start + head_dim]
            np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-5)
    spread = np.sqrt(head_dim - law["mean_row_norm"] ** 2)
    assert abs(norms.mean() - law["mean_row_norm"]) < SIGMAS * spread / np.sqrt(norms.size)
    assert 0.5 * spread < norms.std() < 1.5 * spread


def check_zeros(value, law):
    np.testing.assert_array_equal(value, 0)


def check_ones(value, law):
    np.testing.assert_array_equal(value, 1)


CHECKS = {
    "uniform": check_uniform,
    "gaussian_orthogonal": check_gaussian_orthogonal,
    "zeros": check_zeros,
    "ones": check_ones,
}
