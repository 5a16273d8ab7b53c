"""Bounds of fresh parameters."""

import jax
import numpy as np
import pytest

from textclf_jax.model.initializers import uniform_by_fan_in, xavier_uniform, xavier_uniform_with_pad_row

SHAPE = (300, 500)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        (xavier_uniform, np.sqrt(6 / 800)),
        (xavier_uniform_with_pad_row, np.sqrt(6 / 800)),
        (uniform_by_fan_in(300), 300**-0.5),
    ],
)
def test_uniform_up_to_the_bound(init, bound):
    value = np.asarray(init(jax.random.key(0), SHAPE), np.float64)[1:]
    assert 0.999 * bound < np.abs(value).max() <= bound * (1 + 1e-6)
    assert abs(value.mean()) < 5 * bound / np.sqrt(3 * value.size)
    np.testing.assert_allclose(value.std(), bound / np.sqrt(3), rtol=0.01)


def test_the_row_of_pad_is_zero_and_no_other():
    largest = np.abs(xavier_uniform_with_pad_row(jax.random.key(0), SHAPE)).max(axis=1)
    assert largest[0] == 0
    assert (largest[1:] > 0).all()


def test_biases_take_the_fan_in_of_their_layer():
    assert 0.08 < np.abs(uniform_by_fan_in(100)(jax.random.key(0), (4000,))).max() <= 0.1
