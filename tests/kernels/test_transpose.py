import math

import jax
import numpy as np
import pytest

from textclf_jax.kernels.transpose import transpose_operand, transpose_result


@pytest.mark.parametrize("shape", [(8, 5), (16, 3), (7, 5), (2, 3, 24, 5)])
def test_transposed_arrays_hold_the_same_numbers(shape):
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(jax.jit(transpose_result)(x), x.swapaxes(-1, -2))
    if shape[-2] % 8 == 0:
        np.testing.assert_array_equal(jax.jit(transpose_operand)(x), x.swapaxes(-1, -2))
