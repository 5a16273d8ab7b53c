"""Counts predictions that say less than they seem to, and says so."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from textclf_jax.evaluation.prediction import Prediction, Predictor

SHOWN_ROWS = 5
EXPLAINED_TEXTS = 1000  # of those that are mostly [UNK]: bounds the time to find causes


@dataclass
class Places:
    """How many texts there are of a kind, and where the first ones stand."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Counts one."""
        self.count += 1
        if len(self.first) < SHOWN_ROWS:
            self.first.append(place)

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return ", ".join(self.first) + (f", ... and {more:,} more" if more else "")


@dataclass
class Doubts:
    """What is doubtful about the predictions of a file.

    Attributes:
      texts: how many there are.
      unsure: those without a label, to keep to the limit on errors.
      empty, cut, cut_for_one, unknown: those of each kind; see `Prediction`.
      unknown_texts: the first of the last kind, as far as this process has seen them.
    """

    texts: int = 0
    unsure: int = 0
    empty: Places = field(default_factory=Places)
    cut: Places = field(default_factory=Places)
    cut_for_one: Places = field(default_factory=Places)
    unknown: Places = field(default_factory=Places)
    unknown_texts: list[str] = field(default_factory=list)

    def add(self, place: str, prediction: Prediction) -> None:
        """Counts a prediction; `place` says where its text stands."""
        self.texts += 1
        self.unsure += prediction.is_unsure
        if prediction.is_empty:
            self.empty.add(place)
        if prediction.is_cut:
            self.cut.add(place)
        if prediction.is_cut_for_one:
            self.cut_for_one.add(place)
        if prediction.is_unknown:
            self.unknown.add(place)
            if prediction.text and len(self.unknown_texts) < EXPLAINED_TEXTS:
                self.unknown_texts.append(prediction.text)

    def stored(self) -> dict[str, Any]:
        """What is kept of it for a process that goes on; JSON-able."""
        return asdict(self) | {"unknown_texts": []}

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> "Doubts":
        """The inverse of `stored`."""
        fields: dict[str, Any] = {
            name: Places(**value) if isinstance(value, dict) else value for name, value in stored.items()
        }
        return cls(**fields)

    def sentences(self, predictor: Predictor) -> Iterator[str]:
        """Yields a line for each kind of doubt that there is."""
        if (limit := predictor.abstention) is not None:
            yield (
                f"note: {self.unsure:,} of {self.texts:,} texts have no label: no class has a probability "
                f"above {limit.threshold:.4f}, which on average keeps wrong labels below {limit.max_error:.1%} of "
                "all texts (textclf calibrate)"
            )
        causes = predictor.explain_unknown(self.unknown_texts) if self.unknown_texts else ""
        why = f" for the most part, {causes}" if causes else " for more than half of their tokens"
        reads = predictor.reads
        least, most = min(reads, key=reads.__getitem__), max(reads, key=reads.__getitem__)
        for places, what in (
            (self.empty, "texts are empty or have no token: their labels are what the model says of nothing"),
            (self.cut, f"texts are longer than the model's {reads[most]} tokens: their ends were not read"),
            (
                self.cut_for_one,
                f"texts are longer than the {reads[least]} tokens that the {least} reads: of their ends, the {most} "
                "alone has read",
            ),
            (self.unknown, f"texts are [UNK] to the model{why}: their labels say little"),
        ):
            if places.count:
                yield f"warning: {places.count:,} of {self.texts:,} {what} ({places})"
