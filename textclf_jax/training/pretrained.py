"""Starting from a pretrained encoder: what must agree, what is loaded, what is new."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from textclf_jax.config import Architecture, FinetuningConfig
from textclf_jax.errors import UserError
from textclf_jax.training.checkpoint import load_model

ENCODER = "encoder"


class Pretrained(NamedTuple):
    """An encoder to start from.

    Attributes:
      source: the checkpoint, for messages.
      variables: {"params": {"encoder": ...}, ...}; other parameters are left unused.
      architecture: what it was trained with.
      vocabulary: fingerprint of its vocabulary, or None where the file does not say.
    """

    source: Path
    variables: Any
    architecture: Architecture
    vocabulary: str | None


def pretrained_path(config: FinetuningConfig) -> Path | None:
    """The checkpoint that a finetuning run starts from; None where it starts from scratch."""
    settings = config.pretrained_experiment
    return Path(settings.path) / settings.checkpoint if settings.path else None


def load_pretrained(path: Path) -> Pretrained:
    """Loads a `model.ckpt` folder as a start for finetuning.

    Raises:
      UserError: it is missing or damaged.
    """
    saved = load_model(path)
    architecture = Architecture.model_validate(saved.metadata["config"]["architecture"])
    return Pretrained(path, saved.variables, architecture, saved.metadata["vocabulary"])


def adopt(pretrained: Pretrained, variables: Any, architecture: Architecture, vocabulary: str) -> tuple[Any, list[str]]:
    """Puts the pretrained encoder into fresh variables.

    Args:
      pretrained: the encoder.
      variables: of the new model; its heads stay as they are.
      architecture: of the new model.
      vocabulary: fingerprint of its vocabulary.

    Returns:
      The variables, and lines that say exactly what was loaded, what is new and what was not used.

    Raises:
      UserError: architecture or vocabulary differ; keys and both values are named.
    """
    _check_architecture(pretrained, architecture)
    if pretrained.vocabulary not in (None, vocabulary):
        raise UserError(
            f"the vocabulary (fingerprint {vocabulary[:12]}) is not the one that {pretrained.source} was trained with "
            f"({pretrained.vocabulary[:12]}): its word embeddings would stand for other words. Set tokenizer.vocab_dir "
            "to the pretraining run's vocabulary and prepare the data with it."
        )
    merged = dict(variables)
    for collection, tree in variables.items():
        theirs = pretrained.variables.get(collection, {}).get(ENCODER)
        if theirs is not None:
            _check_shapes(pretrained.source, tree[ENCODER], theirs)
            merged[collection] = {**tree, ENCODER: theirs}
    loaded, new = _names({ENCODER: variables["params"][ENCODER]}), _names(_without_encoder(variables["params"]))
    unused = _names(_without_encoder(pretrained.variables["params"]))
    return merged, [
        f"loaded {len(loaded)} arrays of the encoder from {pretrained.source}",
        f"new: {', '.join(new) or 'nothing'}",
        f"in the checkpoint but not used: {', '.join(unused) or 'nothing'}",
    ]


def _without_encoder(params: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in params.items() if name != ENCODER}


def _names(tree: Any) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(tree)]


def _check_shapes(source: Path, ours: Any, theirs: Any) -> None:
    def shapes(tree):
        paths = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in paths}

    expected, found = shapes(ours), shapes(theirs)
    wrong = [
        f"{name}: {found.get(name, 'absent')} in the checkpoint, {expected.get(name, 'absent')} here"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise UserError("\n  ".join([f"{source} does not fit the model:", *wrong]))


def _check_architecture(pretrained: Pretrained, architecture: Architecture) -> None:
    ours, theirs = _parameter_keys(architecture), _parameter_keys(pretrained.architecture)
    differing = [
        f"architecture.{k}: {theirs.get(k)} there, {ours.get(k)} here" for k in ours if ours[k] != theirs.get(k)
    ]
    if differing:
        raise UserError(
            "\n  ".join([f"the architecture differs from that of {pretrained.source}:", *differing])
            + "\nOnly the heads may be new: copy these keys from the pretraining run."
        )


def _parameter_keys(architecture: Architecture) -> dict[str, Any]:
    """The keys that pretrained parameters depend on; dropout and the like may change."""
    attention = architecture.attention
    keys: dict[str, Any] = architecture.model_dump(
        include={"embedding_dim", "num_layers", "mlp_size", "type_vocab_size", "pos_encoding"}
    )
    names = ("kind", "num_heads", "attention_embedding_dim", "projection_bias")
    keys |= {f"attention.{name}": getattr(attention, name) for name in names}
    if architecture.pos_encoding == "learned":
        keys["max_sequence_length"] = architecture.max_sequence_length
    if architecture.pos_encoding == "rope":
        keys["rope"] = architecture.rope.model_dump()
    if attention.kind == "favor":
        keys |= {f"attention.favor.{name}": getattr(attention.favor, name) for name in ("phi", "nb_features")}
    return keys
