"""Turns what validation found wrong with a config into plain words, with key and remedy."""

import difflib
import re
from collections.abc import Iterator
from typing import TypeGuard

from pydantic_core import ErrorDetails

from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig, Section
from textclf_jax.config.yaml_reader import KeyPath, Problem, describe, resolve_plain

EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "string_too_short": "a string that is not empty",
    "finite_number": "a finite number",
    "model_type": "a section with keys",
}
BOUNDS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
}
# other words for a choice, which need not look like it
SYNONYMS = {
    "cuda": ("gpu", "nvidia", "cuda:0", "cuda:1"),
    "mha": ("softmax", "full", "exact", "standard", "bert"),
    "lsh": ("reformer",),
    "favor": ("performer", "favor+"),
    "local": ("longformer", "window", "sliding_window", "sliding"),
    "rope": ("rotary", "roformer"),
    "learned": ("absolute", "embedding"),
    "mean": ("average", "avg"),
    "cudnn": ("flash", "flash_attention"),
}
PLACEHOLDERS = {"integer": "<integer>", "number": "<number>", "string": "<text>"}


def key_paths(model: type[Section], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Yields the paths of all keys of a section, depth first, in schema order; a section comes before its keys."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        if is_section(field.annotation):
            yield from key_paths(field.annotation, (*above, name))


def section_at(model: type[Section], path: KeyPath) -> type[Section] | None:
    """Gives the section at a key path; None where there is no such key, or it is not a section."""
    for name in path:
        field = model.model_fields.get(name)
        if field is None or not is_section(field.annotation):
            return None
        model = field.annotation
    return model


def is_section(annotation: object) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def explain(error: ErrorDetails, model: type[RunConfig]) -> Problem:
    """Turns one of pydantic's errors into a problem without a line."""
    path = tuple(map(str, error["loc"]))
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return Problem(_unknown_key(model, path), path)
    if kind == "missing":
        return Problem(_missing_key(model, path), path)
    if kind == "value_error":
        return _broken_rule(model, path, error["msg"].removeprefix("Value error, "))
    if kind == "literal_error":
        return Problem(_not_a_choice(value, error.get("ctx", {})["expected"]), path)
    if kind in BOUNDS:
        name, wording = BOUNDS[kind]
        bound = error.get("ctx", {})[name]
        return Problem(f"{value} is out of range: it must be {wording.format(bound)}", path)
    return Problem(_wrong_type(EXPECTED.get(kind, "another value"), value), path)


def _wrong_type(expected: str, value: object) -> str:
    quoted = isinstance(value, str) and not isinstance(resolve_plain(value), str | None)
    return f"expected {expected}, got {describe(value)}" + (". Remove the quotes." if quoted else "")


def _not_a_choice(value: object, expected: str) -> str:
    choices, word = re.findall("'([^']*)'", expected), str(value).strip().lower()
    close = [choice for choice in choices if word == choice or word in SYNONYMS.get(choice, ())]
    close += difflib.get_close_matches(word, choices, n=1, cutoff=0.7)  # tpu is not cpu
    hint = f'. Did you mean "{close[0]}"?' if close else ""
    return f"expected {expected}, got {describe(value)}{hint}"


def _missing_key(model: type[RunConfig], path: KeyPath) -> str:
    section = section_at(model, path)
    if section is not None:
        required = [name for name, field in section.model_fields.items() if field.is_required()]
        return f"missing section. Add it, with at least {', '.join(required)}"
    above = section_at(model, path[:-1]) or model
    schema = above.model_json_schema()["properties"][path[-1]]
    schema = schema.get("anyOf", [schema])[0]
    value = " or ".join(schema["enum"]) if "enum" in schema else PLACEHOLDERS[schema["type"]]
    return f'missing. Add "{path[-1]}: {value}" under {".".join(path[:-1])}'


def _unknown_key(model: type[RunConfig], path: KeyPath) -> str:
    other, other_kind = (
        (FinetuningConfig, "finetuning") if model is PretrainingConfig else (PretrainingConfig, "pretraining")
    )
    if path in key_paths(other):
        return f"only {other_kind} runs have this {'section' if section_at(other, path) else 'key'}. Remove it."
    places = [".".join(place[:-1]) or "the top level" for place in key_paths(model) if place[-1] == path[-1]]
    if places:
        return f"unknown key here. It belongs under {' or '.join(places[:3])}."
    siblings = list((section_at(model, path[:-1]) or model).model_fields)
    wanted = path[-1].lower().replace("-", "_")
    if close := difflib.get_close_matches(wanted, siblings, n=1):
        return f'unknown key. Did you mean "{close[0]}"?'
    elsewhere = {place[-1]: ".".join(place) for place in key_paths(model)}
    if close := difflib.get_close_matches(wanted, elsewhere, n=1, cutoff=0.8):
        return f'unknown key. Did you mean "{elsewhere[close[0]]}"?'
    return f"unknown key. Known keys: {', '.join(siblings)}"


def _broken_rule(model: type[RunConfig], path: KeyPath, message: str) -> Problem:
    """Attributes a broken rule about several keys to the first key that its message names."""
    section = section_at(model, path)
    if section is None:
        return Problem(message, path)
    for match in re.finditer(r"[a-z_]+(\.[a-z_]+)*", message):
        named = (*path, *match[0].split("."))
        if named in key_paths(model) and section_at(model, named) is None:
            # "num_heads 12 does not ..." reads twice after "num_heads: "
            starts_with_value = re.match(rf"{re.escape(match[0])} (?=[-\d'])", message)
            return Problem(message[starts_with_value.end() :] if starts_with_value else message, named)
    return Problem(message, path)
