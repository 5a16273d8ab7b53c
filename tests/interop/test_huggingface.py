"""The names of transformers' BERT. Logits are compared in test_importing.py and test_exporting.py."""

from typing import Any

import numpy as np
import pytest

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop import huggingface as hf
from textclf_jax.interop.bert_config import architecture_from, read_config

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24, "max_position_embeddings": 12}
CONFIG = {**SIZES, "num_attention_heads": 2, "vocab_size": 30}
ARCHITECTURE = architecture_from(read_config(CONFIG, "config.json"))


def params(head, architecture=ARCHITECTURE):
    """Random parameters of a model by way of the state dict's own table."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (16, 16), "embedding": (30, 16)}
    tree = {}
    for *above, last in hf.parameter_names(architecture, head).values():
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        shape = shapes.get(last, (16,))
        node[last] = rng.normal(size=(*shape[:-1], 48) if "qkv" in above else shape).astype(np.float32)
    return tree


@pytest.mark.parametrize(
    "head",
    [None, MlmHead(), MlmHead(tie_mlm_weights=False, decoder_bias=True), ClassificationHead(num_labels=3)],
)
def test_there_and_back_again(head):
    tree = params(head)
    state = hf.with_full_names(hf.state_from(tree, ARCHITECTURE, head))
    if isinstance(head, MlmHead) and not head.decoder_bias:
        assert not state.pop(hf.DECODER_BIAS).any()
    back, unused = hf.params_from(state, ARCHITECTURE, head, "file")
    assert unused == []
    np.testing.assert_equal(back, tree)


def test_names_of_bare_models_and_of_early_files():
    state: Any = {"embeddings.LayerNorm.gamma": 1, "embeddings.position_ids": 2, "pooler.dense.bias": 3}
    assert hf.with_full_names(state) == {"bert.embeddings.LayerNorm.weight": 1, "bert.pooler.dense.bias": 3}
    # BertForMaskedLM adds the bias of the decoder, whose other name is a leftover wherever the two are not tied
    untied: Any = {"bert.x": 0, hf.SECOND_BIAS: 1, hf.DECODER_BIAS: 2}
    assert hf.with_full_names(untied) == {"bert.x": 0, hf.DECODER_BIAS: 2}
    tied: Any = {"bert.x": 0, hf.SECOND_BIAS: 1}
    assert hf.with_full_names(tied) == {"bert.x": 0, hf.DECODER_BIAS: 1}


def test_missing_and_unknown_arrays_are_listed():
    state = hf.state_from(params(None), ARCHITECTURE, None)
    del state["bert.encoder.layer.0.output.dense.bias"]
    with pytest.raises(UserError, match=r"missing: bert\.encoder\.layer\.0\.output\.dense\.bias\n.*left over: nothing"):
        hf.params_from(state, ARCHITECTURE, None, "file")
    state = hf.state_from(params(None), ARCHITECTURE, None) | {"bert.encoder.layer.1.x": np.ones(1)}
    with pytest.raises(UserError, match=r"file does not .*\n  missing: nothing\n.*left over: bert\.encoder\.layer\.1"):
        hf.params_from(state, ARCHITECTURE, None, "file")


def test_arrays_of_unknown_heads_are_reported():
    state = hf.state_from(params(None), ARCHITECTURE, None) | {"cls.seq_relationship.bias": np.ones(2)}
    assert hf.params_from(state, ARCHITECTURE, None, "file")[1] == ["cls.seq_relationship.bias"]


def test_the_mlm_head():
    mlm: Any = {"cls.predictions.transform.dense.weight": 0, hf.WORDS: np.ones((3, 2))}
    assert hf.mlm_head_from({}, "", tied=True) is None
    assert hf.mlm_head_from(mlm, "", tied=True) == MlmHead()
    assert hf.mlm_head_from(mlm | {hf.DECODER_BIAS: 0}, "", tied=True) == MlmHead(decoder_bias=True)
    untied = mlm | {hf.DECODER: np.zeros((3, 2))}
    assert hf.mlm_head_from(untied, "", tied=False) == MlmHead(tie_mlm_weights=False)
    with pytest.raises(UserError, match="tie_word_embeddings: true, but"):
        hf.mlm_head_from(untied, "config.json", tied=True)


def test_rows_beyond_the_vocabulary_are_dropped():
    state = {name: np.arange(30) for name in (hf.WORDS, hf.DECODER, hf.DECODER_BIAS, hf.TOKEN_TYPES)}
    kept = hf.without_padding(state, 20)
    assert {name: len(value) for name, value in kept.items()} == {
        **dict.fromkeys((hf.WORDS, hf.DECODER, hf.DECODER_BIAS), 20),
        hf.TOKEN_TYPES: 30,
    }
    assert kept[hf.WORDS].tolist() == list(range(20))
    other = hf.without_padding(state | {hf.DECODER_BIAS: np.arange(31), hf.DECODER: np.zeros(())}, 20)
    assert (len(other[hf.WORDS]), len(other[hf.DECODER_BIAS]), other[hf.DECODER].shape) == (20, 31, ())


@pytest.mark.parametrize("shape", [(), (0,), (1, 16), (15,)])
def test_arrays_that_do_not_fit_each_other_are_named(shape):
    name = "bert.encoder.layer.0.attention.self.key.bias"
    state = hf.state_from(params(None), ARCHITECTURE, None) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(UserError, match=f"file: {name} has the shape "):
        hf.params_from(state, ARCHITECTURE, None, "file")


def changed(attention=None, **keys) -> Architecture:
    return Architecture.model_validate(
        {**ARCHITECTURE.model_dump(), **keys, "attention": {**ARCHITECTURE.attention.model_dump(), **(attention or {})}}
    )


@pytest.mark.parametrize(
    ("architecture", "head", "message"),
    [
        (changed(pos_encoding="rope"), MlmHead(), "architecture.pos_encoding: rope, not learned or sinusoidal"),
        (changed({"kind": "lsh"}), MlmHead(), "architecture.attention.kind: lsh, not mha"),
        (changed({"attention_embedding_dim": 32}), MlmHead(), "attention_embedding_dim: 32, not 16"),
        (changed({"projection_bias": False}), MlmHead(), "projection_bias: False, not True"),
        (ARCHITECTURE, ClassificationHead(num_labels=2, pooling="mean"), "classification_head.pooling: mean, not cls"),
        (ARCHITECTURE, ClassificationHead(num_labels=2, pooler_type=None), "pooler_type: None, not bert or roberta"),
    ],
)
def test_what_bert_has_not_is_named(architecture, head, message):
    (line,) = hf.missing_in_bert(architecture, head)
    assert message in line


def test_what_bert_has():
    assert hf.missing_in_bert(changed({"attention_embedding_dim": 16}), MlmHead(tie_mlm_weights=False)) == []
    assert hf.missing_in_bert(ARCHITECTURE, ClassificationHead(num_labels=2)) == []
