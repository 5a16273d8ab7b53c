"""The analytic count of operations beside XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.model.flops import classifier_flops, mlm_flops
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier

BATCH, LENGTH, PREDICTIONS, VOCAB_SIZE = 2, 512, 160, 2000
KINDS = {
    "mha": {},
    "lsh": {"chunk_size": 32},
    "favor": {"nb_features": 64},
    "local": {"window": 64, "global_tokens": 4},
}


def architecture(kind: str) -> Architecture:
    """Wide enough for products to outweigh the rest, without the dropout that XLA counts."""
    rates = dict.fromkeys(("mlp_dropout", "embedding_dropout"), 0.0)
    attention = {"kind": kind, "num_heads": 2, "attn_out_dropout": 0.0, kind: KINDS[kind]}
    sizes = {"max_sequence_length": LENGTH, "embedding_dim": 384, "num_layers": 2, "mlp_size": 1536}
    return Architecture.model_validate({**sizes, **rates, "attention": attention})


def counted(function, *arguments) -> float:
    """XLA's count for a function that is lowered, but not compiled."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_mlm_agrees_with_xla(kind, train):
    model = MaskedLanguageModel(architecture(kind), MlmHead(), VOCAB_SIZE)
    ids, lengths = jnp.ones((BATCH, LENGTH), jnp.int32), jnp.full(BATCH, LENGTH, jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), ids, lengths)

    def loss(params, others):
        rngs = {"hashing": jax.random.key(1)}
        logits = model.apply(
            {"params": params, **others}, ids, lengths, jnp.zeros(PREDICTIONS, jnp.int32), train=True, rngs=rngs
        )
        return logits.sum()

    others = {name: tree for name, tree in variables.items() if name != "params"}
    found = counted(jax.grad(loss) if train else loss, variables["params"], others)
    ours = mlm_flops(model.config, VOCAB_SIZE, BATCH, LENGTH, PREDICTIONS, train=train)
    # XLA counts element-wise work too
    np.testing.assert_allclose(ours, found, rtol=0.05)


@pytest.mark.parametrize("pooler", ["bert", None])
def test_classification_agrees_with_xla(pooler):
    head = ClassificationHead(num_labels=3, pooler_type=pooler, classifier_dropout=0.0)
    model = SequenceClassifier(architecture("mha"), head, VOCAB_SIZE)
    ids, lengths = jnp.ones((BATCH, 64), jnp.int32), jnp.full(BATCH, 64, jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), ids, lengths)
    found = counted(jax.grad(lambda p: model.apply(p, ids, lengths, train=True).sum()), params)
    ours = classifier_flops(model.config, head, BATCH, 64, BATCH, train=True)
    np.testing.assert_allclose(ours, found, rtol=0.05)


def test_a_wide_window_and_exact_layers_count_as_exact():
    def of(**local):
        c = architecture("local")
        attention = c.attention.model_copy(update={"local": c.attention.local.model_copy(update=local)})
        return mlm_flops(c.model_copy(update={"attention": attention}), 10, 1, LENGTH, LENGTH, train=True)

    exact = mlm_flops(architecture("mha"), 10, 1, LENGTH, LENGTH, train=True)
    assert of(window=LENGTH) == of(global_every_n_layers=1) == exact
    assert of(window=64) < of(window=64, global_every_n_layers=2) < exact


@pytest.mark.parametrize("train", [False, True])
def test_attention_within_texts_compares_fewer_keys(train):
    """Scores and values of so many keys a query, in each layer; all of a row's are what is counted without."""
    config = architecture("mha")

    def flops(keys):
        return mlm_flops(config, VOCAB_SIZE, BATCH, LENGTH, PREDICTIONS * 4, train=train, keys=keys)

    of_a_key = 4 * BATCH * LENGTH * config.attention_dim * config.num_layers * (3 if train else 1)
    assert flops(LENGTH) == flops(None)
    assert flops(None) - flops(100) == (LENGTH - 100) * of_a_key
