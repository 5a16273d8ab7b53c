"""Rotary positions: a rotation, and relative."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.model.cases import check_float64_gradients, normal
from textclf_jax.config.schema import Rope
from textclf_jax.model.rope import rotary_tables, rotate

STANDARD, REFERENCE = Rope(), Rope(variant="reference")


def test_equals_complex_multiplication():
    """Channels j and j + K/2 are the real and imaginary part of a number that is turned by its position."""
    x = normal((2, 9, 3, 6))
    angles = np.arange(9)[:, None] * 50.0 ** (-np.arange(3) / 3) * 0.5
    turned = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angles)[:, None]
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(rotate(x, Rope(rope_base=50.0, rope_scale=0.5)), expected, atol=1e-6)


@hypothesis_settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**16), head_dim=st.sampled_from([2, 4, 10]), shift=st.integers(0, 40))
def test_scores_depend_on_relative_positions_only(seed, head_dim, shift):
    """The same query and key, as far apart at another place, score the same."""
    length, distance = 64, 7
    q, k = normal((head_dim,), seed=seed, count=2)
    rotated_q, rotated_k = (rotate(jnp.tile(x, (1, length, 1, 1)), STANDARD)[0, :, 0] for x in (q, k))
    here, there = rotated_q[distance] @ rotated_k[0], rotated_q[distance + shift] @ rotated_k[shift]
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


@hypothesis_settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**16), base=st.floats(2, 1e6), scale=st.floats(0.01, 4))
def test_norms_are_kept_and_position_zero_is_the_identity(seed, base, scale):
    x = normal((1, 16, 2, 8), seed=seed)
    rotated = rotate(x, Rope(rope_base=base, rope_scale=scale))
    np.testing.assert_allclose(np.linalg.norm(rotated, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(rotated[:, 0], x[:, 0])


def test_the_variants_agree_where_there_is_one_pair_and_differ_elsewhere():
    for head_dim, same in ((2, True), (4, False)):
        x = normal((1, 8, 1, head_dim))
        standard, reference = rotate(x, STANDARD), rotate(x, REFERENCE)
        assert np.allclose(standard, reference, atol=1e-6) == same


def test_tables_are_exact_at_the_longest_positions():
    cos, sin = rotary_tables(16_384, 4, STANDARD)
    np.testing.assert_allclose(cos[-1], np.cos([16_383.0, 163.83] * 2), atol=1e-7)
    np.testing.assert_allclose(sin[-1], np.sin([16_383.0, 163.83] * 2), atol=1e-7)


def test_half_precision_is_rotated_in_full():
    x = normal((1, 512, 1, 8))
    half = rotate(jnp.asarray(x, jnp.bfloat16), STANDARD)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), rotate(x, STANDARD), atol=0.04)


def test_gradients():
    for settings in (STANDARD, REFERENCE):
        check_float64_gradients(partial(rotate, settings=settings), normal((1, 3, 1, 4)))


def test_a_program_holds_its_tables_once():
    """However many layers turn queries and keys: at 16,384 positions a table has 4 MB."""

    def turned_often(x):
        for _ in range(3):
            x = rotate(jnp.sin(x), STANDARD)
        return x.sum()

    program = jax.jit(jax.grad(turned_often)).lower(jax.ShapeDtypeStruct((1, 40, 2, 8), jnp.float32)).as_text()
    assert program.count('dense<"0x') == 2


def test_tables_are_shared_and_so_cannot_be_written():
    tables = rotary_tables(5, 4, STANDARD)
    assert all(a is b for a, b in zip(tables, rotary_tables(5, 4, Rope()), strict=True))
    assert not any(table.flags.writeable for table in tables)
    assert rotary_tables(5, 4, Rope(rope_base=50.0))[0][4, 1] != tables[0][4, 1]
