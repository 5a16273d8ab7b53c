"""What more labels would give: the learning curve of a cheap model, extrapolated by a power law."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from textclf_jax.check.suspects import FOLDS, fit_words, group_folds, word_features

SIZES = (0.25, 0.5, 1.0)  # of the rows that a fold leaves to train on
DRAWS = 2000
LEVEL = 0.95
FEWEST_ROWS = 60  # of fewer, a quarter of four fifths is hardly a training split
FEWEST_MISTAKES = 10  # at each size, for their number to tell something
ROUND = (1, 2, 5)  # times a power of ten: how many more labels are asked about
MODEL = "TF-IDF with logistic regression"


@dataclass(frozen=True)
class Gain:
    """What more labels would give, in accuracy.

    Attributes:
      more: labels.
      value: the gain expected.
      low, high: bounds of its 95% interval.
    """

    more: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """The learning curve of a cheap model, and what it promises.

    Attributes:
      rows: of the training split.
      sizes: rows that the model was fitted to.
      accuracies: cross-validated, by size.
      gains: of more labels; empty where it cannot be told.
      why_not: why it cannot; empty where it can.
    """

    rows: int
    sizes: tuple[int, ...]
    accuracies: tuple[float, ...]
    gains: tuple[Gain, ...]
    why_not: str = ""

    @classmethod
    def of_json(cls, path: Path) -> "Forecast":
        """The forecast that was written down."""
        content = json.loads(path.read_bytes())
        lists = {name: tuple(content[name]) for name in ("sizes", "accuracies")}
        return cls(**{**content, **lists, "gains": tuple(Gain(**each) for each in content["gains"])})

    @property
    def is_told(self) -> bool:
        """Whether more labels are sure to help: the whole interval of each gain is above 0."""
        return bool(self.gains) and all(gain.low > 0 for gain in self.gains)

    def sentence(self) -> str:
        """What more labels would give, in words."""
        if self.why_not:
            return f"What more labels would give cannot be told: {self.why_not}."
        told = [f"{each.more:,} more labels: {_points(each.low)} to {_points(each.high)} points" for each in self.gains]
        curve = ", ".join(f"{100 * a:.1f}% with {n:,}" for n, a in zip(self.sizes, self.accuracies, strict=True))
        basis = f"{MODEL}, cross-validated, has {curve} labels; a power law goes on from there"
        if self.is_told:
            return f"{'; '.join(told)} of accuracy ({basis})."
        return f"Whether more labels would help cannot be told from these. {'; '.join(told)} of accuracy ({basis})."


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def forecast(texts: Sequence[str], labels: Int[np.ndarray, " N"], groups: Int[np.ndarray, " N"]) -> Forecast:
    """Fits the cheap model to a quarter, half and all of what cross-validation leaves to train on, and extrapolates.

    Args:
      texts: of the training split.
      labels: [N] classes in 0..C-1.
      groups: what belongs together has the same number: a model is never asked about what it was fitted to.
    """
    count = len(texts)
    if count < FEWEST_ROWS:
        return Forecast(count, (), (), (), f"{count:,} training rows are too few for a learning curve")
    features = word_features(texts)
    if features is None:
        return Forecast(count, (), (), (), "no training text has a word")
    sizes, hits = learning_curve(features, labels, groups)
    accuracies = tuple(float(share) for share in hits.mean(axis=1))
    if (mistakes := int((~hits).sum(axis=1).min())) < FEWEST_MISTAKES:
        why = f"{MODEL}, cross-validated, makes {mistakes} mistakes on {count:,} training rows, too few to see a trend"
        return Forecast(count, sizes, accuracies, (), why)
    gains = tuple(extrapolate(sizes, hits, count, more) for more in dict.fromkeys((_round_number(count // 4), count)))
    return Forecast(count, sizes, accuracies, gains)


def _round_number(most: int) -> int:
    """The largest 1, 2 or 5 times a power of ten that is not above `most`."""
    power = 10 ** (len(str(most)) - 1)
    return max(times * power for times in ROUND if times * power <= most)


def learning_curve(
    features: object, labels: Int[np.ndarray, " N"], groups: Int[np.ndarray, " N"]
) -> tuple[tuple[int, ...], Bool[np.ndarray, "S N"]]:
    """How often the cheap model is right by the number of rows it is fitted to, each row asked about once a size.

    Returns:
      The sizes, means over the folds, and whether each row was classified right. Smaller sets are parts of larger ones.
    """
    folds = group_folds(labels, groups)
    hits = np.zeros((len(SIZES), len(labels)), bool)
    counts = np.zeros((len(SIZES), FOLDS))
    for fold in range(FOLDS):
        fitted, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = np.random.default_rng(fold).permutation(fitted)
        for i, share in enumerate(SIZES):
            part = fitted[: max(round(share * len(fitted)), 1)]
            counts[i, fold] = len(part)
            hits[i, asked] = fit_words(features, labels, part, asked).argmax(axis=1) == labels[asked]
    return tuple(int(n) for n in counts.mean(axis=1).round()), hits


def extrapolate(sizes: Sequence[int], hits: Bool[np.ndarray, "S N"], count: int, more: int, draws: int = DRAWS) -> Gain:
    """What more labels would give by a power law through the errors at some sizes: error = a size^-b.

    Its uncertainty is that of a bootstrap of the rows that were asked about, and of the law: each draw counts twice, by
    all sizes, and by the last two alone, in which a curve that flattens gives less. It knows nothing of errors that
    no number of labels removes, so it is asked about twice the rows at most.

    Args:
      sizes: rows that a model was fitted to.
      hits: by size, whether it was right on each row.
      count: rows that there are.
      more: further ones.
      draws: of the bootstrap.

    Source: Cortes et al. 1994, Learning curves; Hestness et al. 2017.
    """
    misses = ~hits
    value = float(_gain(sizes, misses.mean(axis=1, keepdims=True), count, more)[0])
    rng = np.random.default_rng(0)
    # rows that are wrong at the same sizes are alike: how many of each kind are drawn is all that matters
    kinds, sums = np.unique(misses, axis=1, return_counts=True)
    drawn = rng.multinomial(misses.shape[1], sums / sums.sum(), size=draws)
    errors = kinds.astype(np.float64) @ drawn.T / misses.shape[1]
    gains = [_gain(sizes[begin:], errors[begin:], count, more) for begin in (0, len(sizes) - 2)]
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Gain(more, value, float(low), float(high))


def _gain(sizes: Sequence[int], errors: Float[np.ndarray, "S R"], count: int, more: int) -> Float[np.ndarray, " R"]:
    """[R] how much lower the error is with `more` rows than with `count`, by the power law through each column."""
    least = 0.5 / 10_000  # of an error that was drawn as 0, which has no logarithm
    x, y = np.log(np.asarray(sizes, np.float64)), np.log(np.maximum(errors, least))
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    start = y.mean(axis=0) - slope * x.mean()
    now, then = (np.minimum(np.exp(start + slope * np.log(n)), 1.0) for n in (count, count + more))
    return now - then
