"""Texts of two topics, with faults planted in them."""

import csv
from pathlib import Path

import numpy as np

from textclf_jax.prepare.texts import Row

TOPICS = {
    "sport": ["match", "team", "goal", "player", "coach", "season", "league", "win", "score", "fans", "stadium", "cup"],
    "money": ["bank", "stock", "market", "price", "shares", "profit", "tax", "trade", "fund", "loan", "debt", "rate"],
    "space": [
        "moon",
        "orbit",
        "rocket",
        "star",
        "planet",
        "launch",
        "crew",
        "probe",
        "comet",
        "mars",
        "telescope",
        "lander",
    ],
}
COMMON = [
    "the",
    "a",
    "of",
    "and",
    "in",
    "on",
    "for",
    "with",
    "at",
    "by",
    "from",
    "it",
    "was",
    "has",
    "new",
    "says",
    "after",
    "before",
    "more",
]


def sentence(rng: np.random.Generator, topic: str, words: int = 14) -> str:
    """Words of which a third tell the topic."""
    own = rng.random(words) < 1 / 3
    return " ".join(str(rng.choice(TOPICS[topic] if is_own else COMMON)) for is_own in own)


def make_rows(count: int, seed: int = 0, topics: tuple[str, ...] = ("sport", "money")) -> list[Row]:
    """Rows of all topics in turn."""
    rng = np.random.default_rng(seed)
    labels = [topics[i % len(topics)] for i in range(count)]
    return [Row(sentence(rng, label), label, Path("a.csv"), i + 2) for i, label in enumerate(labels)]


def write(path: Path, rows: list[Row], **columns: list[str]) -> Path:
    """A csv of rows and further columns."""
    with path.open("w", newline="") as file:
        names = ["text", "label", *columns]
        records = [[row.text, row.label or "", *cells] for row, *cells in zip(rows, *columns.values(), strict=True)]
        csv.writer(file).writerows([names, *records])
    return path
