"""What the figures of compared methods mean, in plain sentences: true whatever the figures are."""

from collections.abc import Mapping, Sequence
from typing import Any

from textclf_jax.study.design import LINEAR, LINEAR_ALONE, MAJORITY, PRETRAINED, SCRATCH, TFIDF, TITLES

CHANCE = 0.05  # a difference counts where p is below this, and its interval leaves 0 out
WITH_PRETRAINING, WITHOUT = (PRETRAINED, LINEAR), (TFIDF, LINEAR_ALONE, SCRATCH)
SIMPLEST = (MAJORITY, TFIDF, LINEAR_ALONE, SCRATCH, PRETRAINED, LINEAR)  # first


class Figures:
    """The figures of some methods, as `study/results.py::results_of` has them."""

    def __init__(self, results: Mapping[str, Any]):
        self.rows: int = results["test_rows"]
        self.accuracy: dict[str, dict[str, float]] = {each["method"]: each["accuracy"] for each in results["methods"]}
        self._differences = {(each["method"], each["less"]): each for each in results["differences"]}

    def best(self, methods: Sequence[str]) -> str:
        """The one of these with the highest accuracy; the simplest of equal ones."""
        there = [method for method in SIMPLEST if method in methods and method in self.accuracy]
        return max(there, key=lambda method: self.accuracy[method]["value"])

    def difference(self, method: str, less: str) -> tuple[float, float, float, float]:
        """Accuracy of one method less that of another, its interval, and the p-value."""
        if each := self._differences.get((method, less)):
            value, low, high = (each["accuracy"][name] for name in ("value", "low", "high"))
            return value, low, high, each["p_value"]
        each = self._differences[less, method]
        value, low, high = (-each["accuracy"][name] for name in ("value", "high", "low"))
        return value, low, high, each["p_value"]

    def is_ahead(self, method: str, other: str) -> bool:
        """Whether a method is better by more than chance."""
        _, low, _, p_value = self.difference(method, other)
        return low > 0 and p_value < CHANCE

    def points(self, method: str, other: str) -> str:
        """The difference with its interval and p-value."""
        value, low, high, p_value = self.difference(method, other)
        shown = f"p = {p_value:.4f}" if p_value >= 1e-4 else "p < 0.0001"
        return f"{100 * value:+.1f} points, 95%: {100 * low:+.1f} to {100 * high:+.1f}, {shown}"


def verdict(results: Mapping[str, Any]) -> tuple[str, ...]:
    """Which method won, whether that is more than chance, and whether pretraining was worth it.

    Args:
      results: of all methods.
    """
    figures = Figures(results)
    best = figures.best(SIMPLEST)
    if best == MAJORITY or not figures.is_ahead(best, MAJORITY):
        return (_nothing_learned(figures, best),)
    return _winner(figures, best), _worth(figures)


def abstention(run: str, max_error: float, shares: Mapping[str, Mapping[str, float]]) -> str:
    """What it does that a model says "don't know".

    Args:
      run: of the model.
      max_error: the limit.
      shares: by split, the shares of texts that are `answered` and `wrong`.
    """
    names = {"val": "validation", "test": "test"}
    told = []
    for split, each in shares.items():
        unanswered = f"{1 - each['answered']:.1%} of the texts get no label"
        told.append(f"on the {names[split]} split {unanswered}, {each['wrong']:.1%} a wrong one")
    return (
        f'{run} says "don\'t know" where it is not sure enough, so that on average at most {max_error:.1%} of all '
        f"texts get a wrong label: {'; '.join(told)}. The validation split chose the threshold, and the model, too."
    )


def winner(results: Mapping[str, Any]) -> str:
    """The method with the highest accuracy; the simplest of equal ones."""
    return Figures(results).best(SIMPLEST)


def _share(accuracy: Mapping[str, float]) -> str:
    value, low, high = (f"{100 * accuracy[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value}% of the answers right (95%: {low} to {high})"


def _nothing_learned(figures: Figures, best: str) -> str:
    told = "No method is better by more than chance than always answering with the largest class, which has "
    told += f"{_share(figures.accuracy[MAJORITY])}"
    if best != MAJORITY:
        told += f"; {TITLES[best]} is ahead by {figures.points(best, MAJORITY)}"
    return f"{told}: from {figures.rows:,} test texts nothing can be told of pretraining."


def _winner(figures: Figures, best: str) -> str:
    second = figures.best([method for method in SIMPLEST if method != best])
    told = f"{TITLES[best]} has {_share(figures.accuracy[best])} on {figures.rows:,} test texts"
    difference = figures.points(best, second)
    if figures.is_ahead(best, second):
        return f"The winner: {told}, and is ahead of {TITLES[second]} by more than chance ({difference})."
    if figures.difference(best, second)[0] == 0:
        return f"There is a tie: {told}, and {TITLES[second]} is right as often."
    return f"No clear winner: {told}, the most, but what it is ahead of {TITLES[second]} may be chance ({difference})."


def _worth(figures: Figures) -> str:
    """Whether pretraining was worth it: beside the same encoder, and beside the best of what needs none."""
    on, off = figures.best(WITH_PRETRAINING), figures.best((MAJORITY, *WITHOUT))
    encoder = f"The encoder alone: pretrained less from scratch {figures.points(PRETRAINED, SCRATCH)}."
    helped, harmed = figures.is_ahead(PRETRAINED, SCRATCH), figures.is_ahead(SCRATCH, PRETRAINED)
    compared = f"{TITLES[on]} less {TITLES[off]}: {figures.points(on, off)}"
    if figures.is_ahead(off, on):
        return f"Pretraining was not worth it: {TITLES[off]} needs none and is ahead ({compared}). {encoder}"
    if not figures.is_ahead(on, off):
        return (
            f"That pretraining was worth it cannot be told: {TITLES[off]} needs none, and the difference to it may be "
            f"chance ({compared}). {encoder}"
        )
    if helped:
        return f"Pretraining was worth it: the model with it is ahead by more than chance ({compared}). {encoder}"
    if harmed:
        return (
            f"Pretraining was not what helped: the model with it is ahead ({compared}), but the encoder alone is "
            f"better from scratch. {encoder}"
        )
    return (
        f"Whether pretraining was worth it cannot be told: the model with it is ahead ({compared}), but the encoder "
        f"alone is not better for it by more than chance. {encoder}"
    )
