"""From files to a verdict: checks and splits texts, plans, trains and tests all methods, and says what won."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from textclf_jax.check.checking import Facts, check_data
from textclf_jax.check.findings import Finding, find_faults
from textclf_jax.check.suspects import write_suspects
from textclf_jax.constants import SUSPECTS_FILE
from textclf_jax.evaluation.baselines import LogProbabilities, tfidf_logistic_regression
from textclf_jax.evaluation.confidence import allowed_mistakes
from textclf_jax.experiments.generate import draft
from textclf_jax.files import json_text, write_whole
from textclf_jax.observe.progress import print_table
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.prepare.texts import ReadOptions
from textclf_jax.runs.lock import RunLock
from textclf_jax.runs.signals import Stopped, StopRequest
from textclf_jax.runtime.device import explained_exhaustion
from textclf_jax.study.design import METHODS, TFIDF
from textclf_jax.study.progress import STUDY_FILE, Progress, read_progress
from textclf_jax.study.results import results_of
from textclf_jax.study.running import PREDICT, Prepare, Study, Train
from textclf_jax.training.budget import RunCost
from textclf_jax.training.speed import PLOTS_SECONDS, Clock, measure_cost
from textclf_jax.verdict.forecast import Forecast, forecast
from textclf_jax.verdict.options import RunOptions, in_time
from textclf_jax.verdict.outcome import conclude, read_outcome, show_outcome, write_outcome, write_report_of
from textclf_jax.verdict.plan import (
    FINETUNING_KEYS,
    LINEAR_PART,
    PRETRAINED_PART,
    PRETRAINING_PART,
    SCRATCH_PART,
    SHARES,
    SMALLEST,
    RunDesign,
    larger_preset,
    make_plan,
)
from textclf_jax.verdict.progress import State, open_state, read_groups
from textclf_jax.verdict.remedies import REMEDIES, WITH_LESS_MEMORY
from textclf_jax.verdict.sizes import choose_sizes
from textclf_jax.verdict.split import (
    EXTRA,
    LABEL_COLUMN,
    TEXT_COLUMN,
    TEXTS_FOLDER,
    Divider,
    groups_of,
    read_extra,
    write_texts,
)
from textclf_jax.verdict.strength import Strength, choose_strength
from textclf_jax.verdict.trainings import LOGS_FOLDER, Trainings

CHECK_FILE, FORECAST_FILE, STRENGTH_FILE = "check.json", "forecast.json", "tfidf.json"
REPORT_SECONDS = 25.0  # of figures, mistakes and intervals, by experience; and the test split is read again

ShowCheck = Callable[[Facts, list[Finding]], None]


class Tools(NamedTuple):
    """What does the work of a run.

    Attributes:
      prepare: makes a dataset.
      train: trains the run in a folder and returns the exit code.
      show_check: prints what a check has found.
      adapt: makes of a sentence with flags of other commands one that is true of this one.
      clock: in seconds.
    """

    prepare: Prepare
    train: Train
    show_check: ShowCheck
    adapt: Callable[[str], str]
    clock: Clock = time.perf_counter


def run(options: RunOptions, tools: Tools, *, began: float | None = None, plan_only: bool = False) -> int:
    """Does what is left to do of a run, and prints its outcome.

    Args:
      options: what to run.
      tools: what does the work.
      began: when the command began, on the clock: importing libraries takes time, too; None: now.
      plan_only: stop when the plan is made.

    Returns:
      The exit code: 0, or 130 or 143 where a signal has stopped it (the same command goes on).

    Raises:
      UserError: a problem the user can solve.
    """
    began = tools.clock() if began is None else began
    stop = StopRequest()
    state = open_state(options)
    if (outcome := read_outcome(options.out)) is not None:
        print(f"{options.out}: this run is finished; nothing is done again", flush=True)
        show_outcome(options.out, outcome)
        return 0
    code = 0
    try:
        with stop, explained_exhaustion(WITH_LESS_MEMORY), RunLock(options.out):
            code = Run(options, state, tools, began - state.spent).go(plan_only=plan_only)
    except Stopped:
        code = stop.exit_code
    finally:
        with suppress(OSError):  # there is something in it, unless the texts were refused
            options.out.rmdir()
    if code:
        print(f"stopped; to go on from here: {options.command}", flush=True)
    return code


@dataclass
class Run:
    """A run at work.

    Attributes:
      options, state, tools: those of `run`.
      began: when the clock would have been started without interruptions.
    """

    options: RunOptions
    state: State
    tools: Tools
    began: float

    def go(self, *, plan_only: bool) -> int:
        """Does what is left to do; returns the exit code."""
        if self.state.sizes is None:
            self.check()
        try:
            study = self.study()
            study.prepare_data()
            study.run_baselines()
            curve = self.forecast(study)
            self.make_plan(study)
            self.show_plan()
            if plan_only:
                print(f"to go on: {self.options.command}", flush=True)
                return 0
            study = self.study()
            print(f"what each training tells is in {self.options.out / LOGS_FOLDER}", flush=True)
            if code := study.run_parts():
                return code
            self.conclude(study, curve)
        finally:
            self.note_time()
        return 0

    def note_time(self) -> None:
        """Keeps how long the work has taken so far."""
        self.state.spent = self.spent
        self.state.save()

    @property
    def spent(self) -> float:
        """Seconds of work so far."""
        return self.tools.clock() - self.began

    # --- data -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Reads, checks and divides the texts, and writes down what was found and which text is where."""
        options, out = self.options, self.options.out
        facts = check_data(options.data, _say_stage, Divider(options))
        extra = read_extra(options, facts.data)
        adapt = self.tools.adapt
        findings = [
            replace(each, what=adapt(each.what), remedy=adapt(each.remedy)) for each in find_faults(facts, REMEDIES)
        ]
        self.tools.show_check(facts, findings)
        if options.max_error is not None:
            rows = [row for row in facts.data.parts()["val"] if row.label is not None]
            allowed_mistakes(len(rows), options.max_error)
        self.note_time()  # from here on, the folder is that of a run
        groups = groups_of(facts.data, facts.repeats.groups, options.data.group_column)
        content = {**facts.as_json(), "findings": [asdict(each) for each in findings]}
        write_whole(out / CHECK_FILE, json_text(content) + "\n")
        write_suspects(out / SUSPECTS_FILE, facts.data.rows, facts.suspects)
        self.state.texts = write_texts(out / TEXTS_FOLDER, facts.data, groups, extra)
        self.state.sizes = choose_sizes([row for row in facts.data.rows if row.label is not None], extra)
        self.note_time()

    def study(self) -> Study:
        """The study of the texts, as far as it has come."""
        state, out = self.state, self.options.out
        path = out / STUDY_FILE
        progress = read_progress(path) if path.exists() else Progress(out, state.arguments, {})
        if state.plan is not None:
            progress.lengths = state.plan.lengths()
        baselines = {**PREDICT, TFIDF: self.tfidf}
        tools, command = self.tools, self.options.command
        train = Trainings(out / LOGS_FOLDER, tools.train, tools.clock, command)
        return Study(self.design(), progress, tools.prepare, train, tools.clock, baselines)

    def design(self) -> RunDesign:
        """What the study compares."""
        options, plan, sizes, texts = self.options, self.state.plan, self.state.sizes, self.state.texts
        assert sizes is not None
        files = {name: (options.out / TEXTS_FOLDER / f"{name}.jsonl",) for name in texts}
        data = PrepareOptions(
            options.out / "data",
            train=files["train"],
            val=files["val"],
            test=files["test"],
            extra_text=files.get(EXTRA, ()),
            read=ReadOptions(TEXT_COLUMN, LABEL_COLUMN),
            task="both",
            vocab_size=sizes.vocab_size,
            max_length=sizes.max_length,
            cls_max_length=sizes.cls_max_length,
            max_word_length=sizes.max_word_length,
            label_names=options.data.label_names,
            accept_labels=True,  # they were looked at before the split
        )
        return RunDesign(
            out=options.out,
            data=data,
            minutes=options.budget / 60,
            seeds=1 if plan is None else plan.seeds,
            methods=METHODS,
            preset=SMALLEST if plan is None else plan.preset,
            finetuning_share=SHARES[PRETRAINED_PART],
            pretraining_keys=(),
            finetuning_keys=FINETUNING_KEYS,
            arguments=self.state.arguments,
            command=options.command,
        )

    def tfidf(self, texts: Sequence[str], labels: Int[np.ndarray, " N"], test_texts: Sequence[str]) -> LogProbabilities:
        """TF-IDF with logistic regression, whose regularisation the training texts choose; keeps which that is."""
        strength = choose_strength(texts, labels, self.groups())
        strength.write(self.options.out / STRENGTH_FILE)
        return tfidf_logistic_regression(texts, labels, test_texts, strength.value)

    def groups(self) -> Int[np.ndarray, " N"]:
        """[N] of the training texts, what belongs together with the same number."""
        groups = read_groups(self.options.out / TEXTS_FOLDER / "train.jsonl")
        return np.unique(groups, return_inverse=True)[1]

    def forecast(self, study: Study) -> Forecast:
        """What more labels would give."""
        path = self.options.out / FORECAST_FILE
        if path.exists():
            return Forecast.of_json(path)
        _say_stage("asking what more labels would give")
        texts = study.read_texts()
        found = forecast([row.text for row in texts.splits["train"]], texts.labels["train"], self.groups())
        write_whole(path, json_text(asdict(found)) + "\n")
        self.note_time()
        return found

    # --- plan -------------------------------------------------------------------------------------------------

    def make_plan(self, study: Study) -> None:
        """Measures how fast trainings are here, and divides the time; keeps the plan."""
        if self.state.plan is not None:
            return
        options, design = self.options, study.design
        parts = {part.name: part for method in METHODS for part in design.parts(method)}
        minutes = max(options.budget - self.spent, 0.0) / 120

        def measured(name: str, preset: str) -> RunCost:
            _say_stage(f"measuring the speed of this machine: {name}, {preset}")
            part = parts[name]
            config = draft(part.kind, data=str(design.data.out), preset=preset, overrides=part.keys)
            return measure_cost(config, Path.cwd(), minutes, self.tools.clock(), self.tools.clock)

        pretraining = measured(PRETRAINING_PART, SMALLEST)
        preset = larger_preset(pretraining, options.budget - self.spent)
        if preset != SMALLEST:
            pretraining = measured(PRETRAINING_PART, preset)
        costs = {PRETRAINING_PART: pretraining}
        costs |= {name: measured(name, preset) for name in (SCRATCH_PART, LINEAR_PART)}
        costs[PRETRAINED_PART] = costs[SCRATCH_PART]  # the same model, but for where its weights are from
        for name in SHARES:  # what they predict for the test split is computed once more, to be kept
            costs[name] = costs[name]._replace(end=2 * costs[name].end - PLOTS_SECONDS)
        after = REPORT_SECONDS + costs[LINEAR_PART].end
        if options.max_error is not None:  # both splits are read again
            after += costs[LINEAR_PART].evaluation + costs[LINEAR_PART].end
        self.state.plan = make_plan(
            costs, preset=preset, seeds=options.seeds, budget=options.budget, before=self.spent, after=after
        )
        self.note_time()

    def show_plan(self) -> None:
        """Prints the plan."""
        plan, sizes = self.state.plan, self.state.sizes
        assert plan is not None
        assert sizes is not None
        seeds = f"{plan.seeds} seed{'s' * (plan.seeds > 1)}"
        print_table(f"\nplan: {plan.preset}, {seeds}", plan.rows(), ("what", "length", "runs", "time"))
        reads = f"the encoder reads {sizes.max_length:,} tokens of a text"
        if sizes.cls_max_length is not None:
            reads += f", the linear path {sizes.cls_max_length:,}"
        print(f"vocabulary of {sizes.vocab_size:,} pieces at most; {reads}")
        for line in plan.remarks():
            print(line, flush=True)

    # --- outcome ----------------------------------------------------------------------------------------------

    def conclude(self, study: Study, curve: Forecast) -> None:
        """Compares the methods, writes the report, and prints what it says."""
        _say_stage("comparing the methods, and writing the report")
        results = results_of(study.design, study.progress, study.predictions)
        strength = Strength.of_json(self.options.out / STRENGTH_FILE)
        outcome = conclude(results, curve, strength, self.options.max_error)
        write_report_of(self.options.out, outcome, self.options.out / CHECK_FILE)
        outcome["seconds"] = self.spent
        write_outcome(self.options.out, outcome)
        show_outcome(self.options.out, outcome)
        print(f"took {in_time(self.spent)} of {in_time(self.options.budget)}", flush=True)


def _say_stage(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
