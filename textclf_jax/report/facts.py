"""What a report says of a run, as plain dataclasses, without a word of HTML."""

from dataclasses import dataclass, field
from typing import Any

from textclf_jax.evaluation.calibration import Bin


@dataclass(frozen=True)
class Figure:
    """A score on the evaluated split.

    Attributes:
      name: as in the metrics files.
      value: the score.
      low, high: the bounds of its 95% bootstrap interval; None: not computed.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Missing:
    """Something that a report usually says, and why this one does not.

    Attributes:
      what: what is not told.
      why: the reason, and what to do about it.
    """

    what: str
    why: str


@dataclass(frozen=True)
class Reliability:
    """Whether probabilities mean what they say.

    Attributes:
      of: what has a probability: "answers", or with several labels a text "labels of texts".
      error: the expected calibration error.
      count: answers.
      bins: by probability; the means of those without answers are NaN.
    """

    of: str
    error: float
    count: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Part:
    """One of the two parts of a model with a linear path.

    Attributes:
      name: "encoder" or "linear path".
      weight: by which its scores count.
      score: its accuracy alone (with several labels a text: micro-F1 at the threshold 0.5).
      loss: of it alone.
      share: how much of what decides comes from it, 0 to 1.
    """

    name: str
    weight: float
    score: float
    loss: float
    share: float


@dataclass(frozen=True)
class Parts:
    """Encoder and linear path, alone and together.

    Attributes:
      score_name: what `score` is: accuracy or f1_micro.
      parts: both.
      score, loss: of both together.
      agreement: texts by which part alone is right: "both", "encoder only", "linear path only", "neither"; empty with
        several labels a text.
    """

    score_name: str
    parts: tuple[Part, ...]
    score: float
    loss: float
    agreement: dict[str, int]


@dataclass(frozen=True)
class Word:
    """A word of a text, or a few that were left out together.

    Attributes:
      text: with the space before it.
      effect: what it adds to the log odds of the answer that was given; below 0 it speaks against it. None: not
        computed, for the text is too long.
    """

    text: str
    effect: float | None


@dataclass(frozen=True)
class Mistake:
    """A text whose answer is wrong.

    Attributes:
      row: of the split, from 1.
      true: the true class, or with several labels a text the class that is wrongly given, or wrongly not given.
      predicted: the class that was given; with several labels a text "given" or "not given".
      probability: of the answer that was given.
      true_probability: of the right one.
      words: the text as the model read it.
      tokens, read: of the text, and how many of them the model reads.
      from_parts: by part what it adds to the log odds of the answer; empty without a linear path.
      threshold: of the class, with several labels a text; else None.
    """

    row: int
    true: str
    predicted: str
    probability: float
    true_probability: float
    words: tuple[Word, ...]
    tokens: int
    read: int
    from_parts: dict[str, float] = field(default_factory=dict)
    threshold: float | None = None


@dataclass(frozen=True)
class Answers:
    """What a model answers on a split, and how far it is right.

    Attributes:
      split: test or val.
      rows: of the split.
      figures: scores with intervals.
      draws: of the bootstrap.
      classes: a record of each class, as in per_class.csv.
      remarks: sentences on them.
      confusion: [C, C] rows by true and predicted class; None with several labels a text.
      reliability: of its probabilities.
      parts: encoder and linear path; None without one.
      mistakes: the worst ones.
      wrong: how many there are.
      unexplained: why the words of mistakes are not told, or their effects; empty where they are.
    """

    split: str
    rows: int
    figures: tuple[Figure, ...]
    draws: int
    classes: list[dict[str, Any]]
    remarks: tuple[str, ...]
    confusion: list[list[int]] | None
    reliability: Reliability
    parts: Parts | None
    mistakes: tuple[Mistake, ...]
    wrong: int
    unexplained: str = ""


@dataclass(frozen=True)
class SplitData:
    """The data of a split.

    Attributes:
      split: train, val or test.
      path: as the configuration names it.
      fingerprint: of the file when the run was trained.
      texts: how many; None: nothing tells.
      tokens: of them; None: nothing tells.
      class_counts: texts of each class; empty: nothing tells.
    """

    split: str
    path: str
    fingerprint: str
    texts: int | None = None
    tokens: int | None = None
    class_counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class DataCard:
    """The data of a run.

    Attributes:
      splits: of the run.
      sources: role, path and sha256 of the files that the dataset was made from; empty: nothing tells.
      facts: what else is known, by name.
    """

    splits: tuple[SplitData, ...]
    sources: tuple[dict[str, str], ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a run has cost; None: not recorded.

    Attributes:
      minutes: of training, without evaluations.
      tokens_per_second: real tokens, mean of the run.
      peak_memory_mb: of the device, or on a CPU of the process.
      updates: of the optimizer.
      parameters: of the model.
    """

    minutes: float | None = None
    tokens_per_second: float | None = None
    peak_memory_mb: float | None = None
    updates: int | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What methods compared with that of a run say: see `textclf run`.

    Attributes:
      sentences: which won, and whether pretraining was worth it.
      methods: columns and rows of the table of methods.
      differences: columns and rows of that of their differences.
      forecast: what more labels would give.
      strength: the regularisation of TF-IDF with logistic regression, and what chose it.
      abstention: when the model of the report says "don't know", and what that does; empty where it never does.
      calibration: method, and its calibration error before its temperature and after.
      command: that repeats all of it, in another folder.
    """

    sentences: tuple[str, ...]
    methods: tuple[tuple[str, ...], list[tuple[str, ...]]]
    differences: tuple[tuple[str, ...], list[tuple[str, ...]]]
    forecast: str
    strength: str
    abstention: str
    calibration: tuple[tuple[str, str, str], ...]
    command: str


@dataclass(frozen=True)
class RunFacts:
    """All that is to be said of a run.

    Attributes:
      name: of its folder.
      kind: pretraining or finetuning.
      state: "finished", "unfinished" or "imported".
      which: best, last or imported model; None: there is none yet.
      place: step, update and epoch that it is from.
      chosen_by: the validation score that it is the best by; None: it is not.
      labels: names of the classes.
      multi_label: whether a text can have several.
      results: the metrics of the run by split, as summary.json has them.
      answers: of a classifier; None where there are none.
      data: of the run.
      check: what a check of the data has found, as `--check` gave it; None without.
      config: the sections as they were used.
      config_text: the same as YAML.
      environment: versions, device and the like, by name.
      cost: of the run.
      commands: that repeat it.
      starts_from: the model that it starts from; empty: from none.
      remarks: what else is to be known.
      missing: what is not told, and why.
      verdict: of `textclf run`; None of a run made otherwise.
    """

    name: str
    kind: str
    state: str
    which: str | None
    place: dict[str, int]
    chosen_by: str | None
    labels: tuple[str, ...]
    multi_label: bool
    results: dict[str, dict[str, float | None]]
    answers: Answers | None
    data: DataCard
    check: dict[str, Any] | None
    config: dict[str, Any]
    config_text: str
    environment: dict[str, str]
    cost: Cost
    commands: tuple[str, ...]
    starts_from: str
    remarks: tuple[str, ...]
    missing: tuple[Missing, ...]
    verdict: Verdict | None = None
