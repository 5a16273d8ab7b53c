"""Every pooling, with and without padding, against the reference's."""

from typing import Any

import numpy as np
import pytest

from tests.golden import adapters
from textclf_jax.model.pooling import pool

pytestmark = pytest.mark.golden


def test_poolings(golden):
    (entry,) = golden.entries("pooling")
    arrays = golden.load(entry)
    x = arrays["in/x"]
    outputs = [key for key in arrays if key.startswith("out/")]
    assert outputs
    for key in outputs:
        kind = key.removeprefix("out/").removesuffix("_nomask")
        stride = int(kind.removeprefix("sep_")) if kind.startswith("sep_") else 1
        lengths: Any = adapters.lengths(arrays["in/key_padding_mask"])
        if key.endswith("_nomask"):
            lengths = np.full_like(lengths, x.shape[1])
        pooled = pool(x, lengths, "strided_mean" if kind.startswith("sep_") else kind, stride)
        np.testing.assert_allclose(pooled, arrays[key], **entry["tolerance"], err_msg=key)
