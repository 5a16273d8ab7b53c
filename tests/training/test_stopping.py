"""When several processes stop or save together; that they do is tested in test_many_processes.py."""

import jax
import numpy as np
import pytest

from textclf_jax.runs.signals import StopRequest
from textclf_jax.runtime.sharding import DATA, FSDP, Placement
from textclf_jax.training import stopping
from textclf_jax.training.stopping import Together


@pytest.mark.parametrize("in_flight", [0, 3])
def test_a_late_clock_saves_once(monkeypatch, in_flight):
    monkeypatch.setattr(stopping, "steps_in_flight", lambda: in_flight)
    placement = Placement(jax.make_mesh((1, 1), (DATA, FSDP), devices=jax.devices()[:1]))
    together, is_late, saved = Together(placement, StopRequest(catches=False)), True, []
    for step in range(20):
        if together.after_step(is_late=is_late):
            saved.append(step)
            is_late = False
        is_late |= step == 9
    assert saved == [in_flight, 10 + in_flight]


def test_a_signal_counts_once_it_is_read(monkeypatch):
    monkeypatch.setattr(stopping, "steps_in_flight", lambda: 2)
    placement = Placement(jax.make_mesh((1, 1), (DATA, FSDP), devices=jax.devices()[:1]))
    stop = StopRequest(catches=False)
    together, found = Together(placement, stop), []
    for step in range(5):
        stop.received = 15 if step >= 1 else None
        together.after_step(is_late=False)
        found.append(stop.signal)
    np.testing.assert_array_equal(found, [None, None, None, 15, 15])
