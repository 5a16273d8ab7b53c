"""How a run spends its time: all of the budget, and no more."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.verdict.cases import cost
from textclf_jax.errors import UserError
from textclf_jax.training.budget import RunCost
from textclf_jax.verdict.options import parse_budget
from textclf_jax.verdict.plan import (
    FINETUNING_EPOCHS,
    LINEAR_PART,
    PARTS,
    PRETRAINED_PART,
    PRETRAINING_PART,
    SCRATCH_EPOCHS,
    SCRATCH_PART,
    SHARES,
    Plan,
    larger_preset,
    make_plan,
)


def costs(**changes) -> dict[str, RunCost]:
    """By part; those of news: 250 steps an epoch, 0.05 s each."""
    each = cost(update=0.05, evaluation=0.8, steps_per_epoch=250, **changes)
    return dict.fromkeys(PARTS, each)


def plan(budget: float, seeds: int | None = None, of=None, **changes) -> Plan:
    values = {"preset": "bert-tiny", "seeds": seeds, "budget": budget, "before": 60.0, "after": 20.0} | changes
    return make_plan(costs() if of is None else of, **values)


PARTS_OF_A_RUN = st.builds(
    RunCost,
    start=st.floats(0, 30),
    update=st.floats(1e-3, 2),
    evaluation=st.floats(0, 10),
    end=st.floats(0, 20),
    steps_per_epoch=st.integers(1, 3000),
    accumulation=st.just(1),
    evaluation_interval=st.just(0),
)


@given(pretraining=PARTS_OF_A_RUN, finetuning=PARTS_OF_A_RUN, budget=st.floats(60, 20_000), seeds=st.integers(0, 4))
def test_the_budget_is_kept_by_what_was_measured(pretraining, finetuning, budget, seeds):
    """Within an epoch of pretraining and its evaluation: no time is left that would hold more of it."""
    of: dict[str, RunCost] = {**dict.fromkeys(PARTS, finetuning), PRETRAINING_PART: pretraining}
    try:
        made = plan(budget, seeds or None, of)
    except UserError:
        assume(False)
        raise
    assert made.seconds <= budget * (1 + 1e-9)
    if seeds:
        assert made.seeds == seeds
    one_more = pretraining.update + 2 * pretraining.evaluation
    assert budget - made.seconds <= made.seeds * one_more + 1e-6
    for name, part in made.parts.items():
        assert part.seconds == pytest.approx(of[name].seconds(part.updates))
        assert (part.epochs - 1) * of[name].steps_per_epoch < part.updates <= part.epochs * of[name].steps_per_epoch


def test_finetuning_ends_where_it_has_no_more_use():
    made = plan(10_000, 1)
    assert made.parts[PRETRAINED_PART].epochs == made.parts[LINEAR_PART].epochs == FINETUNING_EPOCHS
    assert made.parts[SCRATCH_PART].epochs == SCRATCH_EPOCHS
    few = plan(10_000, 1, dict.fromkeys(PARTS, cost()))  # 4 steps an epoch
    assert (few.parts[LINEAR_PART].updates, few.parts[SCRATCH_PART].updates) == (400, 1000)
    shares = {name: part.seconds / (10_000 - 80) for name, part in plan(1000, 1).parts.items()}
    assert shares[PRETRAINING_PART] > 2 * shares[SCRATCH_PART] > shares[LINEAR_PART]


def test_beginnings_and_ends_leave_finetuning_its_share():
    """Of a short budget they take more than a share: no training is to end with its first update for that."""
    of = costs(start=20.0)
    made = plan(80 + sum(each.seconds(1) for each in of.values()) + 50, 1, of)
    spent = {name: part.updates * of[name].update for name, part in made.parts.items()}
    for name, share in SHARES.items():
        assert 0.5 * share * 50 < spent[name] <= share * 50 + of[name].update
    assert spent[PRETRAINING_PART] > 0.4 * 50


def test_more_time_has_more_seeds_where_each_has_enough():
    assert [plan(seconds).seeds for seconds in (300, 1200, 2000, 4000, 40_000)] == [1, 2, 3, 5, 5]


@pytest.mark.parametrize("seeds", [None, 3])
def test_a_budget_that_is_too_short_is_refused_with_one_that_is_not(seeds):
    with pytest.raises(UserError) as error:
        plan(90, seeds)
    told = str(error.value)
    assert "--budget of 90 s is too short here: 60 s were gone before the first training" in told
    named = re.search(r"--budget (\d+m)", told)
    assert named is not None
    assert plan(parse_budget(named[1]), seeds).seeds >= 1
    assert ("fewer --seeds" in told) == (seeds == 3)


def test_larger_presets_need_time_for_their_updates():
    """At 0.05 s an update of the smallest, 20,000 of bert-mini take 4,000 s, 58% of what is left."""
    assert larger_preset(cost(update=0.05), 1200) == "bert-tiny"
    assert larger_preset(cost(update=0.05), 7200) == "bert-mini"
    assert larger_preset(cost(update=0.002), 1200) == "bert-small"


def test_a_plan_is_kept_as_json():
    made = plan(1200)
    assert Plan.of_json(json.loads(json.dumps(made.as_json()))) == made
    lengths = made.lengths()
    assert lengths[PRETRAINING_PART].max_updates == made.parts[PRETRAINING_PART].updates


def test_what_is_said_of_a_plan():
    rows = plan(1200, of=costs(spread=0.04)).rows()
    assert rows[0] == ("reading, check, vocabulary, baselines, measuring", "", "", "60 s")
    assert rows[-1][2] == "of 20.0 minutes"
    assert len(rows) == 7
    told = plan(110, of=costs(spread=0.04)).remarks()
    assert "varied by 4% from quarter to quarter" in told[0]
    assert "right to about 5%" in told[0]  # no surer than the part that is not timed
    assert "later load on this machine is not foreseen" in told[1]
    assert "updates of pretraining are few" in told[2]
    assert "right to about 9%" in plan(1200, of=costs(spread=0.09)).remarks()[0]


def test_finetuning_that_is_too_short_to_judge_by_is_told():
    found = plan(1200)
    assert "once at most" not in " ".join(found.remarks())
    parts = {name: replace(part, epochs=1) if name == SCRATCH_PART else part for name, part in found.parts.items()}
    assert "note: scratch will see each labelled text once at most" in replace(found, parts=parts).remarks()[-1]


def test_a_speed_that_was_timed_too_shortly_is_not_called_steady():
    told = plan(1200).remarks()
    assert told[0] == "too few steps were timed to tell how sure the time is"
    assert len(told) == 2
    one_known = costs() | {PRETRAINING_PART: cost(spread=0.2)}
    assert plan(1200, of=one_known).spread == 0.2
