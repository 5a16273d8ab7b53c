"""Every kind of attention written out over all pairs of tokens, in float64, with gradients by torch."""

from collections.abc import Callable

import numpy as np
import torch

from textclf_jax.config.schema import Favor, Local, Lsh
from textclf_jax.model.attention.lsh import SELF_SCORE

Arrays = list[np.ndarray]
FORBIDDEN = -1e9
FLOOR = 1e-6


def with_gradients(attend: Callable[..., torch.Tensor], inputs: Arrays, weights: np.ndarray) -> Arrays:
    """What a function gives of [B, L, H, K] arrays, and the gradients of its sum with these weights."""
    tensors = [torch.tensor(np.asarray(x, np.float64), requires_grad=True) for x in inputs]
    output = attend(*tensors)
    (output * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    gradients = [tensor.grad for tensor in tensors]
    return [output.detach().numpy(), *(gradient.numpy() for gradient in gradients if gradient is not None)]


def softmax_attention(q, k, v, bias: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The context [B, L, H, K], and the logarithm of each query's partition function [B, H, L].

    `bias` broadcasts to [B, H, L, L].
    """
    scores = torch.einsum("blhk,bshk->bhls", q, k) * q.shape[-1] ** -0.5 + torch.tensor(bias, dtype=torch.float64)
    return torch.einsum("bhls,bshk->blhk", scores.softmax(dim=-1), v), scores.logsumexp(dim=-1)


def within_segments(q, k, v, segments: np.ndarray) -> torch.Tensor:
    """Each token attends to those of its segment [B, L]."""
    together = segments[:, None, :, None] == segments[:, None, None, :]
    return softmax_attention(q, k, v, np.where(together, 0.0, FORBIDDEN))[0]


def local_attention(q, k, v, lengths: np.ndarray, settings: Local) -> torch.Tensor:
    """A window to both sides; the first tokens see all, and all see them."""
    places = np.arange(q.shape[1])
    seen = np.abs(places[:, None] - places) <= settings.window
    seen |= (places < settings.global_tokens) | (places < settings.global_tokens)[:, None]
    real = places < lengths[:, None]
    return softmax_attention(q, k, v, np.where(seen & real[:, None, None], 0.0, FORBIDDEN))[0]


def lsh_attention(qk, v, lengths: np.ndarray, codes: np.ndarray, settings: Lsh) -> torch.Tensor:
    """Sorted by bucket and place, each chunk sees itself and its neighbours; rounds weigh by partition function.

    `codes` [B, R, H, L'] are the buckets, padding last; L' is L rounded up to whole chunks.
    """
    length, total = qk.shape[1], codes.shape[-1]
    order = np.argsort(codes, axis=-1, kind="stable")
    chunks = np.argsort(order, axis=-1) // settings.chunk_size
    near = np.abs(chunks[..., :, None] - chunks[..., None, :]) <= 1
    real = np.arange(total) < lengths[:, None]
    itself = np.where(np.eye(total, dtype=bool), SELF_SCORE, 0.0)
    bias = np.where(near & real[:, None, None, None], itself, FORBIDDEN)[..., :length, :length]
    rounds = [softmax_attention(qk, qk, v, bias[:, r]) for r in range(codes.shape[1])]
    weights = torch.stack([partition for _, partition in rounds]).softmax(dim=0)
    return sum(
        (weight.swapaxes(1, 2)[..., None] * context for weight, (context, _) in zip(weights, rounds, strict=True)),
        torch.zeros(()),
    )


def favor_attention(q, k, v, lengths: np.ndarray, omega: np.ndarray, settings: Favor) -> torch.Tensor:
    """By positive random features with the stabilisation and floors that the kernel has."""
    real = torch.tensor(np.arange(q.shape[1]) < lengths[:, None])[:, None, :, None]
    directions = torch.tensor(np.concatenate([omega, -omega], axis=1), dtype=torch.float64)

    def features(x, over: tuple[int, ...]):
        x = torch.where(real, x.swapaxes(1, 2), 0.0) * x.shape[-1] ** -0.25
        projected = torch.einsum("bhlk,hmk->bhlm", x, directions)
        exponentials = torch.exp(projected - projected.amax(dim=over, keepdim=True)) + FLOOR
        envelope = torch.exp(-0.5 * (x * x).sum(dim=-1, keepdim=True)).clamp(min=FLOOR)
        return exponentials * envelope * settings.nb_features**-0.5

    phi_q, phi_k = features(q, (-1,)), torch.where(real, features(k, (-2, -1)), 0.0)
    weights = torch.einsum("bhlf,bhsf->bhls", phi_q, phi_k)
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=settings.eps)
    return torch.where(real, weights @ v.swapaxes(1, 2), 0.0).swapaxes(1, 2)
