"""Texts of two classes that differ in each of their words."""

import random

WORDS = {"money": "bank share profit market tax loan", "sport": "goal match team ball player win"}
# the smallest model, for one epoch
TINY = {
    "architecture.embedding_dim": 16,
    "architecture.num_layers": 1,
    "architecture.mlp_size": 32,
    "training.epochs": 1,
    "training.batch_size": 8,
    "data.num_length_buckets": 1,
}


def texts_and_labels(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """So many texts of six words, and their labels, which alternate."""
    draw = random.Random(seed)
    labels = [list(WORDS)[i % 2] for i in range(count)]
    return [" ".join(draw.choices(WORDS[label].split(), k=6)) for label in labels], labels
