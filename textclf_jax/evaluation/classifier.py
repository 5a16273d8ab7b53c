"""A trained classifier as Python sees it: `Classifier.load`, then texts to labels."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from textclf_jax.errors import ArgumentError, shortened
from textclf_jax.evaluation.explaining import Explanation, explain
from textclf_jax.evaluation.prediction import Prediction, Predictor
from textclf_jax.files import why_not_writable
from textclf_jax.runs.checkpoint import METADATA_FILE, MODEL_FOLDER
from textclf_jax.tokenizer.text_files import well_formed

Label = str | tuple[str, ...] | None


class Classifier:
    """A trained classifier with its tokenizer, which needs nothing but its `model.ckpt`.

    Threads may share it. Programs are compiled when texts first need them, each once, and kept on disk for later
    processes; `warm_up` compiles all of them. Pickled, it carries the whole model.
    """

    def __init__(self, predictor: Predictor):
        """See `load`."""
        self._predictor = predictor

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Loads a trained classifier.

        Args:
          path: a run's folder, such as experiments/finetuning/NAME, or the `model.ckpt` in it, wherever that is.

        Raises:
          UserError: there is none, or it is damaged.
        """
        folder = Path(path)
        is_model = (folder / METADATA_FILE).is_file() or folder.name == MODEL_FOLDER
        return cls(Predictor(folder if is_model else folder / MODEL_FOLDER))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of `predict_proba`."""
        return tuple(self._predictor.labels)

    @property
    def multi_label(self) -> bool:
        """Whether a text can have several labels, or none."""
        return self._predictor.multi_label

    @property
    def max_length(self) -> int:
        """Tokens of a text that the encoder reads at most, [CLS] and [SEP] included."""
        return self._predictor.max_length

    def predict(self, texts: Iterable[str]) -> list[Label]:
        """Labels texts, in their order.

        Args:
          texts: a list, an array or a column of texts.

        Returns:
          The label of each text; None where the model says that it does not know (`textclf calibrate`). Where a text
          can have several labels, a tuple of them, which can be empty.

        Raises:
          ArgumentError: something is not a text; its place is named.
          UserError: the model predicts nothing, for its training went wrong.
        """
        found = self.predictions(texts)
        return [p.labels if self.multi_label else None if p.is_unsure else p.label for p in found]

    def predict_proba(self, texts: Iterable[str]) -> Float[np.ndarray, "N C"]:
        """The probability of each class for each text, [N, C] float64 in the order of `labels`.

        They add up to 1, unless a text can have several labels. Arguments and errors: see `predict`.
        """
        rows = [p.probabilities for p in self.predictions(texts)]
        return np.array(rows, np.float64).reshape(len(rows), len(self.labels))

    def predictions(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """All that the model says of each text: label, probabilities, and whether it was empty, cut or unknown.

        Arguments and errors: see `predict`.
        """
        return self._predictor(as_texts(texts))

    def explain(self, text: str, label: str | None = None) -> Explanation:
        """Tells which words decide, by leaving each of them out in turn.

        Args:
          text: one text.
          label: the class to explain; None: the most probable one.

        Returns:
          The label, its log odds, and by how much each word raises them.

        Raises:
          ArgumentError: this is no text, or there is no such class.
          UserError: the tokenizer is a class of your own that does not tell its tokens.
        """
        if not isinstance(text, str):
            raise ArgumentError(f"explain takes one text, and {shortened(repr(text))} is none")
        return explain(self._predictor, well_formed(text), label)

    def warm_up(self) -> None:
        """Compiles the programs for texts of all lengths, so that no later text waits for that."""
        for shape in self._predictor.shapes:
            self._predictor.compile(shape)

    def save(self, folder: str | Path) -> Path:
        """Writes the model into a folder, which is made if need be, as `model.ckpt`; `load` reads it.

        Returns:
          The path of the `model.ckpt`.

        Raises:
          UserError: it is there already, or cannot be written.
        """
        target = Path(folder) / MODEL_FOLDER
        if target.exists():
            raise ArgumentError(f"{target}: is there already. Choose another folder, or remove it first.")
        if reason := why_not_writable(target.parent):
            raise ArgumentError(f"{target.parent}: cannot be written ({reason}). Choose another folder.")
        return self._predictor.save(target.parent)

    def __reduce__(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="textclf-") as folder:
            model = self._predictor.save(Path(folder))
            paths = (Path(where) / name for where, _, names in os.walk(model) for name in names)
            return _restored, ({path.relative_to(model).as_posix(): path.read_bytes() for path in paths},)


def _restored(files: Mapping[str, bytes]) -> Classifier:
    """A classifier from the files of its `model.ckpt`."""
    with tempfile.TemporaryDirectory(prefix="textclf-") as folder:
        for name, content in files.items():
            path = Path(folder) / MODEL_FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return Classifier.load(folder)


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts of a list, an array, or a column of a table.

    Raises:
      ArgumentError: they are something else, or one of them is no text; its place is named.
    """
    if isinstance(texts, str | bytes):
        raise ArgumentError("texts is a single text; put it into a list: [text]")
    if isinstance(texts, Mapping | Set):
        raise ArgumentError(f"texts is a {type(texts).__name__}, which has no rows; give a list of texts")
    shape = getattr(texts, "shape", (0,))
    if len(shape) == 2 and shape[1] == 1:  # a table of one column
        texts = np.asarray(texts, dtype=object).ravel()
    elif len(shape) != 1:
        raise ArgumentError(
            f"texts has the shape {tuple(shape)}: it must be one column of texts, such as frame['text']"
        )
    try:
        values = list(texts)
    except TypeError:
        raise ArgumentError(f"texts is {shortened(repr(texts))}; give a list of texts") from None
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise ArgumentError(
                f"texts[{number}] is {shortened(repr(text))} of type {type(text).__name__}, not a text (str). Leave "
                "that row out; an empty text is ''."
            )
    return [well_formed(text) for text in values]
