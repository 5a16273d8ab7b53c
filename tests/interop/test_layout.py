"""Layers of PyTorch's state dicts: names, layouts, and the message about arrays that do not fit."""

import numpy as np
import pytest

from textclf_jax.errors import UserError
from textclf_jax.interop.layout import check_names, linear_names, norm_names, transpose_kernel


def test_names():
    both = {"a.b.weight": ("x", "y", "kernel"), "a.b.bias": ("x", "y", "bias")}
    assert linear_names("a.b", "x", "y") == both
    assert linear_names("a.b", "x", "y", use_bias=False) == {"a.b.weight": both["a.b.weight"]}
    assert norm_names("n", "x") == {"n.weight": ("x", "scale"), "n.bias": ("x", "bias")}


def test_kernels_alone_are_transposed():
    value = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(transpose_kernel(("x", "kernel"), value), value.T)
    assert transpose_kernel(("x", "embedding"), value) is value


def test_arrays_that_do_not_fit_are_listed():
    check_names("it fits", [], [])
    with pytest.raises(UserError, match=r"^it does not fit\n  missing: a, b\n  left over: nothing$"):
        check_names("it does not fit", ["a", "b"], [])
    with pytest.raises(UserError, match=r"missing: nothing\n  left over: c$"):
        check_names("it does not fit", [], ["c"])
