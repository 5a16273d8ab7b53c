"""Starting from pretrained weights: what must agree with them, what is loaded, what stays new."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from textclf_jax.config.schema import Architecture, FinetuningConfig, RunConfig
from textclf_jax.constants import LINEAR
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import CHECKPOINTS
from textclf_jax.runs.checkpoint import (
    CHECKPOINTS_FOLDER,
    METADATA_FILE,
    Checkpoints,
    SavedModel,
    contents_of,
    is_checkpoints_folder,
    load_model,
)
from textclf_jax.tokenizer.transformers_files import CONFIG_FILE

ENCODER = "encoder"


def require_head(saved: SavedModel) -> None:
    """Raises UserError where a saved model is an encoder alone, as it may be imported."""
    if set(saved.variables["params"]) == {ENCODER}:
        raise UserError(f"{saved.folder}: holds an encoder without its MLM head, which predicts nothing. Finetune it.")


class Pretrained(NamedTuple):
    """Weights to start from.

    Attributes:
      source: the checkpoint, for messages.
      variables: {"params": {"encoder": ..., heads ...}, ...}; heads may be absent.
      architecture: what it was trained with.
      vocabulary: fingerprint of its vocabulary, or None where the file does not say.
      unread: names of the arrays that stand for heads and were left in the file.
    """

    source: Path
    variables: PyTree
    architecture: Architecture
    vocabulary: str | None
    unread: tuple[str, ...] = ()


def start_path(config: RunConfig) -> Path | None:
    """The path of the weights that a run starts from; None where it starts from fresh ones."""
    if isinstance(config, FinetuningConfig):
        settings = config.pretrained_experiment
        return Path(settings.path) / settings.checkpoint if settings.path else None
    resume = config.training.resume
    return Path(resume.path) if resume.path and resume.weights_only else None


def checkpoint_in(path: Path) -> Path:
    """The checkpoint that a path names: itself, or the best one that a run folder or its `checkpoints/` holds.

    Raises:
      UserError: there is none; what is there is listed.
    """
    if path.is_file() or (path / METADATA_FILE).is_file() or is_checkpoints_folder(path):
        return path
    names = ("best-model.ckpt", *CHECKPOINTS)
    if found := next((path / name for name in names if (path / name).exists()), None):
        return found
    if is_checkpoints_folder(path / CHECKPOINTS_FOLDER):
        return path / CHECKPOINTS_FOLDER
    where = path if path.is_dir() else path.parent
    hint = " Turn a Hugging Face folder into a run first: textclf import." if (path / CONFIG_FILE).is_file() else ""
    raise UserError(f"{path}: there is no checkpoint. {contents_of(where)}{hint}")


def load_pretrained(path: Path) -> Pretrained:
    """Loads a `model.ckpt` folder, or the newest sound checkpoint of a `checkpoints/` folder, as a start.

    Raises:
      UserError: it is missing or damaged.
    """
    if is_checkpoints_folder(path):
        return _load_newest(path)
    saved = load_model(path)
    architecture = Architecture.model_validate(saved.metadata["config"]["architecture"])
    return Pretrained(path, saved.variables, architecture, saved.metadata["vocabulary"])


def _load_newest(folder: Path) -> Pretrained:
    checkpoints = Checkpoints(folder, read_only=True)
    try:
        restored = checkpoints.restore(None, notes := [])
    finally:
        checkpoints.close()
    for note in notes:
        print(note, flush=True)
    assert restored is not None
    state, position = restored
    fingerprint = position["fingerprint"]
    variables = {"params": state["params"], **(state["collections"] or {})}
    architecture = Architecture.model_validate(fingerprint["config"]["architecture"])
    return Pretrained(folder, variables, architecture, fingerprint["vocabulary"])


def adopt(
    pretrained: Pretrained, variables: PyTree, architecture: Architecture, vocabulary: str, *, heads: bool = False
) -> tuple[PyTree, list[str]]:
    """Puts pretrained weights into fresh variables.

    Args:
      pretrained: the weights.
      variables: of the new model.
      architecture: of the new model.
      vocabulary: fingerprint of its vocabulary.
      heads: take all parameters, heads too, where the checkpoint has any head; otherwise the encoder alone.

    Returns:
      The variables, and lines that say exactly what was loaded, what is new and what was not used.

    Raises:
      UserError: architecture, vocabulary or shapes differ; keys and both values are named.
    """
    _check_architecture(pretrained, architecture)
    _check_vocabulary(pretrained, variables, vocabulary)
    params, theirs = variables["params"], pretrained.variables["params"]
    if heads and set(theirs) != {ENCODER}:
        check_shapes(pretrained.source, params, theirs)
        taken = theirs
    else:
        check_shapes(pretrained.source, {ENCODER: params[ENCODER]}, {ENCODER: theirs[ENCODER]})
        taken = {ENCODER: theirs[ENCODER]}
    merged = {**variables, "params": {**params, **taken}}
    for collection, tree in variables.items():
        if collection not in ("params", LINEAR) and collection in pretrained.variables:
            check_shapes(pretrained.source, tree, pretrained.variables[collection])
            merged[collection] = pretrained.variables[collection]
    new = _names(_others(params, taken)) + _linear_names(variables)
    unused = [*_names(_others(theirs, taken)), *_linear_names(pretrained.variables), *pretrained.unread]
    what = "of the encoder" if set(taken) == {ENCODER} else "of encoder and head"
    return merged, [
        f"loaded {len(_names(taken))} arrays {what} from {pretrained.source}",
        f"new: {', '.join(new) or 'nothing'}",
        f"in the checkpoint but not used: {', '.join(unused) or 'nothing'}",
    ]


def _check_vocabulary(pretrained: Pretrained, variables: PyTree, fingerprint: str) -> None:
    remedy = "Set tokenizer.vocab_dir to the vocabulary it was trained with, and prepare the data with that."
    here, there = (
        tree["params"][ENCODER]["embeddings"]["word"]["embedding"].shape[0]
        for tree in (variables, pretrained.variables)
    )
    if here != there:
        raise UserError(f"the vocabulary has {here} words, that of {pretrained.source} has {there}. {remedy}")
    if pretrained.vocabulary not in (None, fingerprint):
        raise UserError(
            f"the vocabulary (fingerprint {fingerprint[:12]}) is not the one that {pretrained.source} was trained with "
            f"({pretrained.vocabulary[:12]}): its word embeddings would stand for other words. {remedy}"
        )


def _others(params: dict[str, Any], taken: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in params.items() if name not in taken}


def _linear_names(variables: PyTree) -> list[str]:
    """The linear path, which is fitted to the data of its own run."""
    return _names({LINEAR: variables[LINEAR]}) if LINEAR in variables else []


def _names(tree: PyTree) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(tree)]


def check_shapes(source: Path, ours: PyTree, theirs: PyTree) -> None:
    """Raises UserError unless two trees have the same arrays of the same shapes; lists the others."""

    def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
        return dict(zip(_names(tree), (leaf.shape for leaf in jax.tree.leaves(tree)), strict=True))

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
    keys |= {f"attention.{name}": getattr(attention, name) for name in ("kind", "num_heads", "projection_bias")}
    keys["attention.attention_embedding_dim"] = architecture.attention_dim
    if architecture.pos_encoding == "learned":
        keys["max_sequence_length"] = architecture.max_sequence_length
    if architecture.pos_encoding == "rope":
        keys["rope"] = architecture.rope.model_dump()
    if attention.kind == "favor":
        keys |= {f"attention.favor.{name}": getattr(attention.favor, name) for name in ("phi", "nb_features")}
    return keys
