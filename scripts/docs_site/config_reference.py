"""The reference of config keys: values and defaults from the typed config, meanings from comments of the templates."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.docs_site.command_reference import escaped
from textclf_jax.config.file import MODELS, format_value
from textclf_jax.config.yaml_reader import KeyPath, read_document

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "configs"
NAMES = {
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "null": "`null`",
}
# JSON Schema's words for a range
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
PAGE = re.compile(r"docs/([\w/-]+\.md)")
ELSEWHERE = re.compile(r"(finetuning|pretraining) only")


@dataclass
class Key:
    """A key, or a section of keys, by its path.

    Attributes:
      schema: JSON Schema of its values.
      is_section: it has keys of its own.
      required: it has no default.
      kinds: of runs that have it.
      starts: the values that templates have, as written in YAML, by kind.
      meanings: the comments of templates, by kind.
    """

    path: KeyPath
    schema: dict[str, Any]
    is_section: bool
    required: bool
    kinds: list[str] = field(default_factory=list)
    starts: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)


def config_reference() -> str:
    """Gives Markdown: a heading for each section, one level lower one for each key."""
    return "\n".join(_section(key) if key.is_section else _entry(key) for key in all_keys())


def all_keys() -> list[Key]:
    """Lists sections and keys of both kinds of run in the order of the templates; what one lacks comes last."""
    keys: dict[KeyPath, Key] = {}
    for kind, model in MODELS.items():
        schema = model.model_json_schema()
        for key in _keys(schema, schema["$defs"]):
            keys.setdefault(key.path, key).kinds.append(kind)
        text = (TEMPLATES / f"{kind}.yaml").read_text(encoding="utf-8")
        comments, data = comments_by_key(text), read_document(text.encode()).data
        for path, key in keys.items():
            if kind in key.kinds:
                key.meanings[kind] = comments.get(path, "")
                key.starts[kind] = "" if key.is_section else format_value(_at(data, path))
    order = list(dict.fromkeys(path[0] for path in keys))
    # sections without sub-sections in between, so that headings nest
    return sorted(keys.values(), key=lambda key: (order.index(key.path[0]), *_nesting(key, list(keys))))


def _nesting(key: Key, order: list[KeyPath]) -> list[tuple[bool, int]]:
    """Sorts the keys of a section before its sub-sections, both in their order."""
    steps = [key.path[:length] for length in range(2, len(key.path) + 1)]
    return [(key.is_section or step != key.path, order.index(step)) for step in steps]


def _keys(schema: dict[str, Any], definitions: dict[str, Any], above: KeyPath = ()) -> list[Key]:
    found = []
    for name, value in schema["properties"].items():
        inner = definitions.get(value.get("$ref", "").rpartition("/")[2], {})
        is_section = "properties" in inner
        key = Key((*above, name), value, is_section, name in schema.get("required", ()))
        found += [key, *(_keys(inner, definitions, key.path) if is_section else ())]
    return found


def comments_by_key(text: str) -> dict[KeyPath, str]:
    """The comment of each key of a template: behind it, below it at the same column, and above it."""
    comments: dict[KeyPath, list[str]] = {}
    above: list[str] = []
    path: KeyPath = ()
    column = -1
    for line in text.splitlines():
        if match := re.match(r"( *)(\w+):", line):
            depth = len(match[1]) // 2
            path = (*path[:depth], match[2])
            rest = line[match.end() :]
            start = rest.find("# ")
            column = match.end() + start if start >= 0 else -1
            comments[path] = [*([rest[start + 2 :] + "." * bool(above)] if start >= 0 else []), *above]
            above = []
        elif match := re.match(r" *# (.*)", line):
            if line.index("#") == column:
                comments[path].append(match[1])
            else:
                above.append(match[1])
        else:
            above = []
    return {path: " ".join(lines) for path, lines in comments.items()}


def _at(data: dict[str, Any], path: KeyPath) -> Any:
    value: Any = data
    for name in path:
        value = value[name]
    return value


def _section(key: Key) -> str:
    name = ".".join(key.path)
    only = f"Of {key.kinds[0]} runs" if len(key.kinds) == 1 else ""
    sentences = [
        text[0].upper() + text[1:].rstrip(".") + "." for text in (_docstring(key), _meaning(key), only) if text
    ]
    return f"{'#' * (len(key.path) + 1)} {name} {{ #{name} }}\n\n{' '.join(sentences)}\n"


def _docstring(key: Key) -> str:
    """The docstring of a section's class, its first line."""
    model: Any = MODELS[key.kinds[0]]  # pyright: ignore[reportArgumentType]
    for name in key.path:
        model = model.model_fields[name].annotation
    return escaped((model.__doc__ or "").partition("\n")[0])


def _entry(key: Key) -> str:
    name = ".".join(key.path)
    facts = [values(key.schema)]
    if key.required:
        facts.append("no default")
    else:
        facts.append(f"default `{format_value(key.schema.get('default'))}`")
    different = {kind: text for kind, text in key.starts.items() if _differs(key, text)}
    if different:
        told = different.values()
        same = len(different) == len(key.kinds) and len(set(told)) == 1
        facts.append("new runs: " + (f"`{next(iter(told))}`" if same else _by_kind(different)))
    return f"`{key.path[-1]}` {{ #{name} }}\n:   {_meaning(key)}\n    <br>{'; '.join(facts)}\n"


def _differs(key: Key, start: str) -> bool:
    return key.required or start != format_value(key.schema.get("default"))


def _by_kind(texts: dict[str, str]) -> str:
    return ", ".join(f"`{text}` ({kind})" for kind, text in texts.items())


def _meaning(key: Key) -> str:
    """What the templates say: once, where they agree or one has no use for the key."""
    told = {kind: text for kind, text in key.meanings.items() if text and not ELSEWHERE.fullmatch(text)}
    notes = [text for text in key.meanings.values() if ELSEWHERE.fullmatch(text)]
    longest = max(told.values(), key=len, default="")
    if any(not longest.startswith(text) for text in told.values()) or (len(told) < len(key.kinds) and not notes):
        texts = [f"{kind}: {text}" for kind, text in told.items()]
    else:
        texts = [longest]
    return PAGE.sub(r"[\1](../\1)", escaped("; ".join([*texts, *notes])))


def values(schema: dict[str, Any]) -> str:
    """Says in words which values JSON Schema allows."""
    if "anyOf" in schema:
        return " or ".join(map(values, schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return "a list of numbers"
    bounds = [f"{word} {_number(schema[name])}" for name, word in BOUNDS.items() if name in schema]
    return " ".join([NAMES[schema["type"]], *bounds])


def _number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
