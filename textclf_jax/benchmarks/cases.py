"""What is measured: one case a row, under a name that stays the same from version to version."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from textclf_jax.errors import UserError

VOCAB_SIZE = 30_522
NUM_LABELS = 4

Task = Literal["mlm", "cls"]
Measure = Literal["steps", "epoch", "evaluation", "prediction", "startup", "loader"]


class Size(NamedTuple):
    """An encoder: D, layers, heads, F."""

    embedding_dim: int
    num_layers: int
    num_heads: int
    mlp_size: int


SIZES = {
    "tiny": Size(64, 1, 2, 128),
    "mini": Size(256, 4, 4, 1024),
    "small": Size(512, 4, 8, 2048),
    "base": Size(768, 12, 12, 3072),
}


@dataclass(frozen=True)
class Case:
    """One row of the benchmark; workers are sent it as JSON.

    Attributes:
      row: its name.
      measure: what is timed.
      size: key of SIZES.
      batch_size: rows a step.
      max_length: tokens; longer rows are cut.
      task: MLM or classification.
      attention: kind of ours; the peer's is always exact.
      median_length: of log-normal row lengths; None fills every row.
      spread: standard deviation of the logarithm of the lengths.
      rows: of the training data.
      rounds: how often the two sides take turns.
      platforms: where the row is measured, "cpu" and "gpu".
    """

    row: str
    measure: Measure
    size: str
    batch_size: int
    max_length: int
    task: Task = "mlm"
    attention: str = "mha"
    median_length: int | None = None
    spread: float = 0.0
    rows: int = 1024
    rounds: int = 5
    platforms: tuple[str, ...] = ("cpu", "gpu")


def _steps(row: str, size: str, batch_size: int, max_length: int, **other) -> Case:
    return Case(row, "steps", size, batch_size, max_length, **other)


CPU, GPU = ("cpu",), ("gpu",)
CASES = (
    _steps("mlm-small-16x128", "small", 16, 128),
    _steps("mlm-small-4x512", "small", 4, 512),
    _steps("mlm-small-16x128-ragged", "small", 16, 128, median_length=100, spread=0.4),
    _steps("mlm-small-64x512", "small", 64, 512, platforms=GPU),
    _steps("mlm-base-256x128", "base", 256, 128, platforms=GPU),
    _steps("mlm-base-64x512", "base", 64, 512, platforms=GPU),
    *(
        _steps(f"long-4096-{kind}", "small", 1, 4096, attention=kind, rows=32, rounds=3)
        for kind in ("mha", "lsh", "favor", "local")
    ),
)


def chosen(rows: str | None, platform: str, *, quickly: bool) -> tuple[Case, ...]:
    """The cases of a platform.

    Args:
      rows: names, comma-separated; all by default.
      platform: "cpu" or "gpu".
      quickly: two rounds only.

    Raises:
      UserError: a name that there is no case for on this platform.
    """
    there = {case.row: case for case in CASES if platform in case.platforms}
    names = list(there) if rows is None else [name.strip() for name in rows.split(",")]
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"--rows: there is no row {unknown[0]!r} on a {platform}. There are: {', '.join(there)}")
    return tuple(replace(there[name], rounds=2) if quickly else there[name] for name in names)
