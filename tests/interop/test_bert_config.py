"""config.json of transformers' BERT: every value is checked, and named with its key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textclf_jax.config.schema import ClassificationHead
from textclf_jax.errors import UserError
from textclf_jax.interop.bert_config import (
    architecture_from,
    check_sizes,
    classifier_from,
    labels_from,
    read_config,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24, "max_position_embeddings": 12}
CONFIG: dict[str, Any] = {**SIZES, "num_attention_heads": 2, "vocab_size": 30}
CLASSIFIER = {"architectures": ["BertForSequenceClassification"], "hidden_dropout_prob": 0.2}


def test_the_architecture():
    more = {
        "type_vocab_size": 3,
        "hidden_dropout_prob": 0,
        "layer_norm_eps": 1e-12,
        "pruned_heads": {},
        "other": [None],
    }
    made = architecture_from(read_config(CONFIG | more, ""))
    assert (made.embedding_dim, made.num_layers, made.mlp_size, made.max_sequence_length) == (16, 1, 24, 12)
    assert (made.pos_encoding, made.type_vocab_size, made.attention.num_heads) == ("learned", 3, 2)
    assert (made.mlp_dropout, made.attention.attn_dropout, made.attention.attn_out_dropout) == (0.0, 0.1, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu_new"}, 'hidden_act: "gelu_new", not "gelu"'),
        ({"hidden_act": None}, 'hidden_act: null, not "gelu"'),
        ({"position_embedding_type": "relative_key"}, 'position_embedding_type: "relative_key", not "absolute"'),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps: 1e-05, not 1e-12"),
        ({"layer_norm_eps": "1e-12"}, 'layer_norm_eps: "1e-12", not 1e-12'),
        ({"model_type": "roberta"}, 'model_type: "roberta", not "bert"'),
        ({"is_decoder": True}, "is_decoder: true, not false"),
        ({"is_decoder": 0}, "is_decoder: 0, not false"),
        ({"pad_token_id": 1}, "pad_token_id: 1, not 0"),
        ({"pad_token_id": None}, "pad_token_id: null, not 0"),
        ({"quantization_config": {"bits": 8}}, 'quantization_config: {"bits": 8}, which is not supported'),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads: "),
        ({"vocab_size": None}, "vocab_size: expected an integer, got nothing (null)"),
        ({"hidden_size": "16"}, "hidden_size: expected an integer, got the string '16'"),
        ({"hidden_size": 16.5}, "hidden_size: expected an integer, got the number 16.5"),
        ({"num_hidden_layers": True}, "num_hidden_layers: expected an integer, got the boolean true"),
        ({"num_hidden_layers": -1}, "num_hidden_layers: -1 is out of range: it must be at least 1"),
        ({"num_attention_heads": 0}, "num_attention_heads: 0 is out of range"),
        ({"num_attention_heads": 3}, "num_attention_heads: 3 does not divide hidden_size 16"),
        ({"type_vocab_size": 0}, "type_vocab_size: 0 is out of range"),
        ({"hidden_dropout_prob": None}, "hidden_dropout_prob: expected a number, got nothing (null)"),
        ({"hidden_dropout_prob": float("nan")}, "hidden_dropout_prob: NaN is out of range"),
        ({"attention_probs_dropout_prob": 1.5}, "attention_probs_dropout_prob: 1.5 is out of range"),
        ({"classifier_dropout": "0.1"}, "classifier_dropout: expected a number"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings: expected true or false"),
        ({"architectures": "BertForSequenceClassification"}, "architectures: expected a list, got the string"),
        ({"problem_type": 3}, "problem_type: expected a string"),
        ({"num_labels": 10**30}, "num_labels: "),
        ({"id2label": ["bad", "good"]}, "id2label: expected names by ids, got a list of 2"),
    ],
)  # fmt: skip
def test_values_are_refused_by_key(change, message):
    with pytest.raises(UserError, match=r"^config\.json: ") as caught:
        read_config(CONFIG | change, "config.json")
    assert message in str(caught.value)


def test_missing_keys_are_all_named():
    with pytest.raises(UserError) as caught:
        read_config({"hidden_act": "relu", "vocab_size": 3}, "config.json")
    lines = str(caught.value).splitlines()
    missing = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    )
    assert lines[0] == 'config.json: hidden_act: "relu", not "gelu", as BERT was published'
    assert lines[1:] == [f"config.json: {key}: missing" for key in missing]


def test_sizes_are_compared_with_the_arrays():
    state = {
        "bert.embeddings.word_embeddings.weight": np.zeros((30, 16)),
        "bert.embeddings.position_embeddings.weight": np.zeros((12, 16)),
        "bert.encoder.layer.0.intermediate.dense.weight": np.zeros((24, 16)),
        "classifier.weight": np.zeros((2, 16)),
    }
    check_sizes(read_config(CONFIG, ""), state, "config.json", Path("weights"))
    changes = {"vocab_size": 31, "hidden_size": 18, "num_hidden_layers": 10**12, "intermediate_size": 23}
    with pytest.raises(UserError, match=r"^config\.json: ") as caught:
        check_sizes(read_config(CONFIG | changes, ""), state, "config.json", Path("weights"))
    assert "num_hidden_layers: 1000000000000, but weights has 1" in str(caught.value)
    assert all(f"{key}: {value}, but" in str(caught.value) for key, value in changes.items())
    three = read_config(CONFIG | CLASSIFIER | {"num_labels": 3}, "")
    with pytest.raises(UserError, match="num_labels: 3, but weights has 2"):
        check_sizes(three, state, "config.json", Path("weights"))


# --- class names ----------------------------------------------------------------------------------------------


def config(**changes: Any):
    return read_config(CONFIG | CLASSIFIER | changes, "config.json")


def test_the_head_of_a_classifier():
    head, labels = classifier_from(config(), "")
    assert (head, labels) == (ClassificationHead(num_labels=2, classifier_dropout=0.2), ["LABEL_0", "LABEL_1"])
    names = {str(i): f"name{i}" for i in (10, 2, 1, 0, 3, 4, 5, 6, 7, 9, 8)}
    head, labels = classifier_from(config(id2label=names, classifier_dropout=0.0), "")
    assert (head.num_labels, head.classifier_dropout) == (11, 0.0)
    assert labels == [f"name{i}" for i in range(11)]
    assert labels_from(config(num_labels=3), "") == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert labels_from(config(id2label={"0": 1, "1": 2}), "") == ["1", "2"]
    stale = {"LABEL_0": 0, "LABEL_1": 1}
    assert labels_from(config(id2label={"0": "bad", "1": "good"}, label2id=stale), "") == ["bad", "good"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem_type": "regression"}, "problem_type: regression, not single_label_classification"),
        ({"id2label": {"0": "x"}}, "at least 2 labels, not 1"),
        ({"id2label": {}}, "at least 2 labels, not 0"),
        ({"id2label": {"bad": "0", "good": "1"}}, r"the keys must be the ids 0 to 1, .* Names and ids are exchanged"),
        ({"id2label": {"bad": 0, "good": 1}}, "Names and ids are exchanged"),
        ({"id2label": {"1": "bad", "2": "good"}}, "the keys must be the ids 0 to 1"),
        ({"id2label": {"0": "bad", "01": "good"}}, "the keys must be the ids 0 to 1"),
        ({"id2label": {"0": "bad", "1.0": "good"}}, "the keys must be the ids 0 to 1"),
        ({"id2label": {"0": "bad", "1": None}}, r"id2label: 1: expected a string, got nothing \(null\)"),
        ({"id2label": {"0": "bad", "1": ["good"]}}, "id2label: 1: expected a string, got a list of 1"),
        ({"id2label": {"0": "bad", "1": True}}, "id2label: 1: expected a string, got the boolean true"),
        ({"id2label": {"0": "bad", "1": " "}}, "id2label 1: the class name is blank"),
        ({"id2label": {"0": "bad", "1": "a\nb"}}, r"id2label 1: the class name 'a\\nb' has a line break in it"),
        ({"id2label": {"0": "neg", "1": "pos", "2": "neg"}}, "id2label 0 and id2label 2 are both 'neg'"),
        ({"id2label": {"0": "\u00e9", "1": "e\u0301 "}}, "id2label 0 and id2label 1 are both"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "num_labels: 3, but id2label has 2 names"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "0 is 'a', but label2id: 'a' is 1"),
        ({"label2id": {"a": 1, "b": 0}}, "label2id names classes, but id2label, which is what counts, is missing"),
    ],
)  # fmt: skip
def test_names_that_are_no_keys_are_refused(change, message):
    with pytest.raises(UserError, match=message) as caught:
        classifier_from(config(**change), "config.json")
    assert "config.json: " in str(caught.value)
