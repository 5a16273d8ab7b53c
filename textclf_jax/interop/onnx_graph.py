"""Models as ONNX graphs, operator by operator: the encoder and its two heads.

Every operator is of the standard set, version 20. Batch and length are free. All is float32.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.kernels.layer_norm import EPSILON
from textclf_jax.model.embeddings import sinusoidal_table
from textclf_jax.model.rope import rotary_tables

OPSET = 20
FLOAT, BOOL = 1, 9  # numbers of types, of ONNX's TensorProto
NOTHING = -1e30  # added to the scores of padding, whose weight is then exactly 0
SMALLEST = float(np.finfo(np.float32).min)
Params = Mapping[str, Any]


class Graph:
    """A graph that grows by one operator at a time.

    Attributes:
      nodes: ONNX nodes, in their order.
      constants: arrays by name.
      exact: names of matrix products that stay as they are where others are quantised.
    """

    def __init__(self):
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.exact: list[str] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """The name of an array."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.array(value, dtype, order="C")
        return name

    def integers(self, *values: int) -> str:
        """The name of a vector of integers, for shapes, axes and bounds."""
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> Any:
        """Applies an operator; gives the name of its result, or the names of several."""
        from onnx import helper

        stem = name or f"{operator}_{len(self.nodes)}"
        results = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), results, name=stem, **attributes))
        return stem if outputs == 1 else results

    # --- layers ---------------------------------------------------------------------------------------------------

    def linear(self, x: str, layer: Params) -> str:
        """x [..., I] -> [..., O]."""
        product = self.add("MatMul", x, self.constant(layer["kernel"]))
        return self.add("Add", product, self.constant(layer["bias"])) if "bias" in layer else product

    def layer_norm(self, x: str, layer: Params) -> str:
        """LayerNorm over the last axis."""
        scale, bias = self.constant(layer["scale"]), self.constant(layer["bias"])
        return self.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)

    def first(self, x: str, size: str, axis: int = 0) -> str:
        """The first `size` of an axis; all of a shorter one."""
        return self.add("Slice", x, self.integers(0), size, self.integers(axis))

    def add_up(self, *parts: str) -> str:
        """The sum of several arrays."""
        total, *others = parts
        for part in others:
            total = self.add("Add", total, part)
        return total


class EncoderGraph:
    """The encoder in a graph.

    Attributes:
      graph: that it is added to.
      config: the architecture; attention of kind mha.
      ids, mask: names of the inputs, int64 [B, L]; the mask is 1 at real tokens.
    """

    def __init__(self, graph: Graph, config: Architecture, ids: str, mask: str):
        self.graph, self.config = graph, config
        self.ids, self.mask = ids, mask
        add = graph.add
        self.length = add("Shape", ids, start=1, end=2)
        self.real = add("Cast", mask, to=FLOAT)  # [B, L]
        outside = add("Sub", graph.constant(1.0), self.real)
        scores = add("Mul", outside, graph.constant(NOTHING))
        self.bias = add("Unsqueeze", scores, graph.integers(1, 2))  # [B, 1, 1, L]
        if config.pos_encoding == "rope":
            tables = rotary_tables(config.max_sequence_length, config.head_dim, config.rope)
            self.cosines, self.sines = (graph.first(graph.constant(table), self.length) for table in tables)

    def __call__(self, params: Params) -> str:
        """The vectors [B, L, D] of the encoder's parameters."""
        x = self.embed(params["embeddings"])
        for i in range(self.config.num_layers):
            layer, g = params[f"layers_{i}"], self.graph
            x = g.layer_norm(g.add("Add", x, self.attention(x, layer["attention"])), layer["attention_norm"])
            hidden = g.add("Gelu", g.linear(x, layer["mlp"]["up"]))
            x = g.layer_norm(g.add("Add", x, g.linear(hidden, layer["mlp"]["down"])), layer["mlp_norm"])
        return x

    def embed(self, params: Params) -> str:
        """Ids [B, L] -> [B, L, D]."""
        g, c = self.graph, self.config
        parts = [g.add("Gather", g.constant(params["word"]["embedding"]), self.ids)]
        tables = {
            "learned": lambda: params["position"]["embedding"],
            "sinusoidal": lambda: sinusoidal_table(c.max_sequence_length, c.embedding_dim),
        }
        if c.pos_encoding in tables:
            parts.append(g.first(g.constant(tables[c.pos_encoding]()), self.length))
        if c.type_vocab_size:
            parts.append(g.constant(params["token_type"]["embedding"][0]))
        return g.layer_norm(g.add_up(*parts), params["layer_norm"])

    def attention(self, x: str, params: Params) -> str:
        """[B, L, D] -> [B, L, D]; exact attention among real tokens."""
        g, c = self.graph, self.config
        heads, width = c.attention.num_heads, c.head_dim
        shape = g.integers(0, 0, heads, width)
        parts = g.add("Split", g.linear(x, params["qkv"]), outputs=3, axis=-1, num_outputs=3)
        q, k, v = (g.add("Transpose", g.add("Reshape", part, shape), perm=[0, 2, 1, 3]) for part in parts)
        if c.pos_encoding == "rope":
            q, k = self.rotate(q), self.rotate(k)
        products = g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = g.add("Mul", products, g.constant(1.0 / math.sqrt(width)))
        weights = g.add("Softmax", g.add("Add", scores, self.bias), axis=-1)
        context = g.add("Transpose", g.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        return g.linear(g.add("Reshape", context, g.integers(0, 0, heads * width)), params["out"])

    def rotate(self, x: str) -> str:
        """Rotary positions of [B, H, L, K]: each channel with its partner, which is another one or its negative."""
        g, width = self.graph, self.config.head_dim
        if self.config.rope.variant == "reference":
            partners, signs = np.arange(width) ^ 1, np.tile([-1.0, 1.0], width // 2)
        else:
            partners, signs = np.roll(np.arange(width), width // 2), np.repeat([-1.0, 1.0], width // 2)
        partner = g.add("Mul", g.add("Gather", x, g.integers(*partners.tolist()), axis=3), g.constant(signs))
        return g.add("Add", g.add("Mul", x, self.cosines), g.add("Mul", partner, self.sines))

    # --- heads ----------------------------------------------------------------------------------------------------

    def class_logits(self, params: Params, head: ClassificationHead) -> str:
        """[B, C] of a classifier's parameters."""
        g = self.graph
        pooled = self.pool(self(params["encoder"]), head)
        if head.pooler_type:
            pooled = g.add("Tanh", g.linear(pooled, params["pooler"]))
        return g.linear(pooled, params["classifier"])

    def token_logits(self, params: Params, head: MlmHead) -> str:
        """[B, L, V] of a masked language model's parameters."""
        g = self.graph
        hidden = g.add("Gelu", g.linear(self(params["encoder"]), params["transform"]["dense"]))
        tied = head.tie_mlm_weights
        words = params["encoder"]["embeddings"]["word"]["embedding"]
        decoder = {"kernel": np.transpose(words) if tied else params["decoder"]["kernel"]}
        if head.decoder_bias:
            decoder["bias"] = params["decoder_bias"]
        return g.linear(g.layer_norm(hidden, params["transform"]["norm"]), decoder)

    def pool(self, x: str, head: ClassificationHead) -> str:
        """[B, L, D] -> [B, D]; see `model.pooling`."""
        g = self.graph
        if head.pooling == "cls":
            return g.add("Gather", x, g.constant(0, np.int64), axis=1)
        real = g.add("Unsqueeze", self.real, g.integers(2))  # [B, L, 1]
        if head.pooling in ("max", "min"):
            is_max = head.pooling == "max"
            hidden = g.add("Where", g.add("Cast", real, to=BOOL), x, g.constant(SMALLEST if is_max else -SMALLEST))
            return g.add("ReduceMax" if is_max else "ReduceMin", hidden, g.integers(1), keepdims=0)
        if head.pooling == "strided_mean":
            x, real = (self._every(part, head.pooling_stride) for part in (x, real))
        total = g.add("ReduceSum", g.add("Mul", x, real), g.integers(1), keepdims=0)
        count = g.add("Max", g.add("ReduceSum", real, g.integers(1), keepdims=0), g.constant(1.0))
        return g.add("Div", total, count)

    def _every(self, x: str, stride: int) -> str:
        """The tokens 0, stride, 2 stride, ... of [B, L, ...]."""
        g = self.graph
        return g.add("Slice", x, g.integers(0), self.length, g.integers(1), g.integers(stride))


def mixed(graph: Graph, parts: Sequence[str], weights: Sequence[float], *, multi_label: bool) -> str:
    """The logits of encoder and linear path together; see `model.linear_path`."""
    scores = parts if multi_label else [graph.add("LogSoftmax", part, axis=-1) for part in parts]
    products = [graph.add("Mul", x, graph.constant(w)) for x, w in zip(scores, weights, strict=True)]
    return graph.add_up(*products)


def linear_path(graph: Graph, ids: str, variables: Params, grams: Sequence[tuple[int, tuple[int, ...]]]) -> str:
    """Class logits [B, C] of a linear path.

    Args:
      graph: that it is added to.
      ids: name of the tokens that it reads, int64 [B, T], 0 at padding.
      variables: of the linear path, see `model.linear_path.LinearPath`.
      grams: the place of each n-gram in its table, and the tokens of the n-gram.
    """
    grams = sorted(grams, key=lambda gram: len(gram[1]))
    lengths = [len(tokens) for _, tokens in grams]
    longest = max(lengths)
    begins = np.cumsum([0, *(n * lengths.count(n) for n in range(1, longest))])
    counts = graph.add(
        "TfIdfVectorizer",
        ids,
        mode="TF",
        min_gram_length=1,
        max_gram_length=longest,
        max_skip_count=0,
        ngram_counts=[int(begin) for begin in begins],
        ngram_indexes=list(range(len(grams))),
        pool_int64s=[token for _, tokens in grams for token in tokens],
    )
    places = [place for place, _ in grams]
    present = graph.add("Greater", counts, graph.constant(0.0))
    logs = graph.add("Log", graph.add("Max", counts, graph.constant(1.0)))
    values = graph.add("Where", present, graph.add("Add", logs, graph.constant(1.0)), graph.constant(0.0))
    scaled = graph.add("Mul", values, graph.constant(variables["idf"][places]))
    squares = graph.add("ReduceSum", graph.add("Mul", scaled, scaled), graph.integers(1), keepdims=1)
    is_zero = graph.add("Equal", squares, graph.constant(0.0))
    norm = graph.add("Where", is_zero, graph.constant(1.0), graph.add("Sqrt", squares))
    layer = {"kernel": variables["table"][places], "bias": variables["bias"]}
    logits = graph.linear(graph.add("Div", scaled, norm), layer)
    # its table is narrow, and its features are mostly 0
    graph.exact.append(graph.nodes[-2].name)
    return logits
