"""Reads parquet files, where pyarrow is installed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.prepare.json_lines import cell_text
from textclf_jax.prepare.rereading import Rereadable
from textclf_jax.prepare.tables import Table
from textclf_jax.tokenizer.text_files import require_file

BATCH_ROWS = 4096  # that are in memory at a time


def read_parquet(path: Path) -> Table:
    """Reads a table, some rows at a time; its records are numbered from 1.

    Raises:
      UserError: pyarrow is not installed, the file is damaged, or a cell holds bytes.
    """
    require_file(path, "parquet file")
    require("pyarrow", f"{path}: reading parquet files")
    from pyarrow import parquet  # pyright: ignore[reportMissingImports]

    with _explained(path), parquet.ParquetFile(path) as file:
        names = [str(name) for name in file.schema_arrow.names]

    def records() -> Iterator[tuple[int, list[str]]]:
        number = 0
        with _explained(path), parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                columns = [
                    [_cell(path, name, value) for value in column.to_pylist()]
                    for name, column in zip(names, batch.columns, strict=True)
                ]
                for fields in zip(*columns, strict=True):
                    number += 1
                    yield number, list(fields)

    return Table([name.strip() for name in names], Rereadable(records), [])


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raises UserError for a file that is damaged."""
    try:
        yield
    except (ValueError, OSError, NotImplementedError) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}). Is it whole? Fetch it again.") from error


def _cell(path: Path, name: str, value: Any) -> str:
    if isinstance(value, bytes):
        raise UserError(f"{path}: the column {name!r} holds bytes, not text. Decode it, or leave the column out.")
    return "" if isinstance(value, float) and math.isnan(value) else cell_text(value)
