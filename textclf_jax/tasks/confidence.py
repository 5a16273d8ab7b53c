"""What a saved classifier knows of how far to rely on it: a temperature, and when it says "don't know"."""

from collections.abc import Mapping
from typing import Any, NamedTuple

TEMPERATURE, ABSTENTION = "temperature", "abstention"  # keys in the metadata of a model


def temperature_of(metadata: Mapping[str, Any]) -> float:
    """The temperature in the metadata of a model; 1 where none was fitted."""
    return metadata.get(TEMPERATURE, 1.0)


class Abstention(NamedTuple):
    """When a classifier says "don't know" instead of a label.

    Attributes:
      max_error: the limit: the share of all texts that may get a wrong label, on average over validation splits.
      threshold: a label is given where its probability is above this.
      rows: of the validation split.
      answered: share of these that get a label.
      wrong: share of these that get a wrong one.
    """

    max_error: float
    threshold: float
    rows: int
    answered: float
    wrong: float

    def stored(self) -> dict[str, Any]:
        """What the metadata of a model has of it."""
        return {ABSTENTION: self._asdict()}

    @classmethod
    def of_model(cls, metadata: Mapping[str, Any]) -> "Abstention | None":
        """That in the metadata of a model; None where there is none."""
        return cls(**metadata[ABSTENTION]) if ABSTENTION in metadata else None
