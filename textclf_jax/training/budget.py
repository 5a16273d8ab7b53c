"""How many updates fit into a time: arithmetic on what the parts of a run cost."""

import math
from typing import NamedTuple

FINETUNING_SHARE = 0.15  # of the time of a pretrained model, for finetuning, where nothing else is said
MOST_STEPS = 2**31 - 1  # the step of a train state is an int32


class RunCost(NamedTuple):
    """What the parts of a run take here, and how often they come.

    Attributes:
      start: seconds from the command to the first step: reading data, compiling, drawing weights.
      update: seconds of an update.
      evaluation: seconds of an evaluation on the validation split, and of saving what follows it.
      end: seconds of the test, reports and plots.
      steps_per_epoch: steps on data.
      accumulation: steps an update.
      evaluation_interval: updates between evaluations; 0: at the end of each epoch alone.
      spread: how much the time of an update varied while it was measured, as a share of its mean; None: unknown.
    """

    start: float
    update: float
    evaluation: float
    end: float
    steps_per_epoch: int
    accumulation: int
    evaluation_interval: int
    spread: float | None = None

    def evaluations(self, updates: int) -> int:
        """How many evaluations a run of so many updates has: at ends of epochs, by the interval, and at its end."""
        steps, interval = updates * self.accumulation, self.evaluation_interval * self.accumulation
        count = steps // self.steps_per_epoch
        is_at_one = steps % self.steps_per_epoch == 0
        if interval:
            count += steps // interval - steps // math.lcm(interval, self.steps_per_epoch)
            is_at_one = is_at_one or steps % interval == 0
        return count + (not is_at_one)

    def seconds(self, updates: int) -> float:
        """How long a run of so many updates takes."""
        return self.start + updates * self.update + self.evaluations(updates) * self.evaluation + self.end

    def updates_within(self, seconds: float) -> int:
        """The most updates that a run can have in a time, from start to end; 0 where there is no time for one."""
        if self.seconds(1) > seconds:
            return 0
        low, high = 1, min(int(seconds / self.update) + 2, MOST_STEPS // self.accumulation)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.seconds(middle) <= seconds else (low, middle)
        return low
