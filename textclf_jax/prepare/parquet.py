"""Reads parquet files, where pyarrow is installed."""

import math
from pathlib import Path
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.prepare.json_lines import cell_text
from textclf_jax.prepare.tables import Table
from textclf_jax.tokenizer.text_files import require_file


def read_parquet(path: Path) -> Table:
    """Reads a table; its records are numbered from 1.

    Raises:
      UserError: pyarrow is not installed, the file is damaged, or a cell holds bytes.
    """
    require_file(path, "parquet file")
    require("pyarrow", f"{path}: reading parquet files")
    from pyarrow import parquet  # pyright: ignore[reportMissingImports]

    try:
        table = parquet.read_table(path, partitioning=None)
    except (ValueError, OSError, NotImplementedError) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}). Is it whole? Fetch it again.") from error
    names = [str(name) for name in table.column_names]
    columns = [[_cell(path, name, value) for value in table.column(i).to_pylist()] for i, name in enumerate(names)]
    records = ((number, list(fields)) for number, fields in enumerate(zip(*columns, strict=True), start=1))
    return Table([name.strip() for name in names], records, [])


def _cell(path: Path, name: str, value: Any) -> str:
    if isinstance(value, bytes):
        raise UserError(f"{path}: the column {name!r} holds bytes, not text. Decode it, or leave the column out.")
    return "" if isinstance(value, float) and math.isnan(value) else cell_text(value)
