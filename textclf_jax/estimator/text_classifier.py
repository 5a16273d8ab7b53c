"""A scikit-learn estimator that trains a text classifier from scratch."""

import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from textclf_jax.config.file import format_value
from textclf_jax.errors import ArgumentError
from textclf_jax.estimator.labels import Classes, read_labels
from textclf_jax.estimator.project import Project, Recipe, examples_of
from textclf_jax.evaluation.classifier import Classifier, as_texts
from textclf_jax.observe.progress import silence

SEEDS = 2**31 - 1
# keys of configs that arguments decide
OWN_KEYS = {
    "experiment.seed": "random_state",
    "architecture.max_sequence_length": "max_length",
    "classification_head.num_labels": "the labels",
    "classification_head.multi_label": "the labels",
    "tokenizer.vocab_dir": "the texts",
    "data.train.dataset_path": "the texts",
    "data.val.dataset_path": "validation_fraction",
    "pretrained_experiment.path": "pretrain",
}
# keys that finetuning takes over from pretraining
ENCODER_KEYS = {
    f"architecture.{name}"
    for name in (
        *("embedding_dim", "num_layers", "mlp_size", "type_vocab_size", "pos_encoding", "attention.kind"),
        *("attention.num_heads", "attention.attention_embedding_dim", "attention.projection_bias"),
    )
}
LENGTH_KEYS = ("training.epochs", "training.max_updates")


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Trains a text classifier from scratch: a vocabulary, a pretrained encoder, and the classifier finetuned from it.

    `fit` does what `textclf prepare`, `textclf pretrain` and `textclf finetune` do, with `validation_fraction` of the
    texts to choose the best model by. It is quiet, changes no current folder and writes nowhere but into its own folder
    and the cache of compiled programs. Fitted estimators can be pickled, and shared by threads.

    Args:
      preset: size and training: a file of `configs/presets`, such as bert-tiny, bert-mini, bert-small, bert-base.
      pretrain: whether to pretrain by masked language modelling on the texts first.
      minutes: what `fit` is to take, measured on this machine; None: as many epochs as the configs say. With minutes,
        results depend on how fast the machine is.
      max_length: tokens of a text that the encoder reads; [CLS] and [SEP] are two of them.
      vocab_size: the most pieces of the vocabulary.
      validation_fraction: share of the texts; of each class about that share, and never its only text.
      pretraining_settings: other keys of the pretraining config by their whole names, such as
        {"training.batch_size": 16}. `configs/pretraining.yaml` explains all of them.
      finetuning_settings: the same of finetuning, and `configs/finetuning.yaml`.
      folder: where data and runs stay, for all commands to use; it must not exist or be empty. None: a temporary one.
      random_state: seed or numpy's RandomState; an equal seed gives equal bits on the same machine.
      verbose: whether to print what the commands print.

    Attributes:
      classes_: [C] the labels, sorted; of a matrix of 0 and 1 the numbers of its columns.
      classifier_: the trained `textclf_jax.Classifier`, whose labels are names (str).
    """

    def __init__(
        self,
        preset: str = "bert-tiny",
        *,
        pretrain: bool = True,
        minutes: float | None = None,
        max_length: int = 128,
        vocab_size: int = 30_000,
        validation_fraction: float = 0.1,
        pretraining_settings: Mapping[str, object] | None = None,
        finetuning_settings: Mapping[str, object] | None = None,
        folder: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.preset = preset
        self.pretrain = pretrain
        self.minutes = minutes
        self.max_length = max_length
        self.vocab_size = vocab_size
        self.validation_fraction = validation_fraction
        self.pretraining_settings = pretraining_settings
        self.finetuning_settings = finetuning_settings
        self.folder = folder
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Iterable[str], y: Any, *, extra_texts: Iterable[str] = ()) -> "TextClassifier":
        """Trains on texts and their labels.

        Args:
          X: N texts: a list, an array, or a column of a table. Those without a visible character are left out, which a
            warning says.
          y: N labels of one type; or a list of labels for each text; or a matrix [N, C] of 0 and 1.
          extra_texts: further texts without labels, to pretrain on.

        Returns:
          The estimator itself.

        Raises:
          ArgumentError: a ValueError, and a UserError: something is no text or no label, or an argument is wrong.
          UserError: what the commands refuse.
        """
        begin = time.perf_counter()
        recipe = self._recipe()
        texts, extra = as_texts(X), as_texts(extra_texts)
        classes, numbers = read_labels(y)
        if len(texts) != len(numbers):
            raise ArgumentError(f"there are {len(texts):,} texts and labels of {len(numbers):,}")
        if extra and not self.pretrain:
            raise ArgumentError("extra_texts are to pretrain on, and pretrain is False: leave them out")
        examples = examples_of(texts, classes, numbers, extra)
        with _workspace(self.folder) as root, nullcontext() if self.verbose else silence():
            self.classifier_ = Classifier.load(Project(root, examples, recipe, begin).train())
        self._classes: Classes = classes
        self.classes_ = classes.values
        return self

    def predict(self, X: Iterable[str]) -> Any:
        """Labels texts.

        Returns:
          [N] labels, one of `classes_` each; [N, C] of 0 and 1 or a list of tuples of labels, where `y` was of that
          kind.
        """
        check_is_fitted(self)
        return self._classes.of_predictions(self.classifier_.predictions(X))

    def predict_proba(self, X: Iterable[str]) -> Float[np.ndarray, "N C"]:
        """The probability of each class for each text, [N, C] in the order of `classes_`.

        They add up to 1, unless a text can have several labels.
        """
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def score(self, X: Iterable[str], y: Any, sample_weight: Any = None) -> float:
        """Accuracy; where a text can have several labels, the share of texts with all of them right.

        `sample_weight`, [N], weighs the texts.
        """
        check_is_fitted(self)
        if self._classes.kind != "lists":
            return super().score(X, y, sample_weight)
        right = (self._classes.matrix(self.predict(X)) == self._classes.matrix(list(y))).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def _recipe(self) -> Recipe:
        """The arguments, checked."""
        if not 0 <= self.validation_fraction < 1:
            raise ArgumentError(f"validation_fraction {self.validation_fraction!r} must be at least 0 and below 1")
        if self.max_length < 3:
            raise ArgumentError(f"max_length {self.max_length!r} must be at least 3: [CLS], a token, [SEP]")
        if self.vocab_size < 1:
            raise ArgumentError(f"vocab_size {self.vocab_size!r} must be at least 1")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ArgumentError(f"minutes {self.minutes!r} must be above 0")
        if self.pretraining_settings and not self.pretrain:
            raise ArgumentError("pretraining_settings are given, and pretrain is False: leave one of the two out")
        if self.pretrain and (key := next(iter(self._keys_of_the_encoder()), None)) is not None:
            raise ArgumentError(
                f"finetuning_settings: {key} is that of the pretrained encoder: see pretraining_settings"
            )
        return Recipe(
            preset=self.preset,
            pretrain=self.pretrain,
            minutes=self.minutes,
            max_length=int(self.max_length),
            vocab_size=int(self.vocab_size),
            validation_fraction=float(self.validation_fraction),
            pretraining=self._overrides("pretraining_settings", self.pretraining_settings),
            finetuning=self._overrides("finetuning_settings", self.finetuning_settings),
            seed=int(check_random_state(self.random_state).randint(SEEDS)),
        )

    def _keys_of_the_encoder(self) -> list[str]:
        """The settings of finetuning that pretraining decides, and does not have."""
        pretraining, finetuning = self.pretraining_settings or {}, self.finetuning_settings or {}
        shared = ENCODER_KEYS & finetuning.keys()
        return sorted(key for key in shared if key not in pretraining or pretraining[key] != finetuning[key])

    def _overrides(self, name: str, settings: Mapping[str, object] | None) -> tuple[str, ...]:
        """Settings as `section.key=value`."""
        overrides = []
        for key, value in (settings or {}).items():
            if key in OWN_KEYS:
                raise ArgumentError(f"{name}: {key} is decided by {OWN_KEYS[key]}; leave it out")
            if self.minutes is not None and key in LENGTH_KEYS:
                raise ArgumentError(f"{name}: {key} is decided by minutes; leave one of the two out")
            overrides.append(f"{key}={format_value(_plain(value))}")
        return tuple(overrides)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_label = True
        return tags


def _plain(value: Any) -> Any:
    """A value that YAML has: grids of parameters hold numbers of numpy."""
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@contextmanager
def _workspace(folder: str | Path | None) -> Iterator[Path]:
    """An empty folder: the one named, which is made if need be, or a temporary one, which is removed at the end.

    Raises:
      ArgumentError: there is something in it, or it cannot be made.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
            yield Path(temporary)
        return
    path = Path(folder).absolute()
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise ArgumentError(
            f"folder {path}: there is something already. Choose another, or remove it first. Where one estimator is "
            "fitted several times, as in a cross-validation, leave folder out: each has a temporary one then."
        )
    existed = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"folder {path}: cannot be made ({error.strerror})") from None
    try:
        yield path
    finally:
        if not existed and not any(path.iterdir()):
            path.rmdir()
