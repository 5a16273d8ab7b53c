from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from textclf_jax.kernels.precision import FULL
from textclf_jax.observe import limits
from textclf_jax.observe.limits import known_peak, measured_limit, training_limit


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
    ],
)
def test_known_peaks(kind, tera):
    assert known_peak(kind) == tera * 1e12


def test_an_unknown_device_has_no_peak():
    assert known_peak("NVIDIA GeForce GT 710") is None


def test_the_fastest_product_counts(monkeypatch):
    """On a clock that shows products of 0.5, 0.25 and 0.5 s."""
    times = [0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 1.25, 1.25]
    monkeypatch.setattr(limits, "time", SimpleNamespace(perf_counter=iter(times).__next__))
    assert measured_limit(jnp.float32, 64, seconds=1.0) == 2 * 64**3 / 0.25  # pyright: ignore[reportArgumentType]


def test_limits_of_a_cpu_are_measured():
    assert 0 < measured_limit(jnp.float32, 64, seconds=0.0) < 1e14  # pyright: ignore[reportArgumentType]
    limit = training_limit(FULL)
    assert limit is not None
    assert 0 < limit < 1e14
