"""Attention linear in the length: phi(q) (phi(k)^T v), divided by phi(q) (phi(k)^T 1)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.batched import batched_matmul, sum_over_rows
from textclf_jax.kernels.precision import Precision
from textclf_jax.kernels.reductions import sum_of_products


def linear_attention_reference(phi_q, phi_k, v, eps: float):
    """What `linear_attention` computes."""
    denominator = jnp.einsum("...lf,...sf->...l", phi_q, phi_k)[..., None]
    return jnp.einsum("...lf,...sf,...sk->...lk", phi_q, phi_k, v) / jnp.maximum(denominator, eps)


def linear_attention(
    phi_q: Float[Array, "*N L F"],
    phi_k: Float[Array, "*N S F"],
    v: Float[Array, "*N S K"],
    eps: float,
    precision: Precision,
) -> Float[Array, "*N L K"]:
    """Averages values with weights phi(q) . phi(k), which are never formed.

    Args:
      phi_q, phi_k: [..., L or S, F] features, float32 or wider; those of padding are 0.
      v: [..., S, K].
      eps: below which the denominator is cut.
      precision: of the products.

    Returns:
      [..., L, K] in v's dtype.

    Source: Choromanski et al. 2021, Performer, section 2.3.
    """
    return _linear_attention(phi_q, phi_k, v, eps, precision)


# A gradient of its own: XLA on CPU would compute the products again, at a tenth of their speed, within the sums over
# channels
@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _linear_attention(phi_q, phi_k, v, eps: float, precision: Precision) -> Any:
    return _forward(phi_q, phi_k, v, eps, precision)[0]


def _forward(phi_q, phi_k, v, eps: float, precision: Precision):
    summary = sum_over_rows(phi_k, v, precision)
    total = phi_k.sum(axis=-2, keepdims=True)
    denominator = sum_of_products(phi_q, total, axis=-1)
    context = batched_matmul(phi_q, summary, precision) / jnp.maximum(denominator, eps)
    return context, (phi_q, phi_k, v, summary, total, denominator, context)


def _backward(eps: float, precision: Precision, residuals, dcontext):
    phi_q, phi_k, v, summary, total, denominator, context = residuals
    dnumerator = dcontext / jnp.maximum(denominator, eps)
    ddenominator = jnp.where(denominator > eps, -sum_of_products(dnumerator, context, axis=-1), 0)
    dsummary = sum_over_rows(phi_q, dnumerator, precision)
    dtotal = sum_of_products(phi_q, ddenominator, axis=-2)
    dphi_q = batched_matmul(dnumerator, summary, precision, transposed=True) + ddenominator * total
    dphi_k = batched_matmul(v, dsummary, precision, transposed=True) + dtotal
    return dphi_q, dphi_k, batched_matmul(phi_k, dsummary, precision)


_linear_attention.defvjp(_forward, _backward)
