"""Predictions for files of any size: reading, encoding, computing and what is done with the answers overlap."""

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from textclf_jax.data.dataset import Dataset
from textclf_jax.data.prefetch import prefetched
from textclf_jax.evaluation.prediction import Prediction, Predictor, ReadTexts
from textclf_jax.prepare.texts import Row


class Window(NamedTuple):
    """Rows of the input that are read and answered together.

    Attributes:
      places: where each text stands.
      records: the fields of each text's row as they were written.
      read: the texts as the model reads them.
    """

    places: list[str]
    records: list[list[str]]
    read: ReadTexts


def windows_of_texts(
    rows: Iterable[tuple[Row, list[str]]], predictor: Predictor, *, unit: str = "line"
) -> Generator[Window]:
    """Reads and encodes rows in a thread, ahead of use.

    Args:
      rows: each text, and the fields of its row.
      predictor: the model.
      unit: what rows are counted in.
    """

    def read(part: list[tuple[Row, list[str]]]) -> Window:
        places, records = [f"{unit} {row.line}" for row, _ in part], [fields for _, fields in part]
        return Window(places, records, predictor.read([row.text for row, _ in part]))

    return prefetched(_parts(iter(rows), predictor.at_once), read)


def windows_of_ids(data: Dataset, predictor: Predictor, start: int) -> Iterator[Window]:
    """Rows of token ids, whose fields are their numbers from 0, from row `start` on."""
    while start < len(data):
        read = predictor.read_encoded(data, start)
        numbers = range(start, start + len(read.texts))
        yield Window([f"row {number}" for number in numbers], [[str(number)] for number in numbers], read)
        start = numbers.stop


def answered(windows: Iterator[Window], predictor: Predictor) -> Generator[tuple[Window, list[Prediction]]]:
    """Answers windows in a thread, ahead of use; see `Predictor.answers`."""
    return prefetched(windows, lambda window: (window, predictor.answers(window.read)))


def _parts(rows: Iterator[tuple[Row, list[str]]], size: int) -> Iterator[list[tuple[Row, list[str]]]]:
    while part := list(islice(rows, size)):
        yield part
