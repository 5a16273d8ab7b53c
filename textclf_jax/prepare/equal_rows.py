"""Texts that differ, but are the same to a model: their encoded rows are equal."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt64

from textclf_jax.data.equal_rows import groups_with_different_labels, hash_rows, label_keys
from textclf_jax.errors import shortened
from textclf_jax.prepare.texts import Row
from textclf_jax.prepare.vocabulary_report import VocabularyReport
from textclf_jax.tokenizer.normalization import without_marks
from textclf_jax.tokenizer.rows import Encoded

SHOWN_CHARACTERS = 40
CAUSES = {
    "case": "lower-casing",
    "accents": "removed accents",
    "[UNK]": "[UNK] for different words",
    "length": "cutting",
    "other": "spaces, removed characters or two ways to write a letter",
}


class EqualRows(NamedTuple):
    """Encoded rows that stand for different texts with different labels.

    Attributes:
      num_rows: distinct encoded rows of this kind.
      num_texts: texts that they stand for.
      causes: the number of such rows by what made them equal: "case", "accents", "[UNK]", "length", "other".
      example: two texts, shortened, with their labels; empty without such rows.
    """

    num_rows: int = 0
    num_texts: int = 0
    causes: Mapping[str, int] = MappingProxyType({})
    example: tuple[tuple[str, str], ...] = ()

    def advice(self, vocabulary: VocabularyReport) -> Iterator[str]:
        """Yields a sentence, if there are such rows."""
        if not self.num_rows:
            return
        (one, label), (other, other_label) = self.example
        train_one = "a vocabulary of its own, without --vocab"
        remedies = {
            "case": "--no-lowercase" if vocabulary.is_trained else train_one,
            "accents": "leaving out --strip-accents" if vocabulary.is_trained else train_one,
            "length": "a larger --max-length",
        }
        causes = sorted(self.causes.items(), key=lambda item: (-item[1], item[0]))
        found = ", ".join(f"{n:,} by {CAUSES[cause]}" for cause, n in causes)
        helps = [remedies[cause] for cause, _ in causes if cause in remedies]
        yield (
            f"{self.num_texts:,} texts that differ become equal when they are encoded, and have different labels: "
            f"{one!r} ({label}) and {other!r} ({other_label}), for example. Sets of equal ones: {found}."
            + (f" What keeps them apart: {', '.join(helps)}." if helps else "")
        )


@dataclass
class RowCollector:
    """Collects the CLS rows of all splits, to find equal ones with different labels.

    Attributes:
      normalize: the tokenizer's normalisation, without which rows cannot tell why they are equal.
    """

    normalize: Callable[[str], str]
    rows: list[Row] = field(default_factory=list)
    hashes: list[UInt64[np.ndarray, " N"]] = field(default_factory=list)
    has_unknown: list[bool] = field(default_factory=list)  # for each of the rows, as is_cut
    is_cut: list[bool] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)  # numbers that differ where labels do

    def add(self, rows: list[Row], encoded: Encoded, labels: Integer[np.ndarray, "N *C"], capacity: int) -> None:
        """Adds the rows of a split; `capacity` is the number of tokens that a row can hold."""
        self.rows += rows
        self.hashes.append(hash_rows(encoded.input_ids))
        self.has_unknown += np.isin(np.arange(len(rows)), encoded.unknown_texts).tolist()
        self.is_cut += (encoded.num_tokens > capacity).tolist()
        self.labels += label_keys(labels).tolist()

    def with_different_labels(self) -> EqualRows:
        """Finds equal rows whose texts and labels differ."""
        causes: Counter[str] = Counter()
        num_texts, example = 0, ()
        for group in self._groups():
            texts = {self.rows[i].text for i in group}
            if len(texts) == 1:
                continue
            one, other = self._pair(group)
            causes[self._cause(one, other)] += 1
            num_texts += len(texts)
            example = example or (_shown(self.rows[one]), _shown(self.rows[other]))
        return EqualRows(causes.total(), num_texts, dict(causes), example)

    def _groups(self) -> list[np.ndarray]:
        """The numbers of rows that are equal and do not all have one label, in increasing order."""
        if not self.rows:
            return []
        return groups_with_different_labels(np.concatenate(self.hashes), np.array(self.labels, np.uint64))

    def _pair(self, group: np.ndarray) -> tuple[int, int]:
        """Two rows of a group of several texts and labels that differ in both."""
        rows, labels = self.rows, self.labels
        one = int(group[0])
        other = next(int(i) for i in group if labels[i] != labels[one])
        if rows[one].text != rows[other].text:
            return one, other
        third = next(int(i) for i in group if rows[i].text != rows[one].text)
        return (other if labels[third] == labels[one] else one), third

    def _cause(self, a: int, b: int) -> str:
        """What made the texts of two rows equal."""
        one, other = (" ".join(unicodedata.normalize("NFC", self.rows[i].text).split()) for i in (a, b))
        if self.normalize(one).split() != self.normalize(other).split():
            if self.has_unknown[a] and self.has_unknown[b]:
                return "[UNK]"
            return "length" if self.is_cut[a] and self.is_cut[b] else "other"
        if one.lower() == other.lower() and one != other:
            return "case"
        return "accents" if without_marks(one.lower()) == without_marks(other.lower()) and one != other else "other"


def _shown(row: Row) -> tuple[str, str]:
    return shortened(row.text, SHOWN_CHARACTERS), ", ".join(row.labels) or "no label"
