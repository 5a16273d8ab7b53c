"""transformers' BERT, its names and its config keys. Logits are compared in test_importing.py and test_exporting.py."""

from typing import Any

import numpy as np
import pytest

from textclf_jax.config.schema import Architecture, ClassificationHead, MlmHead
from textclf_jax.errors import UserError
from textclf_jax.interop import huggingface as hf

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24, "max_position_embeddings": 12}
CONFIG = {**SIZES, "num_attention_heads": 2, "vocab_size": 30}
ARCHITECTURE = hf.architecture_from(CONFIG, "config.json")


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


def test_the_architecture():
    made = hf.architecture_from(CONFIG | {"type_vocab_size": 3, "hidden_dropout_prob": 0, "layer_norm_eps": 1e-12}, "")
    assert (made.embedding_dim, made.num_layers, made.mlp_size, made.max_sequence_length) == (16, 1, 24, 12)
    assert (made.pos_encoding, made.type_vocab_size, made.attention.num_heads) == ("learned", 3, 2)
    assert (made.mlp_dropout, made.attention.attn_dropout, made.attention.attn_out_dropout) == (0.0, 0.1, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act: gelu_new, not gelu"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: relative_key, not absolute"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps: 1e-05, not 1e-12"),
        ({"model_type": "roberta"}, "model_type: roberta, not bert"),
        ({"is_decoder": True}, "is_decoder: True"),
        ({"pad_token_id": 1}, "pad_token_id: 1, not 0"),
        ({"vocab_size": None}, "vocab_size: missing"),
        ({"num_attention_heads": 3}, "attention.num_heads 3 does not divide"),
    ],
)
def test_other_architectures_are_refused_by_key(change, message):
    with pytest.raises(UserError, match=r"config\.json") as caught:
        hf.architecture_from(CONFIG | change, "config.json")
    assert message in str(caught.value)


def test_heads():
    mlm: Any = {"cls.predictions.transform.dense.weight": 0, hf.WORDS: np.ones((3, 2))}
    assert hf.head_from({}, {}, "") is None
    assert hf.head_from({}, mlm, "") == MlmHead()
    assert hf.head_from({}, mlm | {hf.DECODER_BIAS: 0}, "") == MlmHead(decoder_bias=True)
    untied = mlm | {hf.DECODER: np.zeros((3, 2))}
    assert hf.head_from({"tie_word_embeddings": False}, untied, "") == MlmHead(tie_mlm_weights=False)
    with pytest.raises(UserError, match="tie_word_embeddings: true, but"):
        hf.head_from({}, untied, "config.json")
    classifier = {"architectures": ["BertForSequenceClassification"], "hidden_dropout_prob": 0.2}
    assert hf.head_from(classifier, {}, "") == ClassificationHead(num_labels=2, classifier_dropout=0.2)
    named = classifier | {"id2label": {"10": "k", "2": "c", "1": "b"}, "classifier_dropout": 0.0}
    assert hf.head_from(named, {}, "") == ClassificationHead(num_labels=3, classifier_dropout=0.0)
    assert hf.labels_from(named) == ["b", "c", "k"]
    with pytest.raises(UserError, match="problem_type: regression"):
        hf.head_from(classifier | {"problem_type": "regression"}, {}, "")
    with pytest.raises(UserError, match="at least 2 labels, not 1"):
        hf.head_from(classifier | {"id2label": {"0": "x"}}, {}, "")


def changed(attention=None, **keys) -> Architecture:
    return Architecture.model_validate(
        {**ARCHITECTURE.model_dump(), **keys, "attention": {**ARCHITECTURE.attention.model_dump(), **(attention or {})}}
    )


@pytest.mark.parametrize(
    ("architecture", "head", "message"),
    [
        (changed(pos_encoding="rope"), MlmHead(), "architecture.pos_encoding: rope, not learned"),
        (changed({"kind": "lsh"}), MlmHead(), "architecture.attention.kind: lsh, not mha"),
        (changed({"attention_embedding_dim": 32}), MlmHead(), "attention_embedding_dim: 32, not 16"),
        (changed({"projection_bias": False}), MlmHead(), "projection_bias: False, not True"),
        (ARCHITECTURE, ClassificationHead(num_labels=2, pooling="mean"), "classification_head.pooling: mean, not cls"),
        (ARCHITECTURE, ClassificationHead(num_labels=2, pooler_type=None), "pooler_type: None, not bert"),
    ],
)
def test_what_bert_has_not_is_named(architecture, head, message):
    (line,) = hf.missing_in_bert(architecture, head)
    assert message in line


def test_what_bert_has():
    assert hf.missing_in_bert(changed({"attention_embedding_dim": 16}), MlmHead(tie_mlm_weights=False)) == []
    assert hf.missing_in_bert(ARCHITECTURE, ClassificationHead(num_labels=2)) == []
