"""Reads, checks and writes config files.

`load_config` gives a typed config, or one `UserError` that lists every problem with its line. What `dump_config` writes
means the same to readers of YAML 1.1 and 1.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from textclf_jax.config.migration import Draft, migrate
from textclf_jax.config.problems import explain
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.config.yaml_reader import (
    MAX_BYTES,
    KeyPath,
    Problem,
    Unreadable,
    read_document,
    read_value,
    resolve_plain,
)
from textclf_jax.errors import UserError

Kind = Literal["pretraining", "finetuning"]
AnyConfig = PretrainingConfig | FinetuningConfig
MODELS: dict[Kind, type[PretrainingConfig] | type[FinetuningConfig]] = {
    "pretraining": PretrainingConfig,
    "finetuning": FinetuningConfig,
}


@dataclass(frozen=True)
class Loaded:
    """A valid config, and a note on each key that was renamed, ignored or has no effect."""

    config: AnyConfig
    notes: tuple[str, ...]


def load_config(path: Path, overrides: Sequence[str] = (), kind: Kind | None = None) -> Loaded:
    """Reads a config file, with today's keys or with those of the PyTorch reference.

    Args:
      path: the file.
      overrides: `section.key=value` in today's keys, applied before validation; the value is read as YAML.
      kind: the kind of run that the config must be for; None: either.

    Raises:
      UserError: the file cannot be read, or the config is not valid; all problems in one message.
    """
    if not path.is_file():
        raise UserError(f"cannot read the config {path}: " + ("it is not a file" if path.exists() else "no such file"))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None
    return parse_config(content, str(path), overrides, kind)


def parse_config(content: bytes, source: str, overrides: Sequence[str] = (), kind: Kind | None = None) -> Loaded:
    """Does what `load_config` does, for the content of a file; error messages call it `source`."""
    try:
        document = read_document(content)
    except Unreadable as error:
        raise UserError(_message(source, [error.problem], {})) from None
    draft = migrate(document)
    is_older = bool(draft.notes or draft.renamed)
    problems = [*document.problems, *draft.problems]
    flags = _apply_overrides(draft, overrides, problems)
    model = _choose_model(draft, kind, problems)
    known = {problem.path for problem in problems}
    config, found = _validate(model, draft)
    problems += [problem for problem in found if problem.path not in known]
    notes = [*draft.notes, *(_without_effect(config) if config else [])]
    if config is not None and (idle := _idle_freezing(config, draft)):
        # in the reference such keys froze nothing, either, so its configs go on as they did
        if is_older and not any(path[-1].startswith("freeze_") for path in flags):
            notes.append(f"training.{idle.path[-1]}: {idle.message}")
        else:
            problems.append(idle)
    if config is None or problems:
        raise UserError(_message(source, problems, flags))
    return Loaded(config, tuple(notes))


def dump_config(config: RunConfig) -> str:
    """Gives the YAML text of a config, with every key; `load_config` reads it back to an equal config."""
    return yaml.dump(config.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))


def format_value(value: object) -> str:
    """Gives the YAML text of one value, as it stands after `key: ` in a config file."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Writes YAML 1.1, as PyYAML does, but without aliases, and quotes strings that YAML 1.2 would read differently."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(resolve_plain(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def split_override(text: str) -> tuple[KeyPath, str]:
    """Splits `section.key=value` into the key path and the text of the value.

    Raises:
      Unreadable: it has no `=` or no key.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise Unreadable(Problem("expected section.key=value", path))
    return path, value


def _apply_overrides(draft: Draft, overrides: Sequence[str], problems: list[Problem]) -> dict[KeyPath, str]:
    """Sets the overridden keys in the draft; returns the `--set` flag of each."""
    flags: dict[KeyPath, str] = {}
    for text in overrides:
        path = (text,)
        try:
            path, value = split_override(text)
            _set(draft, path, read_value(value))
        except Unreadable as error:
            problems.append(Problem(error.problem.message, path))
        flags[path] = f"--set {text}"
    return flags


def _set(draft: Draft, path: KeyPath, value: object) -> None:
    node = draft.data
    for depth, name in enumerate(path[:-1], start=1):
        if node.get(name) is None:
            node[name] = {}
        node = node[name]
        if not isinstance(node, dict):
            raise Unreadable(Problem(f"{'.'.join(path[:depth])} is a value, not a section"))
    node[path[-1]] = value
    draft.renamed.pop(path, None)


def config_of(sections: Mapping[str, Any]) -> AnyConfig:
    """The config of a saved model, from the resolved sections in its metadata."""
    return MODELS["finetuning" if "classification_head" in sections else "pretraining"].model_validate(sections)


def _choose_model(draft: Draft, kind: Kind | None, problems: list[Problem]) -> type[AnyConfig]:
    """The schema for `experiment.kind`; where that is missing or wrong, for the kind that the sections suggest."""
    stated = draft.get("experiment.kind")
    if stated in ("pretraining", "finetuning"):
        if kind is not None and stated != kind:
            path = ("experiment", "kind")
            problems.append(Problem(f"this is a {stated} run, not a {kind} run", path, draft.line_of(path)))
        return MODELS[stated]
    return MODELS[kind or ("finetuning" if "classification_head" in draft.data else "pretraining")]


def _validate(model: type[AnyConfig], draft: Draft) -> tuple[AnyConfig | None, list[Problem]]:
    try:
        return model.model_validate(draft.data), []
    except ValidationError as error:
        found = [explain(details, model) for details in error.errors(include_url=False)]
    return None, [Problem(p.message, draft.path_in_file(p.path), draft.line_of(p.path)) for p in found]


def _without_effect(config: AnyConfig) -> list[str]:
    attention, training = config.architecture.attention, config.training
    notes = []
    if attention.kind == "favor" and attention.attn_dropout > 0:
        key = f"architecture.attention.attn_dropout {attention.attn_dropout:g}"
        notes.append(f"{key} has no effect: favor has no attention weights to drop")
    if training.layer_lr_decay != 1 and training.backbone_lr_mult == 0:
        key = f"training.layer_lr_decay {training.layer_lr_decay:g}"
        notes.append(f"{key} has no effect: the rate of all layers is 0 (training.backbone_lr_mult)")
    return notes


def _idle_freezing(config: AnyConfig, draft: Draft) -> Problem | None:
    """What is wrong where some of the freeze_* keys are set, but together freeze nothing."""
    training = config.training
    frozen = {"freeze_n_layers": training.freeze_n_layers, "freeze_embeddings": training.freeze_embeddings}
    key = next((name for name, value in frozen.items() if value), None)
    if key and not training.freeze_epochs:
        what = "freezes nothing while freeze_epochs is 0. Set freeze_epochs to the first epochs in which it holds "
        message = f"{what}(all: {training.epochs}), or take {key} out."
    elif training.freeze_epochs and not key:
        key = "freeze_epochs"
        message = "freezes nothing by itself. Set freeze_n_layers or freeze_embeddings too, or take freeze_epochs out."
    else:
        return None
    path = ("training", key)
    return Problem(message, draft.path_in_file(path), draft.line_of(path))


def _message(source: str, problems: list[Problem], flags: dict[KeyPath, str]) -> str:
    """All problems under one headline: those of the file by line, then those of the command line."""

    def flag_of(problem: Problem) -> KeyPath | None:
        prefixes = (problem.path[:length] for length in range(len(problem.path), 0, -1))
        return next((prefix for prefix in prefixes if prefix in flags), None)

    def line(problem: Problem) -> str:
        key = ".".join(name if name.isprintable() else repr(name) for name in problem.path)
        words = f"{key}: {problem.message}" if key else problem.message
        if (flag := flag_of(problem)) is not None:
            return f"  {flags[flag]}  {problem.message if flag == problem.path else words}"
        return f"  line {problem.line}  {words}" if problem.line else f"  {words}"

    ordered = sorted(problems, key=lambda p: (flag_of(p) is not None, p.line or 0, p.path))
    return "\n".join([f"config error in {source}", *map(line, ordered)])
