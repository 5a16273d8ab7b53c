"""What `textclf prepare` made: figures of every split, and advice where one is unusual."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from textclf_jax.errors import listed
from textclf_jax.prepare.equal_rows import EqualRows
from textclf_jax.prepare.vocabulary_report import WARNED_RATE, UnknownRates, VocabularyReport, unknown_advice
from textclf_jax.tokenizer.rows import Encoded
from textclf_jax.tokenizer.unknown import UnknownWords

PERCENTILES = (50, 95, 99, 100)
SHOWN_PLACES = 5
NUM_SPECIAL = 2  # [CLS] and [SEP]


@dataclass(frozen=True)
class SplitReport:
    """Figures of one split. Counts of tokens leave out [CLS] and [SEP]; lengths include them."""

    texts: int = 0
    mlm_rows: int = 0
    cls_rows: int = 0
    class_counts: tuple[int, ...] = ()  # CLS rows of each class, in the order of ids
    without_labels: int = 0  # CLS rows of none of the classes, where a text can have several
    without_tokens: int = 0  # texts that have characters but no token, such as control characters alone
    characters: int = 0
    tokens: int = 0
    unknown_tokens: int = 0  # [UNK] among the tokens
    truncated_texts: int = 0
    dropped_tokens: int = 0  # that truncated texts lost
    length_percentiles: tuple[int, ...] = ()  # tokens of a text, at PERCENTILES
    unknown_words: UnknownWords = field(default_factory=UnknownWords)  # why they are [UNK]
    with_extra_text: UnknownRates | None = None  # [UNK] of these texts and the extra ones together

    @property
    def unknown_rate(self) -> float:
        return self.unknown_tokens / max(self.tokens, 1)

    @property
    def unknown_rates(self) -> UnknownRates:
        of_characters = self.unknown_words.characters / max(self.characters, 1)
        return UnknownRates(self.unknown_rate, of_characters, self.unknown_words)

    @property
    def dropped_rate(self) -> float:
        return self.dropped_tokens / max(self.tokens, 1)


def describe_split(
    encoded: Encoded,
    unknown_words: UnknownWords,
    characters: int,
    *,
    mlm_rows: int = 0,
) -> SplitReport:
    """Computes the figures of one encoded split, but for those of its labels."""
    lengths = encoded.num_tokens + NUM_SPECIAL
    return SplitReport(
        texts=len(lengths),
        mlm_rows=mlm_rows,
        without_tokens=int(np.count_nonzero(encoded.num_tokens == 0)),
        characters=characters,
        tokens=int(encoded.num_tokens.sum()),
        unknown_tokens=encoded.num_unknown,
        truncated_texts=encoded.num_truncated,
        dropped_tokens=encoded.num_dropped_tokens,
        length_percentiles=tuple(np.percentile(lengths, PERCENTILES, method="higher").astype(int).tolist()),
        unknown_words=unknown_words,
    )


def describe_labels(labels: np.ndarray, num_labels: int) -> dict[str, Any]:
    """The fields of `SplitReport` that labels give: [N] ids, or [N, C] of 0 and 1."""
    if labels.ndim == 1:
        return {"cls_rows": len(labels), "class_counts": tuple(np.bincount(labels, minlength=num_labels).tolist())}
    return {
        "cls_rows": len(labels),
        "class_counts": tuple(labels.sum(axis=0, dtype=np.int64).tolist()),
        "without_labels": int(np.count_nonzero(~labels.any(axis=1))),
    }


@dataclass
class Report:
    """What was made; the pipeline fills it in."""

    is_drawn: bool = False  # whether splits were drawn here, not all given as files
    notes: list[str] = field(default_factory=list)  # how files were read, where that is not plain
    rows_read: int = 0  # from all files; the sum of the four that follow
    rows_used: dict[str, int] = field(default_factory=dict)  # by split; "extra": for MLM training alone
    empty: dict[str, int] = field(default_factory=dict)  # rows without text, left out, by the role of their file
    unlabelled: int = 0  # rows without a label, left out
    repeated: int = 0  # rows that repeat a text, dropped
    splits: dict[str, SplitReport] = field(default_factory=dict)  # of train, val and test
    duplicates: dict[str, int] = field(
        default_factory=dict
    )  # see `splitting.count_duplicates`; "input": before the split
    deduplicated: bool = False  # whether duplicates were dropped
    contradictions: int = 0  # texts with more than one label
    label_names: list[str] | None = None  # in the order of ids
    multi_label: bool = False  # whether a text can have several labels
    label_remarks: list[str] = field(default_factory=list)  # what is unusual about them, a sentence each
    whole_labels: str = ""  # where 1.0 was taken as 1, a sentence that says so
    vocabulary: VocabularyReport = field(default_factory=VocabularyReport)
    tokenless: list[str] = field(default_factory=list)  # where labelled rows are whose texts have no token
    equal_rows: EqualRows = field(default_factory=EqualRows)

    def as_json(self) -> dict[str, Any]:
        """Lists the figures as dataset.json has them."""
        return {
            "vocabulary": asdict(self.vocabulary),
            "label_names": self.label_names,
            "multi_label": self.multi_label,
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "rows": {
                "read": self.rows_read,
                "used": self.rows_used,
                "unlabelled": self.unlabelled,
                "repeated": self.repeated,
            },
            "empty": self.empty,
            "duplicates": self.duplicates,
            "deduplicated": self.deduplicated,
            "contradictions": self.contradictions,
            "equal_rows": {"rows": self.equal_rows.num_rows, "texts": self.equal_rows.num_texts},
        }

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def fingerprint(self) -> str:
        """Of the vocabulary."""
        return self.vocabulary.fingerprint

    def warnings(self) -> Iterator[str]:
        """Yields a sentence for everything that makes a dataset of little use."""
        if self.tokenless:
            shown = listed(self.tokenless, SHOWN_PLACES, whole=True)
            yield (
                f"Labelled rows whose texts have no token, for the vocabulary's normalisation removes all of their "
                f"characters: {len(self.tokenless):,} ({shown}). A model learns their labels from nothing: leave "
                "those rows out, or take a vocabulary that keeps the characters."
            )
        yield from unknown_advice(self._unknown_rates, self.vocabulary, warned=True)

    @property
    def _unknown_rates(self) -> dict[str, UnknownRates]:
        return {
            **{name: split.unknown_rates for name, split in self.splits.items() if not split.with_extra_text},
            **{f"{name} with extra text": s.with_extra_text for name, s in self.splits.items() if s.with_extra_text},
        }

    def row_counts(self) -> str:
        """Says what became of every row that was read."""
        parts = [f"{count:,} {name}" for name, count in self.rows_used.items() if name != "extra"]
        if extra := self.rows_used.get("extra"):
            parts.append(f"{extra:,} for MLM training alone")
        left_out = {
            "without text": sum(self.empty.values()),
            "without a label": self.unlabelled,
            "that repeat a text": self.repeated,
        }
        parts += [f"{count:,} {what}, left out" for what, count in left_out.items() if count]
        return f"rows: {self.rows_read:,} read = {' + '.join(parts)}"

    def advice(self, max_length: int, cls_max_length: int | None = None) -> Iterator[str]:
        """Yields a sentence for everything that the user may want to change.

        Args:
          max_length: L of all rows.
          cls_max_length: L of CLS rows where they are longer.
        """
        train = self.splits["train"]
        yield from self.label_remarks
        yield from self._class_advice(train)
        yield from _length_advice(train, max_length, cls_max_length)
        yield from unknown_advice(self._unknown_rates, self.vocabulary, warned=False)
        yield from self.vocabulary.notes()
        if any(" in " in name for name in self.duplicates) and not self.deduplicated:
            yield "Some texts stand in several splits, which flatters the scores. Drop them with --deduplicate."
        if self.contradictions:
            what = "set of labels" if self.multi_label else "label"
            yield f"Texts that occur with more than one {what}: {self.contradictions}."
        yield from self.equal_rows.advice(self.vocabulary)

    def advice_after_check(self) -> Iterator[str]:
        """Yields what is news of this advice where the texts were checked, and a program has chosen the lengths."""
        yield from self._class_advice(self.splits["train"])
        yield from unknown_advice(self._unknown_rates, self.vocabulary, warned=False)
        yield from self.vocabulary.notes()
        yield from self.equal_rows.advice(self.vocabulary)

    def _class_advice(self, train: SplitReport) -> Iterator[str]:
        if self.whole_labels:
            yield self.whole_labels
        if not self.label_names:
            return
        for few, what in ((0, "These classes never occur"), (1, "These classes occur once only")):
            names = [name for name, count in zip(self.label_names, train.class_counts, strict=True) if count == few]
            if names:
                yield f"{what} in the training rows: {listed(names)}."


def _length_advice(train: SplitReport, max_length: int, cls_max_length: int | None) -> Iterator[str]:
    _, p95, p99, longest = train.length_percentiles
    flag, length = ("--max-length", max_length) if cls_max_length is None else ("--cls-max-length", cls_max_length)
    if train.dropped_rate > 0.05:
        share, needed = next((s, n) for s, n in ((95, p95), (99, p99), (100, longest)) if n > length)
        told = f"{flag} {length} cuts off {train.dropped_rate:.0%} of the training tokens. "
        told += f"{_round_up(needed)} would hold {share}% of the texts whole."
        if cls_max_length is None and train.cls_rows:
            told += (
                f" Where that is more than the encoder can read, --cls-max-length {_round_up(needed)} gives it to the "
                "linear path of a classifier alone."
            )
        yield told
    elif p99 <= length // 2 and length > 16 and train.unknown_rate <= WARNED_RATE:
        fitting = _round_up(p99) if cls_max_length is None else max(_round_up(p99), max_length)
        if fitting < length:
            yield f"{flag} {length} is much: 99% of the texts have at most {p99} tokens, so {fitting} would do."


def _round_up(length: int) -> int:
    return -(-length // 8) * 8
