"""FAVOR+ attention: what its random features estimate, and how well."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.cases import check_float64_gradients, dense_attention, normal, real_lengths
from textclf_jax.config.schema import Favor
from textclf_jax.model.attention.favor import draw_features, favor_attention, feature_map

DRAWS = 96
LENGTHS = real_lengths(12, 5)
SHAPE = (2, 12, 2, 8)

attend = jax.jit(favor_attention, static_argnames="settings")


def estimation_error(settings: Favor, seed: int) -> float:
    """Root mean square difference to exact softmax attention over real tokens and many draws of the features."""
    q, k, v = normal(SHAPE, scale=0.3, count=3)
    real = np.arange(12) < LENGTHS[:, None]
    exact = dense_attention(q, k, v, np.broadcast_to(real[:, None], (2, 12, 12)))

    def squared_error(key):
        estimate = favor_attention(q, k, v, LENGTHS, draw_features(key, 2, 8, settings), settings=settings)
        return jnp.square((estimate - exact)[real]).mean()

    errors = jax.jit(jax.vmap(squared_error))(jax.random.split(jax.random.key(seed), DRAWS))
    return float(jnp.sqrt(errors.mean()))


@pytest.mark.parametrize("stabilize", [False, True])
def test_error_falls_with_the_root_of_the_number_of_features(stabilize):
    counts = np.array([32, 256, 2048])
    errors = [estimation_error(Favor(nb_features=int(m), stabilize=stabilize), seed=0) for m in counts]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert -0.55 < slope < -0.45
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("nb_features", [8, 32])
def test_orthogonal_features_are_at_least_as_good(nb_features):
    orthogonal = estimation_error(Favor(nb_features=nb_features), seed=1)
    independent = estimation_error(Favor(nb_features=nb_features, ortho_features=False), seed=1)
    assert orthogonal < independent


def test_features_estimate_the_kernel_without_bias():
    """The mean of phi(q) phi(k) over independent directions is exp(q k / sqrt(K)), within four standard errors."""
    count = 20_000
    settings = Favor(nb_features=2 * count, stabilize=False, ortho_features=False)
    q, k = normal((1, 3, 4), scale=0.7, count=2)
    omega = draw_features(jax.random.key(0), 1, 4, settings)
    phi_q, phi_k = (np.asarray(feature_map(x, omega, settings, is_query=True)[0], np.float64) for x in (q, k))
    products = (phi_q[:, None] * phi_k[None]).reshape(3, 3, 2, count).sum(axis=2) * count
    kernel = np.exp(q[0] @ k[0].T / 2)
    assert (np.abs(products.mean(axis=-1) - kernel) < 4 * products.std(axis=-1) / np.sqrt(count)).all()
    np.testing.assert_allclose(products.mean(axis=-1), kernel, rtol=0.1)


def test_stabilisation_cancels():
    """It scales queries and keys by factors that fall out of the quotient."""
    q, k, v = normal(SHAPE, scale=0.5, count=3)
    omega = draw_features(jax.random.key(0), 2, 8, Favor(nb_features=32))
    stable, raw = (
        attend(q, k, v, LENGTHS, omega, settings=Favor(nb_features=32, stabilize=stabilize))
        for stabilize in (True, False)
    )
    np.testing.assert_allclose(stable, raw, atol=1e-4)


def test_stabilised_features_of_large_inputs_are_finite():
    q, k, v = normal(SHAPE, scale=40, count=3)
    settings = Favor(nb_features=32)
    out = attend(q, k, v, LENGTHS, draw_features(jax.random.key(0), 2, 8, settings), settings=settings)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("phi", ["elu", "relu2"])
def test_deterministic_kernels_by_their_definition(phi: Literal["elu", "relu2"]):
    q, k, v = normal(SHAPE, count=3)
    kernel = {"elu": lambda x: np.where(x > 0, x + 1, np.exp(x)), "relu2": lambda x: np.maximum(x, 0) ** 2}[phi]
    products = np.einsum("blhk,bshk->bhls", kernel(np.float64(q)), kernel(np.float64(k)))
    products = products * (np.arange(12) < LENGTHS[:, None])[:, None, None]
    expected = np.einsum("bhls,bshk->blhk", products / products.sum(axis=-1, keepdims=True), v)
    out = attend(q, k, v, LENGTHS, None, settings=Favor(phi=phi))
    np.testing.assert_allclose(out[0], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out[1, :5], expected[1, :5], rtol=1e-4, atol=1e-5)


def test_padding_is_zero_and_cannot_be_seen():
    q, k, v = normal(SHAPE, count=3)
    settings = Favor(nb_features=16)
    omega = draw_features(jax.random.key(0), 2, 8, settings)
    before = np.asarray(attend(q, k, v, LENGTHS, omega, settings=settings))
    padding = np.arange(12) >= LENGTHS[:, None]
    q[padding], k[padding], v[padding] = 9, 9, 9
    np.testing.assert_array_equal(before, attend(q, k, v, LENGTHS, omega, settings=settings))
    assert not before[padding].any()


@pytest.mark.parametrize(
    "settings", [Favor(nb_features=4), Favor(nb_features=4, stabilize=False), Favor(phi="elu"), Favor(phi="relu2")]
)
def test_gradients(settings):
    omega = draw_features(jax.random.key(0), 1, 2, settings) if settings.phi == "exp" else None
    lengths = real_lengths(5, 3)
    check_float64_gradients(
        lambda q, k, v: favor_attention(q, k, v, lengths, omega, settings=settings), *normal((2, 5, 1, 2), count=3)
    )


def test_orthogonal_directions():
    """Orthogonal in blocks of the head size, with the norms of independent Gaussian vectors, in random order."""
    omega = np.asarray(draw_features(jax.random.key(0), 200, 4, Favor(nb_features=12)), np.float64)
    assert omega.shape == (200, 6, 4)
    gram = omega @ omega.swapaxes(1, 2)
    off_diagonal = gram[:, :4, :4] * (1 - np.eye(4))
    np.testing.assert_allclose(off_diagonal, 0, atol=1e-5)
    np.testing.assert_allclose(gram[:, 4, 5], 0, atol=1e-5)
    squares = np.square(omega).sum(axis=-1)  # chi-square with 4 degrees of freedom: mean 4, variance 8
    assert abs(squares.mean() - 4) < 5 * np.sqrt(8 / squares.size)
    assert abs(omega.mean()) < 5 / np.sqrt(omega.size)
