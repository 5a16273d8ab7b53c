"""Small architectures and inputs, and softmax attention written out in numpy, for the tests of the model."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from textclf_jax.config.schema import Architecture
from textclf_jax.kernels.precision import Precision

KINDS = ("mha", "lsh", "favor", "local")
VOCAB_SIZE = 30
HALF = Precision(jnp.bfloat16, jnp.bfloat16)
STEP = 1e-5

# Small enough that every kind does what is special about it on a dozen tokens
PARAMETERS: dict[str, dict[str, Any]] = {
    "mha": {},
    "lsh": {"num_hashes": 2, "chunk_size": 4},
    "favor": {"nb_features": 16},
    "local": {"window": 3, "global_tokens": 1},
}


def architecture(kind: str = "mha", parameters: dict[str, Any] | None = None, **overrides: Any) -> Architecture:
    """Two layers of width 16 with two heads, without dropout.

    `parameters` are added to those of the kind, `overrides` to the other keys; attention's own keys start with `attn_`
    or are `num_heads`, `projection_bias`, `attention_embedding_dim`.
    """
    own = ("num_heads", "projection_bias", "attention_embedding_dim", "attn_dropout", "attn_out_dropout")
    attention = {"num_heads": 2, "attn_out_dropout": 0.0} | {k: overrides.pop(k) for k in own if k in overrides}
    data: dict[str, Any] = {
        "max_sequence_length": 32,
        "embedding_dim": 16,
        "num_layers": 2,
        "mlp_size": 24,
        "mlp_dropout": 0.0,
        "embedding_dropout": 0.0,
        "attention": {**attention, "kind": kind, kind: PARAMETERS[kind] | (parameters or {})},
    }
    return Architecture.model_validate(data | overrides)


def real_lengths(*lengths: int) -> Any:
    """[B] int32 numbers of real tokens."""
    return np.array(lengths, np.int32)


def batch(lengths: tuple[int, ...], width: int, seed: int = 0) -> tuple[Any, Any]:
    """Random ids [B, width] with PAD (0) behind each row's length, and the lengths [B]."""
    ids = np.random.default_rng(seed).integers(5, VOCAB_SIZE, (len(lengths), width))
    real = np.arange(width) < np.array(lengths)[:, None]
    return np.where(real, ids, 0).astype(np.int32), real_lengths(*lengths)


def normal(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0, count: int = 1) -> Any:
    """`count` float32 arrays of a normal distribution; a single one comes alone."""
    drawn = np.random.default_rng(seed).normal(size=(count, *shape), scale=scale).astype(np.float32)
    return drawn[0] if count == 1 else tuple(drawn)


def random_variables(module: nn.Module, *inputs: Any, seed: int = 0, **keywords: Any) -> Any:
    """Variables of the shapes that `module.init` would give, drawn by numpy: nothing compiles, no bias is zero.

    Kernels have the variance 1 / fan-in, scales are around one, everything else is as `normal`.
    """
    draw = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(module.init, **keywords), jax.random.key(0), *inputs)

    def fill(path, leaf):
        name, value = path[-1].key, draw.normal(size=leaf.shape).astype(leaf.dtype)
        if name == "scale":
            return 1 + 0.1 * value
        return value * leaf.shape[0] ** -0.5 if name == "kernel" else value

    return jax.tree_util.tree_map_with_path(fill, shapes)


def dense_attention(q: Any, k: Any, v: Any, allowed: np.ndarray) -> np.ndarray:
    """softmax(q k^T / sqrt(K)) v in float64 over the allowed [B, L, S] keys. [B, L, H, K]; each query has some key."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scores = np.einsum("blhk,bshk->bhls", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(allowed[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("bhls,bshk->blhk", weights / weights.sum(axis=-1, keepdims=True), v)


def assert_real_tokens_close(actual: Any, expected: Any, lengths: Any, *, atol: float, rtol: float = 0.0) -> None:
    """Compares [B, L, ...] arrays at real tokens; the longer array's further columns are padding."""
    for i, length in enumerate(lengths):
        a, b = np.asarray(actual)[i, :length], np.asarray(expected)[i, :length]
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"row {i}")


def check_float64_gradients(function: Callable[..., Any], *arguments: Any) -> None:
    """Compares the gradient of a random sum of a function's outputs, in float64, with central differences.

    Both along random directions in all arguments at once: a wrong element of any gradient shows.
    """
    draw = np.random.default_rng(0)
    with jax.enable_x64(True):
        point = tuple(np.asarray(x, np.float64) for x in arguments)
        output = jax.eval_shape(function, *point)
        assert output.dtype == np.float64
        weights = draw.normal(size=output.shape)
        evaluate = jax.jit(jax.value_and_grad(lambda point: (function(*point) * weights).sum()))
        _, gradients = evaluate(point)
        for _ in range(3):
            direction = tuple(draw.normal(size=x.shape) for x in point)
            ahead, behind = (
                evaluate(tuple(x + sign * STEP * d for x, d in zip(point, direction, strict=True)))[0]
                for sign in (1, -1)
            )
            expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
            np.testing.assert_allclose((ahead - behind) / (2 * STEP), expected, rtol=1e-6, atol=1e-7)


def normalised(x: Any, epsilon: float = 1e-12) -> np.ndarray:
    """LayerNorm without scale and bias, in float64."""
    x = np.asarray(x, np.float64)
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
