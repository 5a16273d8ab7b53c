"""Random data with the statistics of text: log-normal lengths, token ids by Zipf's law; equal cases give equal data."""

from pathlib import Path

import numpy as np

from benchmarks.cases import NUM_LABELS, VOCAB_SIZE, Case
from textclf_jax.data.torch_files import write_tensors

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD_ID, CLS_ID, SEP_ID, MASK_ID = 0, 2, 3, 4
MIN_LENGTH = 8
ZIPF_SHIFT = 2.7  # Mandelbrot's correction: the commonest word of English is 5% of a text, not 10%
SEED = 0


def write_data(case: Case, folder: Path) -> None:
    """Writes `vocab/vocab.txt`, `train.pt` and, an eighth as large, `val.pt`."""
    (folder / "vocab").mkdir(parents=True)
    words = (f"w{i}" for i in range(VOCAB_SIZE - len(SPECIALS)))
    (folder / "vocab" / "vocab.txt").write_text("\n".join([*SPECIALS, *words]) + "\n", encoding="utf-8")
    rng = np.random.default_rng(SEED)
    for split, count in {"train": case.rows, "val": max(case.rows // 8, case.batch_size)}.items():
        arrays = draw_rows(case, count, rng)
        write_tensors(folder / f"{split}.pt", *(arrays if case.task == "cls" else arrays[:2]))


def draw_rows(case: Case, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws rows of tokens in the form in which `textclf prepare` writes them.

    The first words of a row depend on its label, so that a classifier has something to learn.

    Returns:
      input_ids [count, max_length] int64, attention_mask of the same shape (True = PAD), labels [count] int64.
    """
    length = case.max_length
    lengths = np.full(count, length)
    if case.median_length:
        drawn = case.median_length * np.exp(case.spread * rng.standard_normal(count))
        lengths = np.clip(drawn.astype(np.int64), MIN_LENGTH, length)
    labels = rng.integers(0, NUM_LABELS, count)
    frequencies = 1.0 / (np.arange(VOCAB_SIZE - len(SPECIALS)) + ZIPF_SHIFT)
    cumulative = np.cumsum(frequencies / frequencies.sum())
    ids = len(SPECIALS) + np.searchsorted(cumulative[:-1], rng.random((count, length)))
    ids[:, 1:4] = len(SPECIALS) + labels[:, None] * 100 + rng.integers(0, 100, (count, 3))
    ids[:, 0] = CLS_ID
    ids[np.arange(count), lengths - 1] = SEP_ID
    mask = np.arange(length) >= lengths[:, None]
    ids[mask] = PAD_ID
    return ids.astype(np.int64), mask, labels.astype(np.int64)


def draw_texts(case: Case) -> tuple[list[str], int]:
    """Draws texts to classify; returns them and the number of their tokens."""
    ids, mask, _ = draw_rows(case, case.texts, np.random.default_rng(SEED + 1))
    words = [" ".join(f"w{i - len(SPECIALS)}" for i in row if i >= len(SPECIALS)) for row in ids]
    return words, int((~mask).sum())
