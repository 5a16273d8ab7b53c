"""A tiny vocabulary, tiny data and tiny configurations for tests that train."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.plain_torch_files import write_plain_tensors
from textclf_jax.config.schema import DEFAULT_WRAPPER, FinetuningConfig, PretrainingConfig
from textclf_jax.data.torch_files import write_tensors

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB_SIZE = 60
MAX_LENGTH = 24


def write_vocabulary(folder: Path, size: int = VOCAB_SIZE) -> Path:
    """A folder with a vocab.txt of `size` tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"word{i}" for i in range(size - len(SPECIALS))]
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *words]) + "\n", encoding="utf-8")
    return folder


def rows(count: int, *, seed: int = 0, length: int = MAX_LENGTH, num_labels: int = 3):
    """input_ids, attention_mask (True = PAD) and labels that can be learned: a row's words come from its class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, count)
    lengths = rng.integers(3, length + 1, count)
    per_class = (VOCAB_SIZE - len(SPECIALS)) // num_labels
    ids = len(SPECIALS) + labels[:, None] * per_class + rng.integers(0, per_class, (count, length))
    mask = np.arange(length) >= lengths[:, None]
    ids[:, 0] = 2
    ids[np.arange(count), lengths - 1] = 3
    ids[mask] = 0
    return ids.astype(np.int64), mask, labels.astype(np.int64)


def write_data(folder: Path, *, train: int = 50, val: int = 12, test: int = 12) -> Path:
    """`vocab/`, `mlm/` and `cls/` with train, val and test files, as `textclf prepare` lays them out."""
    write_vocabulary(folder / "vocab")
    write = write_tensors if find_spec("torch") else write_plain_tensors
    for seed, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        ids, mask, labels = rows(count, seed=seed)
        for task, arrays in {"mlm": (ids, mask), "cls": (ids, mask, labels)}.items():
            (folder / task).mkdir(exist_ok=True)
            write(folder / task / f"{split}.pt", *arrays)
    return folder


def architecture(**changes: Any) -> dict[str, Any]:
    """The smallest architecture with every part in it."""
    attention = {"num_heads": 2, "attn_dropout": 0.1, **changes.pop("attention", {})}
    sizes = {"max_sequence_length": MAX_LENGTH, "embedding_dim": 16, "num_layers": 2, "mlp_size": 32}
    return {**sizes, "attention": attention, **changes}


def pretraining(folder: Path, /, name: str = "tiny", **changes: Any) -> PretrainingConfig:
    """A pretraining run of a few seconds; `changes` are merged into the sections."""
    return PretrainingConfig.model_validate(_sections(folder, name, "pretraining", "mlm", changes))


def finetuning(folder: Path, /, name: str = "tiny", **changes: Any) -> FinetuningConfig:
    """A finetuning run of a few seconds."""
    changes.setdefault("classification_head", {"num_labels": 3})
    return FinetuningConfig.model_validate(_sections(folder, name, "finetuning", "cls", changes))


def untrained(folder: Path, labels: Sequence[str] = ("0", "1", "2"), **changes: Any) -> Path:
    """The `model.ckpt` of a classifier of at most 24 tokens, as it is before training; batches of 4."""
    import jax
    import jax.numpy as jnp

    from textclf_jax.kernels.precision import FULL
    from textclf_jax.runs.checkpoint import save_model
    from textclf_jax.tasks import ClassificationTask
    from textclf_jax.tokenizer.loading import load_wrapper

    vocabulary = write_vocabulary(folder / "vocab")
    config = finetuning(folder, **{"training": {"batch_size": 4}, **changes})
    tokenizer = load_wrapper(DEFAULT_WRAPPER, str(vocabulary), root=Path())
    module = ClassificationTask(config, tokenizer).module(FULL)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32))
    metadata = {"config": config.model_dump(mode="json"), "labels": list(labels)}
    return save_model(folder, variables, metadata, tokenizer.save)


def _sections(data: Path, name: str, kind: str, task: str, changes: dict[str, Any]) -> dict[str, Any]:
    training = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2, "device": "cpu"}
    sections: dict[str, Any] = {
        "experiment": {"name": name, "kind": kind, "output_dir": f"experiments/{kind}/{name}", "seed": 1},
        "logging": {"log_interval_updates": 3},
        "tokenizer": {"vocab_dir": str(data / "vocab")},
        "architecture": architecture(),
        "training": training,
        "data": {"num_length_buckets": 2}
        | {split: {"dataset_path": str(data / task / f"{split}.pt")} for split in ("train", "val", "test")},
    }
    for section, keys in changes.items():
        sections[section] = {**sections.get(section, {}), **keys}
    return sections
