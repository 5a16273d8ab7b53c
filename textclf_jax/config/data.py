"""The `data` section: where the rows of each split are, and how they form batches."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from textclf_jax.config.section import Section

FORM = "a path, a pattern such as data/mlm/train-*.pt, or a list of these"


def _optional_paths(value: Any) -> Any:
    """Paths as they are stored: one as text, a list of them as a tuple."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected {FORM}, got {value!r}")
    if not value:
        raise ValueError(f"expected {FORM}, got an empty list")
    for path in value:
        if not (isinstance(path, str) and path):
            raise ValueError(f"{path!r} in the list is no path: expected {FORM}")
    return tuple(value)


def _paths(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError(f"expected {FORM}, got {'nothing (null)' if value is None else 'an empty string'}")
    return _optional_paths(value)


Paths = str | tuple[str, ...]  # one path or pattern, or several: their rows follow each other


class Split(Section):
    dataset_path: Annotated[Paths | None, BeforeValidator(_optional_paths)] = None
    shuffle: bool = False


class TrainSplit(Section):
    dataset_path: Annotated[Paths, BeforeValidator(_paths)]
    shuffle: bool = True


class Data(Section):
    train: TrainSplit
    val: Split = Split()
    test: Split = Split()
    num_length_buckets: Annotated[int, Field(ge=1, le=16)] = 4
    packing: bool = True
