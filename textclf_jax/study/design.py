"""What a study compares: its methods, the runs that each takes, and how they share the time."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textclf_jax.config.file import Kind
from textclf_jax.errors import UserError, listed
from textclf_jax.experiments.folders import validate_name

if TYPE_CHECKING:
    from textclf_jax.prepare.options import PrepareOptions

MAJORITY, TFIDF, SCRATCH, PRETRAINED, LINEAR = "majority", "tfidf", "scratch", "pretrained", "pretrained+linear"
# not trained by itself: what the linear path of LINEAR predicts without the encoder, which needs no pretraining
LINEAR_ALONE = "linear"
BASELINES = (MAJORITY, TFIDF)
TITLES = {
    MAJORITY: "majority class",
    TFIDF: "TF-IDF + logistic regression",
    LINEAR_ALONE: "linear path alone",
    SCRATCH: "encoder from scratch",
    PRETRAINED: "pretrained encoder",
    LINEAR: "pretrained encoder + linear path",
}
METHODS = tuple(name for name in TITLES if name != LINEAR_ALONE)  # in the order of the tables
NO_TEST = "data.test.dataset_path=null"
# the template has a linear path: an encoder is compared without one
LINEAR_KEY, ENCODER_ALONE = "classification_head.linear.enabled=true", "classification_head.linear.enabled=false"
# chosen by the study for each of its runs; the epochs of finetuning are an upper limit
OWN_KEYS = ("training.max_updates", "experiment.seed", "classification_head.linear.enabled")
EPOCHS = "training.epochs"


class Part(NamedTuple):
    """A run that each seed of a method takes.

    Attributes:
      name: in the name of its experiment.
      kind: pretraining or finetuning.
      share: of the time that is left when the data is prepared.
      from_scratch: finetuned from fresh weights.
      fills_time: otherwise it ends after `training.epochs` where these are over earlier.
      keys: overrides of its config.
    """

    name: str
    kind: Kind
    share: float
    from_scratch: bool = False
    fills_time: bool = True
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Design:
    """A study.

    Attributes:
      out: its folder, whose name begins the names of its experiments.
      data: what to prepare, into its folder `data`.
      minutes: for one seed of a method, in all: data and vocabulary, pretraining, finetuning, and their tests.
      seeds: how many; they are 1, 2, ...
      methods: in the order of the tables.
      preset: of the architecture.
      finetuning_share: of the minutes, for finetuning after pretraining.
      pretraining_keys, finetuning_keys: `section.key=value`, overrides of the configs.
      arguments: the flags that were given, by name: a study goes on with the same ones alone.
      command: that made it.
    """

    out: Path
    data: "PrepareOptions"
    minutes: float
    seeds: int
    methods: tuple[str, ...]
    preset: str
    finetuning_share: float
    pretraining_keys: tuple[str, ...]
    finetuning_keys: tuple[str, ...]
    arguments: dict[str, object]
    command: str

    def parts(self, method: str) -> tuple[Part, ...]:
        """The runs of a method, in their order. Pretraining is shared by the methods that start from it.

        A pretrained encoder soon knows the labelled texts by heart: it is finetuned for a few epochs at most.
        What is trained from scratch cannot spend much time well: it is trained twice, as long as the others are
        finetuned and as long as they are pretrained, both together taking the minutes. The better one on the
        validation split counts.
        """
        share, keys = self.finetuning_share, self.finetuning_keys
        if method in BASELINES:
            return ()
        alone = (*keys, ENCODER_ALONE)
        if method == SCRATCH:
            return (
                Part("scratch-short", "finetuning", share, True, keys=alone),
                Part("scratch-long", "finetuning", 1 - share, True, keys=alone),
            )
        if method == PRETRAINED:
            return self.pretraining, Part("pretrained", "finetuning", share, fills_time=False, keys=alone)
        with_linear = (*keys, LINEAR_KEY)
        return self.pretraining, Part("pretrained-linear", "finetuning", share, fills_time=False, keys=with_linear)

    @property
    def pretraining(self) -> Part:
        """The run that the pretrained methods of a seed start from. It never sees the texts of the test split."""
        return Part("pretraining", "pretraining", 1 - self.finetuning_share, keys=(*self.pretraining_keys, NO_TEST))

    @property
    def seed_numbers(self) -> range:
        """The seeds."""
        return range(1, self.seeds + 1)

    def experiment(self, part: Part, seed: int) -> str:
        """The name of a run."""
        return f"{self.out.name}-{part.name}-seed{seed}"

    def trainings(self) -> list[tuple[Part, int]]:
        """All runs, as a part and its seed, in their order."""
        parts = dict.fromkeys(part for method in self.methods for part in self.parts(method))
        return [(part, seed) for seed, part in itertools.product(self.seed_numbers, parts)]

    def heading(self, name: str) -> str:
        """What is told before the run or the baseline of this name."""
        return f"study {self.out.name}: {name}"


def check_design(design: Design) -> None:
    """Raises UserError for values that no study can have; needs no file."""
    if not 0 < design.minutes < float("inf"):
        raise UserError(f"--minutes {design.minutes:g} must be above 0")
    if design.seeds < 1:
        raise UserError(f"--seeds {design.seeds} must be at least 1")
    if not 0 < design.finetuning_share < 1:
        raise UserError(f"--finetuning-share {design.finetuning_share:g} must be above 0 and below 1")
    unknown = [name for name in design.methods if name not in METHODS]
    if unknown or not design.methods:
        raise UserError(f"--methods {listed(unknown)}: there are {', '.join(METHODS)}")
    if twice := [name for name in design.methods if design.methods.count(name) > 1]:
        raise UserError(f"--methods names {twice[0]} twice")
    validate_name(f"{design.out.name}-pretrained-linear-seed{design.seeds}")
    data = design.data
    from textclf_jax.prepare.options import check_options  # it imports numpy, for which --help need not wait

    check_options(data)
    for split, has_rows in (("val", data.val or data.val_share), ("test", data.test or data.test_share)):
        if not has_rows:
            raise UserError(
                f"there would be no {split} split, and a study needs one: give --{split} FILE beside --train, or INPUT "
                f"files and --{split}-fraction above 0"
            )
    given = ("--set-pretraining", design.pretraining_keys, (*OWN_KEYS, EPOCHS))
    for flag, keys, own in (given, ("--set-finetuning", design.finetuning_keys, OWN_KEYS)):
        for key in keys:
            if key.partition("=")[0].strip() in own:
                raise UserError(f"{flag} {key}: a study chooses this key itself; leave it out")
