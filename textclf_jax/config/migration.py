"""Maps configs of the PyTorch reference (two generations, and the shape that W&B exports) to today's keys.

Works on plain data, before validation; each change gives a line in `Draft.notes`. Keys are renamed or dropped, but no
`variant: reference` is set: an old config trains with the corrected computations.
"""

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from textclf_jax.config.yaml_reader import Document, KeyPath, Problem, describe

_ABSENT = object()

IGNORED = {
    "everything is logged, and CSV files are always written": (
        "logging.log_train_loss",
        "logging.log_train_lr",
        "logging.log_train_grad_norm",
        "logging.log_eval_metrics",
        "logging.log_metrics_csv",
        "logging.log_gpu_memory",
    ),
    "vocab_dir says where the vocabulary is": ("tokenizer.vocab_path",),
    "architecture.attention.mha.implementation chooses the kernel": ("architecture.attention.mha.use_native_sdpa",),
    "there are no such attention kinds any more": (
        "architecture.attention.reformer",
        "architecture.attention.performer",
    ),
    "architecture and tokenizer are always checked against the pretraining run": ("pretrained_experiment.inherit",),
}
ONLY_VALUE = {"training.loss": "cross_entropy", "architecture.pad_token_id": 0}
SHARED_BY_KINDS = {
    "num_heads": "num_heads",
    "projection_bias": "projection_bias",
    "attn_dropout": "attn_dropout",
    "attn_out_dropout": "attn_out_dropout",
    "mha_out_dropout": "attn_out_dropout",
}
FREEZE_KEYS = ("training.freeze_n_layers", "training.freeze_epochs", "training.freeze_embeddings")
OLD_RESUME_KEYS = (
    "is_resume",
    "resume_pretrainig_name",  # the reference's spelling
    "resume_pretraining_name",
    "checkpoint_path",
    "strict",
    "load_only_model_state",
)


@dataclass
class Draft:
    """A config between reading and validation.

    Attributes:
      data: sections and keys, changed in place.
      lines: key path in the file -> line, from 1.
      renamed: today's key path -> key path in the file.
      notes: one line for each change.
      problems: what could not be mapped.
    """

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    renamed: dict[KeyPath, KeyPath] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def get(self, key: str, default: object = None) -> Any:
        """Gives the value of a dotted key, or the default where it or a section above it is missing."""
        node: Any = self.data
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return default
            node = node[part]
        return node

    def pop(self, key: str) -> Any:
        """Removes a dotted key and returns its value, or None where there is none."""
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            return None
        section, _, name = key.rpartition(".")
        del (self.get(section) if section else self.data)[name]
        return value

    def has(self, key: str) -> bool:
        return self.get(key, _ABSENT) is not _ABSENT

    def put(self, key: str, value: object, came_from: str) -> None:
        """Sets a dotted key; does nothing where a value stands in the place of a section, which validation reports."""
        node = self.data
        *sections, name = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                return
        node[name] = value
        self.renamed[tuple(key.split("."))] = tuple(came_from.split("."))

    def move(self, old: str, new: str) -> None:
        """Renames a dotted key; it is a problem if the new key has another value already."""
        if not self.has(old):
            return
        value = self.pop(old)
        if not self.has(new):
            self.put(new, value, came_from=old)
            self.notes.append(f"{old} is now {new}")
        elif self.get(new) != value:
            self.refuse(old, f"{describe(value)}, but {new} is {describe(self.get(new))}: keep one")

    def refuse(self, key: str, message: str) -> None:
        path = tuple(key.split("."))
        self.problems.append(Problem(message, path, self.line_of(path)))

    def line_of(self, path: KeyPath) -> int | None:
        """Gives the line of a key, or of the nearest section above it that is in the file."""
        path = self.path_in_file(path)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def path_in_file(self, path: KeyPath) -> KeyPath:
        """Gives the key path that the file has for one of today's."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.renamed:
                return self.renamed[path[:length]] + path[length:]
        return path


def migrate(document: Document) -> Draft:
    """Maps a config of any generation to today's keys; one that has them already stays as it is."""
    draft = Draft(document.data, dict(document.lines))
    _unwrap_wandb_export(draft)
    _merge_attention_kinds(draft)
    _move_max_length(draft)
    _drop_ignored(draft)
    _drop_freeze_flag(draft)
    _map_resume(draft)
    _map_pooling(draft)
    _map_pretrained_name(draft)
    return draft


def _unwrap_wandb_export(draft: Draft) -> None:
    """`{section: {value: {...}}}` -> `{section: {...}}`."""
    wrapped = {
        k for k, v in draft.data.items() if isinstance(v, dict) and "value" in v and v.keys() <= {"value", "desc"}
    }
    if not wrapped:
        return
    for name in [name for name in draft.data if name in ("_wandb", "wandb_version")]:
        del draft.data[name]
        wrapped.discard(name)
    for name in wrapped:
        draft.data[name] = draft.data[name]["value"]
    for path, line in list(draft.lines.items()):
        if path[0] in wrapped and len(path) > 2:
            draft.lines[(path[0], *path[2:])] = line
    draft.notes.append("exported by W&B: the value of every section was unwrapped")


def _merge_attention_kinds(draft: Draft) -> None:
    """Moves options common to all kinds beside `kind`, and the keys of `forward_<kind>` into `<kind>`."""
    attention = draft.get("architecture.attention")
    if not isinstance(attention, dict) or not isinstance(kind := attention.get("kind", "mha"), str):
        return
    here = "architecture.attention"
    if attention.get(kind, _ABSENT) is None:
        del attention[kind]
    for old, new in SHARED_BY_KINDS.items():
        draft.move(f"{here}.{kind}.{old}", f"{here}.{new}")
    draft.move(f"{here}.mha_out_dropout", f"{here}.attn_out_dropout")
    for name in [name for name in attention if name.startswith("forward_")]:
        if name == f"forward_{kind}" and isinstance(attention[name], dict):
            for key in list(attention[name]):
                draft.move(f"{here}.{name}.{key}", f"{here}.{kind}.{key}")
        del attention[name]


def _move_max_length(draft: Draft) -> None:
    """Renames tokenizer.max_length, or drops it where the older generation has max_sequence_length too."""
    old, new = "tokenizer.max_length", "architecture.max_sequence_length"
    if draft.has(old) and draft.has(new):
        length = draft.pop(old)
        if length != draft.get(new):
            draft.notes.append(f"{old} {length} is ignored: {new} {draft.get(new)} counts")
    draft.move(old, new)


def _drop_ignored(draft: Draft) -> None:
    """Drops keys without a meaning today, and keys of which one value alone is supported."""
    for why, keys in IGNORED.items():
        present = [key for key in keys if draft.has(key)]
        for key in present:
            draft.pop(key)
        if present:
            draft.notes.append(f"ignored {', '.join(present)}: {why}")
    for key, only in ONLY_VALUE.items():
        if not draft.has(key):
            continue
        value = draft.pop(key)
        if value == only and type(value) is type(only):
            draft.notes.append(f"ignored {key}: it is always {only}")
        else:
            draft.refuse(key, f"only {only} is supported, not {describe(value)}")


def _drop_freeze_flag(draft: Draft) -> None:
    """Drops `freeze`, and where it is false the freeze_* keys, which had no effect then."""
    if not draft.has("training.freeze"):
        return
    freeze = draft.pop("training.freeze")
    if freeze is False:
        for key in FREEZE_KEYS:
            draft.pop(key)
        draft.notes.append("training.freeze is false: the freeze_* keys are ignored")
    elif freeze is True:
        draft.notes.append("ignored training.freeze: the freeze_* keys alone say what is frozen")
    else:
        draft.refuse("training.freeze", f"expected true or false, got {describe(freeze)}")


def _map_resume(draft: Draft) -> None:
    """Turns `is_resume`, a run name and a checkpoint path into one path."""
    resume = draft.get("training.resume", _ABSENT)
    if resume is None:
        draft.pop("training.resume")
    if not isinstance(resume, dict) or not any(key in resume for key in OLD_RESUME_KEYS):
        return
    old = {key: resume.pop(key) for key in OLD_RESUME_KEYS if key in resume}
    if old.get("is_resume", False) is False:
        resume.clear()
        draft.notes.append("training.resume is off (is_resume is not true): its keys are ignored")
        return
    if old["is_resume"] is not True:
        draft.refuse("training.resume.is_resume", f"expected true or false, got {describe(old['is_resume'])}")
        return
    name = old.get("resume_pretrainig_name") or old.get("resume_pretraining_name")
    path = resume_path(name, old.get("checkpoint_path"), draft.get("experiment.output_dir"))
    if path is None:
        draft.refuse("training.resume", "is_resume is true, but nothing says from where. Set path to an earlier run.")
        return
    draft.put("training.resume.path", path, came_from="training.resume.checkpoint_path")
    draft.notes.append(f"training.resume now starts from path {path}")
    if "load_only_model_state" in old:
        weights_only = old["load_only_model_state"]
        draft.put("training.resume.weights_only", weights_only, came_from="training.resume.load_only_model_state")
        draft.notes.append("training.resume.load_only_model_state is now training.resume.weights_only")
    if old.get("strict") is False:
        draft.notes.append("ignored training.resume.strict: loading is always strict")


def resume_path(name: object, checkpoint: object, output_dir: object) -> str | None:
    """Gives the path, from the repository's root, that the reference's resume keys mean; None where they are empty.

    Args:
      name: the earlier pretraining run, or None.
      checkpoint: its checkpoint: absolute, relative to `output_dir` (`../old/checkpoints/model.ckpt`), or inside the
        named run.
      output_dir: the folder of the run that resumes.
    """
    if not name and not checkpoint:
        return None
    parts = PurePosixPath(str(checkpoint or "")).parts
    if name:
        run = f"experiments/pretraining/{name}"
        if name in parts:
            parts = parts[len(parts) - parts[::-1].index(name) :]
        elif posixpath.isabs(str(checkpoint)):
            return str(checkpoint)
        return posixpath.join(run, *(part for part in parts if part != ".."))
    if parts[0] == ".." and isinstance(output_dir, str):
        return posixpath.normpath(posixpath.join(output_dir, *parts))
    return str(checkpoint)


def _map_pooling(draft: Draft) -> None:
    """Renames `sep_512`, which averaged every 512th token and never looked for [SEP]."""
    key = "classification_head.pooling"
    pooling = draft.get(key)
    if isinstance(pooling, str) and (match := re.fullmatch(r"sep_(\d{1,6})", pooling)):
        draft.put(key, "strided_mean", came_from=key)
        draft.put("classification_head.pooling_stride", int(match[1]), came_from=key)
        draft.notes.append(f"{key} {pooling} is now strided_mean with pooling_stride {int(match[1])}")


def _map_pretrained_name(draft: Draft) -> None:
    """Turns the name of the pretraining run into its path."""
    name = draft.pop("pretrained_experiment.name")
    if name is None:
        return
    if not draft.get("pretrained_experiment.path"):
        path = f"experiments/pretraining/{name}"
        draft.put("pretrained_experiment.path", path, came_from="pretrained_experiment.name")
        draft.notes.append(f"pretrained_experiment.name is now path {path}")
    else:
        draft.notes.append("ignored pretrained_experiment.name: path says which run it is")
