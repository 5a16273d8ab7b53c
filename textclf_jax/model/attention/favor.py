"""FAVOR+ attention: softmax by positive random features (kind `favor`; Choromanski et al. 2021, Performer)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Favor
from textclf_jax.kernels.batched import batched_matmul
from textclf_jax.kernels.linear_attention import linear_attention
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.kernels.reductions import maximum
from textclf_jax.kernels.shards import on_each_shard
from textclf_jax.model.attention.inputs import Inputs

FEATURE_FLOOR = 1e-6


def attend(q, k, v, inputs: Inputs) -> Float[Array, "B L H K"]:
    """Kind `favor`: by random features. It has no attention weights, so `attn_dropout` has no effect."""
    options = {"settings": inputs.attention.favor, "precision": inputs.precision}
    attend_by_features = functools.partial(favor_attention, **options)
    return on_each_shard(attend_by_features, (q, k, v, inputs.lengths), (_features(inputs),))


def _features(inputs: Inputs) -> Float[Array, "H M K"] | None:
    """The variable "omega" of the collection "features", drawn with the parameters; None where none are needed."""
    module: Any = inputs.module
    settings, heads = inputs.attention.favor, inputs.attention.num_heads
    if settings.phi != "exp":
        return None

    def draw():
        return draw_features(module.make_rng("params"), heads, module.config.head_dim, settings)

    return module.variable("features", "omega", draw).value


def draw_features(key: Array, num_heads: int, head_dim: int, settings: Favor) -> Float[Array, "H M K"]:
    """Draws the random directions [H, nb_features / 2, K] of the exponential kernel.

    With `ortho_features` each block of up to K directions of a head is orthogonal, each direction with the norm of an
    independent Gaussian vector: the estimate varies less.

    Source: Performer, section 2.4.
    """
    count = settings.nb_features // 2
    if not settings.ortho_features:
        return jax.random.normal(key, (num_heads, count, head_dim))
    directions_key, norms_key = jax.random.split(key)
    blocks = -(-count // head_dim)
    gaussian = jax.random.normal(directions_key, (num_heads, blocks, head_dim, head_dim))
    rows = orthonormal_rows(gaussian).reshape(num_heads, blocks * head_dim, head_dim)[:, :count]
    norms = jnp.linalg.norm(jax.random.normal(norms_key, (num_heads, count, head_dim)), axis=-1)
    return rows * norms[..., None]


def orthonormal_rows(x: Float[Array, "*N K K"]) -> Float[Array, "*N K K"]:
    """Makes the rows of square matrices orthonormal, by Gram-Schmidt with each projection taken twice.

    Of Gaussian matrices it gives uniformly distributed rotations. `jnp.linalg.qr` is not used: two at a time can block
    each other for ever in XLA's threads on CPU (seen with jax 0.10.2 on two cores).
    """

    def orthonormalise(i, rows):
        row = rows[..., i, :]
        earlier = jnp.where((jnp.arange(x.shape[-2]) < i)[:, None], rows, 0)
        for _ in range(2):
            along = jnp.einsum("...jk,...k->...j", earlier, row, precision=FULL.of_dot)
            row = row - jnp.einsum("...jk,...j->...k", earlier, along, precision=FULL.of_dot)
        return rows.at[..., i, :].set(row / jnp.linalg.norm(row, axis=-1, keepdims=True))

    return jax.lax.fori_loop(0, x.shape[-2], orthonormalise, x)


def redraw(settings: Favor, collections: Any, step: Array, key: Array) -> Any:
    """The collections of a model, with new features every `redraw_interval` steps where it has such."""
    if "features" not in collections or not settings.redraw_interval:
        return collections
    due = (step % settings.redraw_interval == 0) & (step > 0)
    old = collections["features"]
    drawn = jax.lax.cond(due, lambda: redraw_features(old, key, settings), lambda: old)
    return {**collections, "features": drawn}


def redraw_features(features: Any, key: Array, settings: Favor) -> Any:
    """Draws new directions for every layer of a "features" collection; each leaf is [H, nb_features / 2, K]."""
    leaves, structure = jax.tree.flatten(features)
    keys = jax.random.split(key, len(leaves))
    drawn = [draw_features(k, old.shape[0], old.shape[2], settings) for k, old in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def feature_map(
    x: Float[Array, "N L K"], omega: Float[Array, "N M K"] | None, settings: Favor, *, is_query: bool
) -> Float[Array, "N L F"]:
    """Maps queries or keys to non-negative features whose inner products estimate the kernel.

    Args:
      x: [N, L, K] float32 or wider; N are the heads of all rows.
      omega: [N, M, K] directions for `phi: exp`; not used by `elu` and `relu2`.
      settings: kernel and stabilisation.
      is_query: a query is stabilised by its own largest projection, keys by the largest of their row and head.

    Returns:
      [N, L, F] features: F = 2 M for exp, K otherwise.

    Source: Performer, eq. 7 and lemma 1 (hyperbolic variant).
    """
    if settings.phi == "elu":
        return jax.nn.elu(x) + 1.0
    if settings.phi == "relu2":
        return jnp.square(jax.nn.relu(x))
    assert omega is not None
    x = x * x.shape[-1] ** -0.25
    projected = batched_matmul(x, jnp.concatenate([omega, -omega], axis=1), FULL, transposed=True)
    if settings.stabilize:
        shift = maximum(projected, axis=-1)
        features = jnp.exp(projected - (shift if is_query else maximum(shift, axis=1))) + FEATURE_FLOOR
    else:
        features = jnp.exp(projected)
    envelope = jnp.maximum(jnp.exp(-0.5 * jnp.sum(jnp.square(x), axis=-1, keepdims=True)), FEATURE_FLOOR)
    return features * envelope * settings.nb_features**-0.5


def favor_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B L H K"],
    v: Float[Array, "B L H K"],
    lengths: Int[Array, " B"],
    omega: Float[Array, "H M K"] | None,
    *,
    settings: Favor,
    precision: Precision = FULL,
) -> Float[Array, "B L H K"]:
    """Attends in time linear in L: phi(q) (phi(k)^T v) over phi(q) (phi(k)^T 1).

    Args:
      q, k, v: [B, L, H, K], any float dtype; features are float32 or wider.
      lengths: [B] number of real tokens of each row.
      omega: [H, nb_features / 2, K] directions from `draw_features` (`phi: exp` only).
      settings: kernel, stabilisation, `eps` below which the denominator is cut.
      precision: of the products of features and values; the features themselves are float32.

    Returns:
      [B, L, H, K] in q's dtype; zero at padding.

    Source: Performer, section 2.3.
    """
    dtype, wide = q.dtype, jnp.promote_types(q.dtype, jnp.float32)
    batch, length, heads, _ = q.shape
    real = (jnp.arange(length) < lengths[:, None])[:, None, :, None]
    q, k, v = (jnp.where(real, x.swapaxes(1, 2), 0).astype(wide) for x in (q, k, v))

    def features(x, *, is_query: bool):
        # one axis for rows and heads: XLA's sums are slow on CPU where the first axis has one element
        directions = None if omega is None else jnp.tile(omega, (batch, 1, 1))
        mapped = feature_map(x.reshape(-1, *x.shape[2:]), directions, settings, is_query=is_query)
        return mapped.reshape(batch, heads, length, -1)

    phi_q, phi_k = features(q, is_query=True), jnp.where(real, features(k, is_query=False), 0)
    context = linear_attention(phi_q, phi_k, v, settings.eps, precision)
    return jnp.where(real, context, 0).swapaxes(1, 2).astype(dtype)
