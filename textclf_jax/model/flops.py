"""How many floating-point operations the matrix products of a model take, from shapes alone.

A product of [M, K] and [K, N] takes 2 M K N. Counted is what a step computes on its padded shapes: in training the
gradient of every operand that has one costs the product once more. Where attention compares the tokens of one text
alone, which shapes do not show, their mean number is given. Recomputation, softmax and other element-wise work are left
out, as is usual for model FLOP/s.
"""

from collections.abc import Iterator
from typing import NamedTuple

from textclf_jax.config.schema import Architecture, ClassificationHead
from textclf_jax.model.attention import attends_from_few
from textclf_jax.model.attention.local import is_exact_layer
from textclf_jax.model.attention.lsh import num_buckets, padded_length


class Product(NamedTuple):
    """Matrix products of one place in the model.

    Attributes:
      flops: of the forward pass.
      gradients: how many of the two operands have a gradient.
    """

    flops: int
    gradients: int = 2


def total(products: Iterator[Product], *, train: bool) -> int:
    """The operations of all products, backward pass included where the model trains."""
    return sum(p.flops * (1 + p.gradients * train) for p in products)


def mlm_flops(
    c: Architecture,
    vocab_size: int,
    batch: int,
    length: int,
    predictions: int,
    *,
    train: bool,
    keys: int | None = None,
) -> int:
    """Counts a step of masked language modelling.

    Args:
      c: the architecture.
      vocab_size: V.
      batch, length: B and the padded L.
      predictions: P, the places that are decoded.
      train: whether gradients are computed.
      keys: those that exact attention compares a query with, on average; None: all of its row.

    Returns:
      FLOPs of one step.
    """

    def products():
        yield from encoder_products(c, batch, length, predictions, keys)
        yield Product(2 * predictions * c.embedding_dim * (c.embedding_dim + vocab_size))

    return total(products(), train=train)


def classifier_flops(
    c: Architecture,
    head: ClassificationHead,
    batch: int,
    length: int,
    texts: int,
    *,
    train: bool,
    keys: int | None = None,
) -> int:
    """Counts a step of classification of some texts. Other arguments and result as for `mlm_flops`."""

    def products():
        yield from encoder_products(c, batch, length, texts if head.pooling == "cls" else batch * length, keys)
        pooler = c.embedding_dim if head.pooler_type else 0
        yield Product(2 * texts * c.embedding_dim * (pooler + head.num_labels))

    return total(products(), train=train)


def encoder_products(
    c: Architecture, batch: int, length: int, wanted: int, keys: int | None = None
) -> Iterator[Product]:
    """The products of all layers on [batch, length] tokens; of the last one, only `wanted` vectors are read."""
    tokens, inputs = batch * length, 2 if c.attention.kind == "lsh" else 3
    width_after = c.attention_dim + 2 * c.mlp_size  # output projection, and the two layers of the feed-forward network
    for layer in range(c.num_layers):
        is_last = layer == c.num_layers - 1
        read = wanted if is_last else tokens
        few = is_last and attends_from_few(c.attention, length, wanted)
        projected = (inputs - 1) * tokens + (wanted if few else tokens)
        yield Product(2 * c.embedding_dim * (projected * c.attention_dim + read * width_after))
        if few:
            yield _attending(c, wanted, tokens)
        else:
            yield from attention_products(c, layer, batch, length, keys)


def attention_products(
    c: Architecture, layer: int, batch: int, length: int, keys: int | None = None
) -> Iterator[Product]:
    """The products between queries, keys and values of one layer, by its kind of attention."""
    attention = c.attention
    exact_layer = attention.kind == "local" and is_exact_layer(attention.local, layer)
    if attention.kind == "lsh":
        yield from _lsh(c, batch, length)
    elif attention.kind == "favor":
        yield from _favor(c, batch, length)
    elif attention.kind == "local" and not exact_layer and attention.local.window < length - 1:
        yield from _local(c, batch, length)
    else:
        yield _attending(c, batch * length, length if keys is None else keys)


def _attending(c: Architecture, queries: int, keys: int) -> Product:
    """Scores and weighted values of `queries` (of all rows) with `keys` each."""
    return Product(4 * queries * keys * c.attention_dim)


def _local(c: Architecture, batch: int, length: int) -> Iterator[Product]:
    window, num_global = c.attention.local.window, min(c.attention.local.global_tokens, length)
    queries = batch * window * -(-length // window)
    yield _attending(c, queries, 3 * window + num_global)
    yield _attending(c, batch * num_global, length)


def _lsh(c: Architecture, batch: int, length: int) -> Iterator[Product]:
    settings = c.attention.lsh
    total_length = padded_length(length, settings)
    hashed = settings.num_hashes * batch * total_length
    buckets = num_buckets(total_length, c.max_sequence_length, settings)
    yield Product(hashed * c.attention_dim * buckets, gradients=0)
    yield _attending(c, hashed, 3 * settings.chunk_size)


def _favor(c: Architecture, batch: int, length: int) -> Iterator[Product]:
    settings, tokens = c.attention.favor, batch * length
    features = settings.nb_features if settings.phi == "exp" else c.head_dim
    if settings.phi == "exp":  # projections of queries and keys; the random directions have no gradient
        yield Product(2 * tokens * c.attention_dim * features, gradients=1)
    yield Product(2 * tokens * features * (2 * c.attention_dim + c.attention.num_heads))
