"""Rotary tables and rotations against the reference's."""

import numpy as np
import pytest

from textclf_jax.config.schema import Rope
from textclf_jax.model.rope import rotary_tables, rotate

pytestmark = pytest.mark.golden


def test_tables_and_rotations(golden, subtests):
    for entry in golden.entries("rope"):
        config, arrays = entry["config"], golden.load(entry)
        settings = Rope(rope_base=config["base"], rope_scale=config["scale"], variant="reference")
        cos, sin = rotary_tables(config["seq_len"], config["dim"], settings)
        with subtests.test(entry["file"]):
            np.testing.assert_allclose(cos, arrays["out/cos"][0, 0], **entry["tolerance"])
            np.testing.assert_allclose(sin, arrays["out/sin"][0, 0], **entry["tolerance"])
            for name in ("q", "k"):
                x = arrays[f"in/{name}"]
                rotated = np.asarray(rotate(x.swapaxes(1, 2), settings)).swapaxes(1, 2)
                np.testing.assert_allclose(rotated, arrays[f"out/{name}_rot"], **entry["tolerance"])
                positions = arrays["in/position_ids"]
                by_position = x * cos[positions][:, None] + turned(x) * sin[positions][:, None]
                np.testing.assert_allclose(by_position, arrays[f"out/{name}_rot_pos"], **entry["tolerance"])


def turned(x: np.ndarray) -> np.ndarray:
    """(x0, x1, x2, x3, ...) -> (-x1, x0, -x3, x2, ...), neighbours as the reference pairs them."""
    return np.stack([-x[..., 1::2], x[..., 0::2]], axis=-1).reshape(x.shape)
