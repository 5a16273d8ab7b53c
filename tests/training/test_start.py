"""What processes start from; where a run starts is tested in runs/ and end_to_end/."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from textclf_jax.runs.resuming import Position
from textclf_jax.runtime.sharding import Placement
from textclf_jax.training import start
from textclf_jax.training.start import Start, start_together


def aligned(size: int) -> np.ndarray:
    """Host memory that JAX on a CPU takes as it is where it may."""
    memory = np.zeros(4 * size + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + 4 * size].view(np.float32)


def test_a_restored_state_does_not_keep_the_hosts_memory():
    array = aligned(1000)
    assert jax.device_put(array).unsafe_buffer_pointer() == array.ctypes.data  # what this is about
    plan: Any = SimpleNamespace(state_shapes=None, placement=Placement())
    found = start_together(plan, None, lambda: Start(Position(step=3), {"a": array}), dry_run=False)
    assert found.position.step == 3
    assert found.state["a"].unsafe_buffer_pointer() != array.ctypes.data


def test_a_process_alone_compares_nothing(monkeypatch):
    monkeypatch.setattr(start, "checksums", lambda tree: pytest.fail("these take a while"))
    plan: Any = SimpleNamespace()
    pretrained: Any = SimpleNamespace(variables={})
    found = start_together(plan, pretrained, lambda: Start(Position(), pretrained=pretrained), dry_run=False)
    assert found.pretrained is pretrained
