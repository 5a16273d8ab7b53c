"""Conversions against those of NumPy's bfloat16, pattern by pattern."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.cases import rounded
from tests.model.cases import normal
from textclf_jax.kernels.casts import cast, scaled

ALL_BFLOAT16 = np.arange(2**16, dtype=np.uint16).view(jnp.bfloat16)


def patterns(array) -> np.ndarray:
    return np.asarray(array).view(np.uint16 if array.dtype == jnp.bfloat16 else np.uint32)


def test_all_of_bfloat16_are_widened_to_the_bit():
    found = patterns(cast(jnp.asarray(ALL_BFLOAT16), jnp.float32))
    np.testing.assert_array_equal(found, patterns(ALL_BFLOAT16).astype(np.uint32) << 16)


@pytest.mark.parametrize("below", [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
def test_what_lies_between_two_is_rounded_as_numpy_rounds(below):
    """Exact ones, the middle, and its neighbours, of every sign and exponent, infinities included."""
    wide = (patterns(ALL_BFLOAT16).astype(np.uint32) << 16 | below).view(np.float32)
    with np.errstate(invalid="ignore"):
        found, expected = cast(jnp.asarray(wide), jnp.bfloat16), wide.astype(jnp.bfloat16)
    is_nan = np.isnan(wide)
    np.testing.assert_array_equal(patterns(found)[~is_nan], patterns(expected)[~is_nan])
    assert np.isnan(np.asarray(found)[is_nan]).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_pattern_is_rounded_as_numpy_rounds(bits):
    wide = np.array([bits], np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        found, expected = cast(jnp.asarray(wide), jnp.bfloat16), wide.astype(jnp.bfloat16)
    assert np.isnan(found).all() if np.isnan(wide) else patterns(found) == patterns(expected)


@pytest.mark.parametrize(("dtype", "other"), [(jnp.float32, jnp.bfloat16), (jnp.bfloat16, jnp.float32)])
def test_the_gradient_is_converted_back(dtype, other):
    x, cotangent = jnp.linspace(-2, 2, 9, dtype=dtype), jnp.linspace(1, 3.1, 9, dtype=other)
    gradients = [
        jax.vjp(convert, x)[1](cotangent)[0] for convert in (lambda x: cast(x, other), lambda x: x.astype(other))
    ]
    assert gradients[0].dtype == dtype
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
def test_other_dtypes_are_converted_as_ever(dtype):
    x = jnp.linspace(-2, 2, 9, dtype=jnp.float16)
    np.testing.assert_array_equal(cast(x, dtype), x.astype(dtype))


def test_a_factor_is_not_rounded_before_it_is_used():
    """In bfloat16 it would be 0.1% off, for all elements alike."""
    x, factor = jnp.asarray(normal((1000,)), jnp.bfloat16), 1 / 0.9
    found = scaled(x, factor)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded(found), rounded(rounded(x) * factor))
    assert float(scaled(jnp.float32(3), factor)) == np.float32(3) * np.float32(factor)
