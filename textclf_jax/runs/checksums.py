"""Checksums of what is stored: of arrays by name, of files, and of the JSON that holds these checksums itself."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def checksums(tree: PyTree) -> dict[str, int]:
    """The CRC-32 of dtype, shape and bytes of each array, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): _checksum(np.ascontiguousarray(leaf)) for path, leaf in leaves}


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.data, zlib.crc32(f"{array.dtype}{array.shape}".encode()))


def check_arrays(tree: PyTree, expected: dict[str, int]) -> None:
    """Raises ValueError unless the arrays are the ones that had these `checksums`."""
    # fields of a NamedTuple come back as keys of a dict where the structure is not known
    found, expected = ({_plain(name): crc for name, crc in sums.items()} for sums in (checksums(tree), expected))
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise ValueError(f"the checksum of {name} differs")


def _plain(name: str) -> str:
    """.a[0]['b'] and ['a'][0]['b'] -> a/0/b."""
    return re.sub(r"[.\[\]']+", "/", name).strip("/")


def file_checksums(folder: Path) -> dict[str, int]:
    """The CRC-32 of each file in a folder, by its name."""
    return {path.name: zlib.crc32(path.read_bytes()) for path in sorted(folder.iterdir())}


def check_files(folder: Path, expected: dict[str, int]) -> None:
    """Raises ValueError unless the folder holds the files that had these `file_checksums`; others do not matter."""
    for name, checksum in expected.items():
        if zlib.crc32((folder / name).read_bytes()) != checksum:
            raise ValueError(f"the checksum of {name} differs")


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """JSON-able content with the checksum of all of it."""
    return content | {"crc32": _json_checksum(content)}


def unsealed(stored: dict[str, Any]) -> dict[str, Any]:
    """The content that was `sealed`. Raises ValueError where it is another."""
    content = {name: value for name, value in stored.items() if name != "crc32"}
    if stored.get("crc32") != _json_checksum(content):
        raise ValueError("the checksum of its description differs")
    return content


def _json_checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
