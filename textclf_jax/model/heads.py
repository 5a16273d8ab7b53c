"""The two models that are trained: an encoder with a masked-language-model head, or with a classifier."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.kernels.cross_entropy import (
    Decoder,
    Losses,
    binary_cross_entropy,
    cross_entropy,
    decoder_cross_entropy,
)
from textclf_jax.kernels.gelu import gelu
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.attention import redraw
from textclf_jax.model.encoder import Encoder
from textclf_jax.model.layers import Dropout, Kernel, LayerNorm, Linear
from textclf_jax.model.linear_path import LinearPath, log_scores
from textclf_jax.model.packing import Packing, packing_of, unpacked
from textclf_jax.model.pooling import pool

Batch = dict[str, Any]
Sums = dict[str, Array]


class MlmTransform(nn.Module):
    """Linear, GELU, LayerNorm before the decoder. [..., D] -> [..., D]."""

    precision: Precision = FULL

    @nn.compact
    def __call__(self, x: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        x = Linear(x.shape[-1], self.precision, name="dense")(x)
        return LayerNorm(self.precision, name="norm")(gelu(x, self.precision))


class MaskedLanguageModel(nn.Module):
    """Predicts tokens at the given positions.

    Attributes:
      config: the architecture.
      head: tying, decoder bias.
      vocab_size: V.
      precision: of activations and matrix products.
    """

    config: Architecture
    head: MlmHead
    vocab_size: int
    precision: Precision = FULL

    def setup(self):
        self.encoder = Encoder(self.config, self.vocab_size, self.precision)
        self.transform = MlmTransform(self.precision)
        if not self.head.tie_mlm_weights:
            self.decoder = Kernel((self.config.embedding_dim, self.vocab_size))
        if self.head.decoder_bias:
            self.decoder_bias = self.param("decoder_bias", nn.initializers.zeros, (self.vocab_size,))

    def __call__(
        self,
        input_ids: Int[Array, "B L"],
        lengths: Int[Array, " B"],
        positions: Int[Array, " P"] | None = None,
        targets: Int[Array, " P"] | None = None,
        *,
        position_ids: Int[Array, "#B L"] | None = None,
        token_type_ids: Int[Array, "B L"] | None = None,
        packing: Packing | None = None,
        train: bool = False,
    ) -> Float[Array, "*N V"] | Losses:
        """Computes logits over the vocabulary, or what they make of targets.

        Args:
          input_ids: [B, L] masked token ids.
          lengths: [B] number of real tokens of each row.
          positions: [P] places in the flattened batch (row * L + column) to decode; None decodes all of them.
          targets: [P] the tokens there. The logits, which are many, then need not exist all at once.
          position_ids: [B or 1, L] for positions that are embedded; 0..L-1 by default.
          token_type_ids: [B, L]; zeros by default.
          packing: where rows hold several texts; kind mha alone. `lengths` and `position_ids` are then not used.
          train: whether dropout is on.

        Returns:
          [P, V] or [B, L, V] float32 logits; with `targets` the losses and hits of `cross_entropy`.
        """
        ids = {"position_ids": position_ids, "token_type_ids": token_type_ids}
        # decoding the masked tokens alone saves most of the arithmetic: V is large and 85% of logits are never used
        x = self.encoder(input_ids, lengths, **ids, packing=packing, positions=positions, train=train)
        return self.decode(x, targets)

    def decode(self, x: Float[Array, "*N D"], targets: Int[Array, " N"] | None) -> Float[Array, "*N V"] | Losses:
        """Logits over the vocabulary of vectors [..., D], or their losses and hits."""
        x, tied = self.transform(x), self.head.tie_mlm_weights
        kernel = self.encoder.embeddings.word.embedding if tied else self.decoder()
        bias = self.decoder_bias if self.head.decoder_bias else None
        # logits are float32: rounded to bfloat16, close ones could not be told apart
        decoder = Decoder(kernel, bias, self.precision._replace(activations=jnp.float32), transposed=tied)
        return decoder.logits(x) if targets is None else decoder_cross_entropy(x, decoder, targets)

    def losses(self, batch: Batch, *, train: bool) -> tuple[Losses, None]:
        """Losses and hits of the predictions of a batch, each [P]; no logits."""
        inputs = (batch[name] for name in ("input_ids", "lengths", "positions", "targets"))
        return self(*inputs, packing=packing_of(batch), train=train), None  # pyright: ignore[reportReturnType]

    def redraw(self, collections: Any, step: Array, key: Array) -> Any:
        """The collections for a step of training; see `attention.redraw`."""
        return redraw(self.config.attention, collections, step, key)


class SequenceClassifier(nn.Module):
    """Classifies texts from a pooled vector.

    Attributes:
      config: the architecture.
      head: number of classes C, pooling, pooler, dropout, linear path; whether a text can have several of the classes.
      vocab_size: V.
      precision: of the encoder; the head is float32.
    """

    config: Architecture
    head: ClassificationHead
    vocab_size: int
    precision: Precision = FULL

    def setup(self):
        self.encoder = Encoder(self.config, self.vocab_size, self.precision)
        if self.head.pooler_type:
            self.pooler = Linear(self.config.embedding_dim)
        self.dropout = Dropout(self.head.classifier_dropout)
        self.classifier = Linear(self.head.num_labels)
        if self.head.linear.enabled:
            self.linear_path = LinearPath(self.head.num_labels, self.head.linear.max_features)

    def __call__(
        self,
        input_ids: Int[Array, "B L"],
        lengths: Int[Array, " B"],
        *,
        position_ids: Int[Array, "#B L"] | None = None,
        token_type_ids: Int[Array, "B L"] | None = None,
        packing: Packing | None = None,
        train: bool = False,
    ) -> Float[Array, "N C"]:
        """Computes class logits [N, C] float32: of each row, or of each of the N texts that `packing` tells of.

        Arguments as for the encoder; `lengths` are those of the texts.
        """
        if self.is_initializing() and self.head.linear.enabled:
            self.linear_path(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1)))
        ids = {"position_ids": position_ids, "token_type_ids": token_type_ids}
        batch, length = input_ids.shape
        starts = jnp.arange(batch) * length if packing is None else packing.starts
        positions = starts if self.head.pooling == "cls" else None
        x = self.encoder(input_ids, lengths, **ids, packing=packing, positions=positions, train=train)
        if positions is None:
            if packing is not None:
                x = unpacked(x, starts, length)
            # a row without tokens (it fills up a batch) pools its first place: the extremes of max and min would
            # overflow
            x = pool(x, jnp.maximum(lengths, 1), self.head.pooling, self.head.pooling_stride)
        return self.classify(x.astype(jnp.promote_types(x.dtype, jnp.float32)), train=train)

    def classify(self, x: Float[Array, "N D"], *, train: bool) -> Float[Array, "N C"]:
        """The head: pooled vectors to logits."""
        if self.head.pooler_type == "roberta":
            x = self.dropout(x, train=train)
        if self.head.pooler_type:
            x = nn.tanh(self.pooler(x))
        return self.classifier(self.dropout(x, train=train))

    def losses(self, batch: Batch, *, train: bool) -> tuple[Losses, Float[Array, "N *C"]]:
        """Losses and hits of the texts of a batch, each [N], and their logits [N, C].

        Where the batch has n-grams they are those of encoder and linear path together, and in place of the logits there
        are the `log_scores` of both, [N, 2, C].
        """
        logits = self(batch["input_ids"], batch["lengths"], packing=packing_of(batch), train=train)
        loss = binary_cross_entropy if self.head.multi_label else cross_entropy
        if "ngram_ids" not in batch:
            return loss(logits, batch["targets"]), logits
        beside = self.linear_path(batch["ngram_ids"], batch["ngram_values"])
        parts = jnp.stack([log_scores(x, multi_label=self.head.multi_label) for x in (logits, beside)], axis=1)
        return loss(self.linear_path.mix(parts), batch["targets"]), parts

    def redraw(self, collections: Any, step: Array, key: Array) -> Any:
        """The collections for a step of training; see `attention.redraw`."""
        return redraw(self.config.attention, collections, step, key)


def forward(
    module: nn.Module, variables: Any, batch: Batch, *, train: bool, rngs: Any = None
) -> tuple[Sums, Array | None]:
    """Runs a model on a batch.

    Args:
      module: one of the models above.
      variables: its collections.
      batch: input_ids [B, L], lengths [N], targets and weights [P] or [N], `positions` [P] for MLM.
      train: whether dropout is on; then `rngs` has the streams "dropout" and "hashing".

    Returns:
      Sums over the weighted predictions (loss in nats, correct, count), each () float32, and what a classifier's
      `losses` gives as logits.
    """
    method: Any = module.losses  # pyright: ignore[reportAttributeAccessIssue]
    logits: Any
    (losses, hits), logits = module.apply(variables, batch, train=train, rngs=rngs, method=method)
    with jax.named_scope("loss"):
        weights = batch["weights"]
        # a selection, not a product: losses of ignored rows that are not finite stay out of the sum
        summed = jnp.where(weights > 0, losses * weights, 0.0).sum()
        sums = {"loss": summed, "correct": (hits * weights).sum(), "count": weights.sum()}
    return sums, logits
