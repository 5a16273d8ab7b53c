"""Maps configs of the PyTorch reference to today's keys: its two generations and the shape that W&B exports.

Works on plain data before validation. Every change is said in one line of `Draft.notes`. Keys are renamed or dropped;
no variant is switched on, so an old config trains with the mended behaviour unless it says otherwise.
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
      lines: the line of every key path as it stands in the file.
      renamed: today's path -> the path in the file, for messages.
      notes: one line a change.
      problems: what could not be mapped.
    """

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    renamed: dict[KeyPath, KeyPath] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a dotted key, or the default where it or a section above it is missing."""
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

    def put(self, key: str, value: Any, came_from: str) -> None:
        """Sets a dotted key whose section exists or can be made; leaves anything else for validation to report."""
        node = self.data
        *sections, name = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                return
        node[name] = value
        self.renamed[tuple(key.split("."))] = tuple(came_from.split("."))

    def move(self, old: str, new: str) -> None:
        """Renames a dotted key; two different values are a problem."""
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
        """The line of a key, or of the nearest section above it that stands in the file."""
        path = self.path_in_file(path)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def path_in_file(self, path: KeyPath) -> KeyPath:
        """The path under which a key of today stands in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.renamed:
                return self.renamed[path[:length]] + path[length:]
        return path


def migrate(document: Document) -> Draft:
    """Brings a config of any generation to today's keys; a config of today passes unchanged."""
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
    """Options common to all kinds stand beside `kind` now, and `forward_<kind>` went into `<kind>`."""
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
    """The older generation has both keys; there the architecture's counts."""
    old, new = "tokenizer.max_length", "architecture.max_sequence_length"
    if draft.has(old) and draft.has(new):
        length = draft.pop(old)
        if length != draft.get(new):
            draft.notes.append(f"{old} {length} is ignored: {new} {draft.get(new)} counts")
    draft.move(old, new)


def _drop_ignored(draft: Draft) -> None:
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
    """`is_resume`, a run name and a checkpoint path became one path."""
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


def resume_path(name: Any, checkpoint: Any, output_dir: Any) -> str | None:
    """The path that the reference's resume keys mean, from the repository root; None where they say nothing.

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
    """`sep_512` averages every 512th token; it never looked for [SEP]."""
    key = "classification_head.pooling"
    pooling = draft.get(key)
    if isinstance(pooling, str) and (match := re.fullmatch(r"sep_(\d{1,6})", pooling)):
        draft.put(key, "strided_mean", came_from=key)
        draft.put("classification_head.pooling_stride", int(match[1]), came_from=key)
        draft.notes.append(f"{key} {pooling} is now strided_mean with pooling_stride {int(match[1])}")


def _map_pretrained_name(draft: Draft) -> None:
    """The name was a second way to say the path."""
    name = draft.pop("pretrained_experiment.name")
    if name is None:
        return
    if not draft.get("pretrained_experiment.path"):
        path = f"experiments/pretraining/{name}"
        draft.put("pretrained_experiment.path", path, came_from="pretrained_experiment.name")
        draft.notes.append(f"pretrained_experiment.name is now path {path}")
    else:
        draft.notes.append("ignored pretrained_experiment.name: path says which run it is")
