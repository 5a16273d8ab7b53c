"""How long texts are, and what cutting them would lose; tokens are estimated, for there is no vocabulary yet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textclf_jax.evaluation.words import SPACELESS

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)  # tokens of a row
SPECIAL = 2  # [CLS] and [SEP], of each row
PERCENTILES = (50, 95, 99, 100)
# what WordPiece takes apart first: words, single signs, and single characters where words have no spaces
UNIT = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+|[^\w\s]")
ESTIMATE = "words and signs; a vocabulary makes more of rare words"


@dataclass(frozen=True)
class LengthFacts:
    """How long texts are.

    Attributes:
      estimate: what was counted as a token.
      percentiles: tokens that so many percent of the texts have at most.
      cut_texts, lost_tokens: shares of texts that are cut, and of tokens that are lost, in rows of so many tokens.
    """

    estimate: str
    percentiles: dict[int, int]
    cut_texts: dict[int, float]
    lost_tokens: dict[int, float]

    @property
    def holding(self) -> int | None:
        """The shortest length that loses 5% of the tokens or less; None: none of them does."""
        return next((length for length, lost in self.lost_tokens.items() if lost <= 0.05), None)


def describe_lengths(texts: Sequence[str]) -> LengthFacts:
    """Counts the words and signs of texts."""
    tokens = np.array([count_tokens(text) for text in texts], np.int64)
    beyond = {length: np.maximum(tokens - (length - SPECIAL), 0) for length in LENGTHS}
    percentiles = np.percentile(tokens, PERCENTILES, method="higher").astype(int).tolist()
    return LengthFacts(
        estimate=ESTIMATE,
        percentiles=dict(zip(PERCENTILES, percentiles, strict=True)),
        cut_texts={length: float((lost > 0).mean()) for length, lost in beyond.items()},
        lost_tokens={length: float(lost.sum() / max(tokens.sum(), 1)) for length, lost in beyond.items()},
    )


def count_tokens(text: str) -> int:
    """The number of words and signs of a text."""
    return sum(1 for _ in UNIT.finditer(text))
