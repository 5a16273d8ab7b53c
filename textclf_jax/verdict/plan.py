"""How a run spends its time: which preset, how many seeds, and how long each of its trainings is."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from textclf_jax.errors import UserError
from textclf_jax.study.design import SCRATCH, TITLES, Design, Part
from textclf_jax.study.progress import Measured
from textclf_jax.training.budget import RunCost
from textclf_jax.training.schedule import epochs_begun
from textclf_jax.training.speed import MeasuredLength
from textclf_jax.verdict.options import in_time

# the most that is of use: pretrained encoders soon know the labelled texts by heart, those from scratch later; of few
# texts it takes more epochs
FINETUNING_EPOCHS, SCRATCH_EPOCHS = 3, 10
FINETUNING_UPDATES, SCRATCH_UPDATES = 400, 1000
MOST_SEEDS = 5
ESTIMATED = 0.05  # of the time: figures, reports and the like are not timed beforehand
# of pretraining, that a seed is to have before there is another one: so many updates, or so many epochs
ENOUGH_UPDATES, ENOUGH_EPOCHS = 6000, 60
FEW_UPDATES = 500  # of pretraining, which hardly show
SMALLEST = "bert-tiny"
# larger presets, and how much longer their updates take; one is taken where it has enough updates, for in the first
# minutes the smallest is ahead (docs/decisions.md)
LARGER = {"bert-mini": 4.0, "bert-small": 14.0}
UPDATES_OF_LARGER = 20_000
FINETUNING_KEYS = ("training.early_stopping.metric=accuracy",)
PRETRAINING_PART, SCRATCH_PART, PRETRAINED_PART, LINEAR_PART = (
    "pretraining",
    "scratch",
    "pretrained",
    "pretrained-linear",
)
PARTS = (PRETRAINING_PART, SCRATCH_PART, PRETRAINED_PART, LINEAR_PART)
# of the time of a seed; the rest is for pretraining, and so is what these have no use for
SHARES = {SCRATCH_PART: 0.16, PRETRAINED_PART: 0.13, LINEAR_PART: 0.13}


@dataclass(frozen=True)
class RunDesign(Design):
    """The study of a run: its encoder from scratch is trained once."""

    def parts(self, method: str) -> tuple[Part, ...]:
        """As those of a study, but for the encoder from scratch."""
        parts = super().parts(method)
        return (parts[0]._replace(name=SCRATCH_PART, share=SHARES[SCRATCH_PART]),) if method == SCRATCH else parts

    def heading(self, name: str) -> str:
        """What is told before the training or the baseline of this name."""
        if name in TITLES:
            return TITLES[name]
        names = [self.experiment(part, seed) for part, seed in self.trainings()]
        return f"training {names.index(name) + 1} of {len(names)}: {name}"


@dataclass(frozen=True)
class Planned:
    """A training of a plan.

    Attributes:
      updates, epochs: of each run.
      seconds: that each is to take.
      measured: what that rests on, in a line.
    """

    updates: int
    epochs: int
    seconds: float
    measured: str


@dataclass(frozen=True)
class Plan:
    """How a run spends its time.

    Attributes:
      preset: of the architecture.
      seeds: how many.
      parts: the trainings of a seed, by name.
      before: seconds that were gone when the plan was made.
      after: seconds for comparing the methods and for the report.
      budget: seconds in all.
      spread: how much the measured speed has varied, as a share; None: too few steps were timed to tell.
    """

    preset: str
    seeds: int
    parts: dict[str, Planned]
    before: float
    after: float
    budget: float
    spread: float | None

    @property
    def seconds(self) -> float:
        """What all of it is to take."""
        return self.before + self.seeds * sum(part.seconds for part in self.parts.values()) + self.after

    def as_json(self) -> dict[str, Any]:
        """The plan as it is kept."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "Plan":
        """The plan that was kept."""
        return cls(**{**content, "parts": {name: Planned(**part) for name, part in content["parts"].items()}})

    def lengths(self) -> dict[str, Measured]:
        """The lengths of the runs, as a study keeps them."""
        return {name: Measured(part.updates, part.epochs, part.measured, 0.0) for name, part in self.parts.items()}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table of the plan: what is done, how long each run is, how many there are, and the time of all."""
        rows = [("reading, check, vocabulary, baselines, measuring", "", "", in_time(self.before))]
        for name, part in self.parts.items():
            length = f"{part.updates:,} updates, {part.epochs:,} epochs"
            rows.append((name, length, f"{self.seeds} x {in_time(part.seconds)}", in_time(self.seeds * part.seconds)))
        rows.append(("comparison, calibration, report", "", "", in_time(self.after)))
        rows.append(("all", "", f"of {in_time(self.budget)}", in_time(self.seconds)))
        return rows

    def remarks(self) -> list[str]:
        """How sure the plan is, and what there is hardly time for."""
        if self.spread is None:
            told = ["too few steps were timed to tell how sure the time is"]
        else:
            sure = max(self.spread, ESTIMATED)
            told = [
                f"the speed varied by {self.spread:.0%} from quarter to quarter of the seconds that were timed; if it "
                f"stays like that, the time is right to about {sure:.0%}"
            ]
        told.append("later load on this machine is not foreseen: it makes the run take longer")
        if (updates := self.parts[PRETRAINING_PART].updates) < FEW_UPDATES:
            told.append(f"note: {updates:,} updates of pretraining are few; a longer --budget shows more of its worth")
        return told


def make_plan(
    costs: Mapping[str, RunCost], *, preset: str, seeds: int | None, budget: float, before: float, after: float
) -> Plan:
    """Divides the time that is left over the trainings.

    Args:
      costs: of the runs, by part.
      preset: that they were measured with.
      seeds: how many; None: as many as leave each enough pretraining.
      budget: seconds, in all.
      before: seconds that are gone.
      after: seconds to keep for the report.

    Raises:
      UserError: there is no time for one update of each.
    """
    left = budget - before - after
    candidates = range(MOST_SEEDS, 0, -1) if seeds is None else (seeds,)
    for count in candidates:
        parts = _parts(costs, left / count)
        if parts is not None and (count == candidates[-1] or _is_enough(parts, costs)):
            spread = max((cost.spread for cost in costs.values() if cost.spread is not None), default=None)
            return Plan(preset, count, parts, before, after, budget, spread)
    trainings = candidates[-1] * sum(cost.seconds(1) for cost in costs.values())
    needed = math.ceil((before + after + 3 * trainings) / 60)
    raise UserError(
        f"--budget of {in_time(budget)} is too short here: {in_time(before)} were gone before the first training, the "
        f"report takes {in_time(after)}, and the shortest trainings take {in_time(trainings)}. Give --budget "
        f"{needed}m or more{', or fewer --seeds' * (candidates[-1] > 1)}."
    )


def larger_preset(cost: RunCost, left: float) -> str:
    """The largest preset that has enough updates of pretraining in the time that is left.

    Args:
      cost: of pretraining with the smallest one.
      left: seconds, for all trainings of one seed.
    """
    seconds = (1 - sum(SHARES.values())) * left
    fitting = [name for name, times in LARGER.items() if seconds / (times * cost.update) >= UPDATES_OF_LARGER]
    return fitting[-1] if fitting else SMALLEST


def _parts(costs: Mapping[str, RunCost], seconds: float) -> dict[str, Planned] | None:
    """The trainings of a seed in so many seconds; None where there is no time for one of them."""
    parts = {}
    for name, share in SHARES.items():
        cost = costs[name]
        updates = min(cost.updates_within(max(share * seconds, cost.seconds(1))), _most(name, cost))
        parts[name] = _planned(cost, updates)
    left = seconds - sum(part.seconds for part in parts.values())
    updates = costs[PRETRAINING_PART].updates_within(left)
    if not updates:
        return None
    return {PRETRAINING_PART: _planned(costs[PRETRAINING_PART], updates), **parts}


def _most(name: str, cost: RunCost) -> int:
    """The updates beyond which finetuning has no use for more."""
    is_scratch = name == SCRATCH_PART
    epochs, updates = (SCRATCH_EPOCHS, SCRATCH_UPDATES) if is_scratch else (FINETUNING_EPOCHS, FINETUNING_UPDATES)
    return max(-(-epochs * cost.steps_per_epoch // cost.accumulation), updates)


def _planned(cost: RunCost, updates: int) -> Planned:
    epochs = epochs_begun(updates, cost.steps_per_epoch, cost.accumulation)
    length = MeasuredLength(updates, epochs, cost, cost.seconds(updates) / 60)
    return Planned(updates, epochs, length.minutes * 60, length.remark)


def _is_enough(parts: Mapping[str, Planned], costs: Mapping[str, RunCost]) -> bool:
    """Whether a seed has enough pretraining, and all the finetuning that it has a use for."""
    cost = costs[PRETRAINING_PART]
    epochs = parts[PRETRAINING_PART].updates * cost.accumulation / cost.steps_per_epoch
    whole = all(parts[name].updates == _most(name, costs[name]) for name in (PRETRAINED_PART, LINEAR_PART))
    return whole and (parts[PRETRAINING_PART].updates >= ENOUGH_UPDATES or epochs >= ENOUGH_EPOCHS)
