"""config.json of transformers' BERT: read with every value checked, and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textclf_jax.class_names import check_class_names
from textclf_jax.config.problems import BOUNDS, EXPECTED
from textclf_jax.config.schema import Architecture, ClassificationHead, DropoutRate, MlmHead, Positive, Probability
from textclf_jax.config.yaml_reader import describe
from textclf_jax.errors import UserError
from textclf_jax.interop.layout import Head
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.json_files import shown

# the only values that this project computes, which are also transformers' defaults
FIXED: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
    "is_decoder": False,
    "add_cross_attention": False,
    "pad_token_id": 0,
}
ABSENT = ("quantization_config", "pruned_heads")  # keys that change what the arrays mean; empty ones do not
MAX_LABELS = 1_000_000
CLASSIFIER = "BertForSequenceClassification"
SINGLE_LABEL, MULTI_LABEL = "single_label_classification", "multi_label_classification"
SIZES = {
    "embedding_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "mlp_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
}


class BertConfig(BaseModel):
    """The keys of config.json that a model here is made from; others do not change what it computes."""

    model_config = ConfigDict(strict=True, frozen=True)

    vocab_size: Positive
    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    intermediate_size: Positive
    max_position_embeddings: Positive
    type_vocab_size: Positive = 2
    hidden_dropout_prob: DropoutRate = 0.1
    attention_probs_dropout_prob: DropoutRate = 0.1
    classifier_dropout: DropoutRate | None = None
    tie_word_embeddings: bool = True
    architectures: list[str] | None = None
    problem_type: str | None = None
    num_labels: Annotated[int, Field(ge=1, le=MAX_LABELS)] | None = None
    id2label: dict[str, Any] | None = None
    label2id: dict[str, Any] | None = None
    textclf_thresholds: list[Probability] | None = None  # a key of this project; transformers keeps it, but no more

    @property
    def is_classifier(self) -> bool:
        return CLASSIFIER in (self.architectures or ())


# --- reading --------------------------------------------------------------------------------------------------


def read_config(content: Mapping[str, Any], source: object) -> BertConfig:
    """Checks the values of a config.json.

    Raises:
      UserError: keys that are missing, of another type, out of range, or not supported by this project; all are listed.
    """
    wrong = [
        f"{key}: {shown(content[key])}, not {shown(only)}, as BERT was published"
        for key, only in FIXED.items()
        if key in content and (type(content[key]) is not type(only) or content[key] != only)
    ]
    wrong += [f"{key}: {shown(content[key])}, which is not supported" for key in ABSENT if content.get(key)]
    config = None
    try:
        config = BertConfig.model_validate(content)
    except ValidationError as error:
        wrong += [_explain(str(each["loc"][0]), each["type"], each) for each in error.errors()]
    if config is not None and config.hidden_size % config.num_attention_heads:
        wrong.append(
            f"num_attention_heads: {config.num_attention_heads} does not divide hidden_size {config.hidden_size}"
        )
    if config is None or wrong:
        raise UserError("\n".join(f"{source}: {line}" for line in wrong))
    return config


def _explain(key: str, kind: str, error: Mapping[str, Any]) -> str:
    """Says what is wrong with a value, as for our own configs."""
    value = error["input"]
    if kind == "missing":
        return f"{key}: missing"
    if kind in BOUNDS:
        name, wording = BOUNDS[kind]
        return f"{key}: {shown(value)} is out of range: it must be {wording.format(error['ctx'][name])}"
    kinds = {**EXPECTED, "list_type": "a list", "dict_type": "names by ids"}
    return f"{key}: expected {kinds.get(kind, 'another value')}, got {describe(value)}"


def check_sizes(config: BertConfig, state: Mapping[str, np.ndarray], source: object, weights: Path) -> None:
    """Raises UserError where arrays of the file have another size than config.json says; keys and both are listed."""
    embeddings, up = "bert.embeddings.{}_embeddings.weight", "bert.encoder.layer.0.intermediate.dense.weight"
    places = {
        "vocab_size": (embeddings.format("word"), 0),
        "hidden_size": (embeddings.format("word"), 1),
        "max_position_embeddings": (embeddings.format("position"), 0),
        "type_vocab_size": (embeddings.format("token_type"), 0),
        "intermediate_size": (up, 0),
    }
    said = {key: getattr(config, key) for key in places}
    found = {
        key: state[name].shape[axis] for key, (name, axis) in places.items() if name in state and state[name].ndim == 2
    }
    said["num_hidden_layers"] = config.num_hidden_layers
    found["num_hidden_layers"] = len({name.split(".")[3] for name in state if name.startswith("bert.encoder.layer.")})
    if config.is_classifier and "classifier.weight" in state and state["classifier.weight"].ndim == 2:
        key = "num_labels" if config.id2label is None else "id2label"
        said[key] = _count(config) if config.id2label is None else len(config.id2label)
        found[key] = len(state["classifier.weight"])
    if wrong := [
        f"{key}: {said[key]}, but {weights} has {count}" for key, count in found.items() if count != said[key]
    ]:
        raise UserError("\n".join(f"{source}: {line}" for line in wrong))


def architecture_from(config: BertConfig) -> Architecture:
    """Gives the architecture of the encoder."""
    attention = {
        "kind": "mha",
        "num_heads": config.num_attention_heads,
        "attn_dropout": config.attention_probs_dropout_prob,
        "attn_out_dropout": config.hidden_dropout_prob,
    }
    sizes = {ours: getattr(config, theirs) for ours, theirs in SIZES.items()}
    options = {"pos_encoding": "learned", "type_vocab_size": config.type_vocab_size}
    dropouts = {"mlp_dropout": config.hidden_dropout_prob, "embedding_dropout": config.hidden_dropout_prob}
    return Architecture.model_validate({**sizes, **options, **dropouts, "attention": attention})


def classifier_from(config: BertConfig, source: object) -> tuple[ClassificationHead, list[str]]:
    """Gives the head of a classifier and its class names in the order of ids.

    Raises:
      UserError: it is for numbers, not for labels, or names and ids are not one to one.
    """
    if config.problem_type not in (None, SINGLE_LABEL, MULTI_LABEL):
        raise UserError(f"{source}: problem_type: {config.problem_type}, not {SINGLE_LABEL} or {MULTI_LABEL}")
    labels = labels_from(config, source)
    if len(labels) < 2:
        raise UserError(f"{source}: id2label: a classifier has at least 2 labels, not {len(labels)}")
    rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
    is_multi = config.problem_type == MULTI_LABEL
    return ClassificationHead(num_labels=len(labels), multi_label=is_multi, classifier_dropout=rate), labels


def thresholds_from(config: BertConfig, head: ClassificationHead, source: object) -> Thresholds | None:
    """Gives the thresholds of a classifier with several labels a text, which this project has written.

    Raises:
      UserError: there is not one for each class.
    """
    values = config.textclf_thresholds
    if values is None or not head.multi_label:
        return None
    if len(values) != head.num_labels:
        raise UserError(f"{source}: textclf_thresholds: {len(values)} numbers, but there are {head.num_labels} classes")
    return Thresholds(values, [])


# --- class names ----------------------------------------------------------------------------------------------


def _count(config: BertConfig) -> int:
    """The number of classes where id2label does not name them; transformers' default is 2."""
    return 2 if config.num_labels is None else config.num_labels


def labels_from(config: BertConfig, source: object) -> list[str]:
    """Reads the class names in the order of ids; without id2label they are transformers' LABEL_0, LABEL_1, ...

    Raises:
      UserError: ids are not 0, 1, ...; a name is no text, blank or there twice; or label2id and num_labels differ.
    """
    if config.id2label is None:
        named = {str(i): f"LABEL_{i}" for i in range(_count(config))}
    else:
        named = _checked_names(config.id2label, source)
        if config.num_labels not in (None, len(named)):
            raise UserError(f"{source}: num_labels: {config.num_labels}, but id2label has {len(named)} names")
    labels = [named[str(i)] for i in range(len(named))]
    theirs = {} if config.label2id is None else config.label2id
    for i, label in enumerate(labels):
        if label in theirs and str(theirs[label]) != str(i):
            raise UserError(
                f"{source}: id2label: {i} is {label!r}, but label2id: {label!r} is {shown(theirs[label])}. "
                "Mend the one that is wrong."
            )
    if config.id2label is None and theirs and not any(label in theirs for label in labels):
        raise UserError(f"{source}: label2id names classes, but id2label, which is what counts, is missing. Add it.")
    return labels


def _checked_names(id2label: Mapping[str, Any], source: object) -> dict[str, str]:
    """id2label with texts as names; raises UserError unless ids and names are one to one."""
    if set(id2label) != {str(i) for i in range(len(id2label))}:
        exchanged = any(str(value).isdecimal() for value in id2label.values()) and not any(map(str.isdecimal, id2label))
        hint = ". Names and ids are exchanged" if exchanged else ""
        raise UserError(
            f"{source}: id2label: {shown(dict(id2label))}: the keys must be the ids 0 to {max(len(id2label) - 1, 0)}, "
            f'as in {{"0": "bad", "1": "good"}}{hint}'
        )
    names: dict[str, str] = {}
    for i, name in id2label.items():
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise UserError(f"{source}: id2label: {i}: expected a string, got {describe(name)}")
        names[i] = str(name)
    check_class_names(source, [names[str(i)] for i in range(len(names))], "id2label")
    return names


# --- writing --------------------------------------------------------------------------------------------------


def config_json(
    config: Architecture,
    head: Head,
    vocab_size: int,
    labels: list[str] | None,
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """Describes a model as config.json does, where `mlp_dropout` stands for three dropout rates here."""
    described: dict[str, Any] = {
        "architectures": ["BertForMaskedLM" if isinstance(head, MlmHead) else CLASSIFIER],
        **FIXED,
        "vocab_size": vocab_size,
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "num_attention_heads": config.attention.num_heads,
        "type_vocab_size": max(config.type_vocab_size, 1),
        "hidden_dropout_prob": config.mlp_dropout,
        "attention_probs_dropout_prob": config.attention.attn_dropout,
        "tie_word_embeddings": not isinstance(head, MlmHead) or head.tie_mlm_weights,
    }
    if isinstance(head, ClassificationHead):
        names = labels or [str(i) for i in range(head.num_labels)]
        described["classifier_dropout"] = head.classifier_dropout
        described["problem_type"] = MULTI_LABEL if head.multi_label else SINGLE_LABEL
        described["id2label"] = {str(i): name for i, name in enumerate(names)}
        described["label2id"] = {name: i for i, name in enumerate(names)}
        if thresholds is not None:
            described["textclf_thresholds"] = thresholds.values
    return described
