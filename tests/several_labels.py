"""Made-up texts with several labels each, for tests that train: a text has the marker words of its classes."""

from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.data.torch_files import write_tensors

CLASSES = ["sport, football", "news|world", "नमस्ते", "rare"]
FIRST_MARKER = tiny.VOCAB_SIZE - len(CLASSES)
SHARES = (0.5, 0.3, 0.4, 0.2)  # of the texts that have each class


def rows(count: int, *, seed: int = 0, length: int = 16):
    """input_ids, attention_mask (True = PAD) and labels [N, C]; some texts have no label, and some all of them."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, len(CLASSES))) < SHARES).astype(np.uint8)
    labels[:2] = [[0] * len(CLASSES), [1] * len(CLASSES)]
    lengths = rng.integers(9, length + 1, count)  # 9 to 16: one shape of batches
    ids = rng.integers(len(tiny.SPECIALS), FIRST_MARKER, (count, length))
    for row, column in np.argwhere(labels).tolist():
        ids[row, 1 + column] = FIRST_MARKER + column
    mask = np.arange(length) >= lengths[:, None]
    ids[:, 0] = 2
    ids[np.arange(count), lengths - 1] = 3
    ids[mask] = 0
    return ids.astype(np.int64), mask, labels


def text_of(ids: np.ndarray) -> str:
    """The text whose tokens a row has, between [CLS] and [SEP]."""
    return " ".join(f"word{i - len(tiny.SPECIALS)}" for i in ids if i >= len(tiny.SPECIALS))


def write_data(folder: Path, *, train: int = 300, val: int = 80, test: int = 60) -> Path:
    """`vocab/`, `labels.txt` and `cls/` with train, val and test files."""
    tiny.write_vocabulary(folder / "vocab")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (folder / "cls").mkdir()
    for seed, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        write_tensors(folder / "cls" / f"{split}.pt", *rows(count, seed=seed))
    return folder


def finetuning(folder: Path, /, name: str = "several", **changes: Any) -> FinetuningConfig:
    """A finetuning run of a few seconds on such texts."""
    head = {"num_labels": len(CLASSES), "multi_label": True, "pooling": "max", **changes.pop("classification_head", {})}
    attention = {"attn_dropout": 0.0, "attn_out_dropout": 0.0}
    sizes = tiny.architecture(num_layers=1, attention=attention, mlp_dropout=0.0, embedding_dropout=0.0)
    training = {"learning_rate": 3e-2, "epochs": 5, "batch_size": 16, **changes.pop("training", {})}
    sections = {"classification_head": head, "architecture": sizes, "training": training}
    return tiny.finetuning(folder, name, **{**sections, "data": {"num_length_buckets": 1, "packing": False}, **changes})
