"""How fast matrix products can be on this device: known for GPUs, measured for CPUs."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.precision import Precision

# Dense bfloat16 with float32 sums, FLOP/s, from NVIDIA's data sheets; the first name that a device's kind contains
KNOWN_PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIE": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def known_peak(device_kind: str) -> float | None:
    """The data sheet's dense bfloat16 FLOP/s of a GPU; None if unknown."""
    name = device_kind.upper()
    return next((peak for known, peak in KNOWN_PEAKS.items() if known in name), None)


def measured_limit(products: jnp.dtype, size: int, *, seconds: float) -> float:
    """Measures the rate of one large matrix product with float32 sums.

    Args:
      products: dtype of the operands.
      size: of the square matrices.
      seconds: how long to measure, without the first product, which compiles.

    Returns:
      FLOP/s of the fastest product.
    """
    # random, since zeros and ones draw less power, and a GPU multiplies them faster
    a = jax.device_put(np.random.default_rng(0).standard_normal((size, size), np.float32).astype(products))
    jax.block_until_ready(_product(a, a))
    best, end = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(_product(a, a))
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


@jax.jit
def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)


def training_limit(precision: Precision, num_devices: int = 1) -> float | None:
    """What a run's model FLOP/s are compared with, for MFU: known for GPUs in bfloat16, measured briefly on a CPU.

    None where neither is to be had: float32 on a GPU, whose speed depends on settings, and GPUs that are not listed.

    Args:
      precision: of the run.
      num_devices: GPUs of the run, all of one kind. Several devices of a CPU share its cores, which are measured.
    """
    if platform() == "gpu":
        in_bf16 = precision.products == jnp.bfloat16
        peak = known_peak(jax.devices()[0].device_kind)
        return peak * num_devices if in_bf16 and peak is not None else None
    return measured_limit(precision.products, 1024, seconds=0.15)
