"""What is wrong with some data, how serious that is, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from textclf_jax.check.checking import SHOWN_PLACES, Facts
from textclf_jax.check.classes import ClassFacts
from textclf_jax.check.repeats import Pair
from textclf_jax.errors import listed, one_line
from textclf_jax.prepare.rare_classes import MERGED

Severity = Literal["serious", "warning", "note"]
ORDER: tuple[Severity, ...] = ("serious", "warning", "note")
MANY = 0.01  # of the rows: from here on, what flatters or blurs a score is serious
SHOWN_CHARACTERS = 60
USUAL_LENGTH = 512
UNBALANCED = 0.9


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth knowing.

    Attributes:
      severity: serious: results would be wrong, or preparing is refused; warning: look at it; note: worth knowing.
      what: is found, as a sentence.
      remedy: what to do, as a sentence.
      rows: that it concerns, to order findings by.
    """

    severity: Severity
    what: str
    remedy: str
    rows: int = 0


class Remedies(NamedTuple):
    """What to do about faults, where that depends on the command that follows.

    Attributes:
      empty: labelled rows without text, and how serious these are.
      unlabelled: rows without a label.
      across, within: texts that are in several splits, and several times in one.
      contradicted: texts with several labels.
      suspects: labels that are likely wrong.
      long: long texts; may hold `{length}`, what would read most of them.
      alike: labels that may be meant as one class.
    """

    empty: tuple[Severity, str]
    unlabelled: str
    across: str
    within: str
    contradicted: str
    suspects: str
    long: str
    alike: str


BEFORE_PREPARING = Remedies(
    empty=("serious", "Fill them in, or leave them out: textclf prepare --skip-empty."),
    unlabelled="Label them, or say what they are for: textclf prepare --unlabelled-rows mlm (pretraining) or drop.",
    across="textclf prepare --deduplicate drops equal ones; delete nearly equal ones from the files.",
    within="They count as often as they occur; --deduplicate drops equal ones.",
    contradicted="Decide on one label for each; if a text can have several, see --label-separator.",
    suspects="Go through them from the top, in suspects.csv of --out FOLDER: the model errs, too.",
    long="To lose 5% or less takes {length}; or let the linear path alone read on, with --cls-max-length.",
    alike="Write them alike in the file, if they are one class.",
)


def find_faults(facts: Facts, remedies: Remedies = BEFORE_PREPARING) -> list[Finding]:
    """Says what the facts mean, the most serious first."""
    found = [*_rows(facts, remedies), *_repeats(facts, remedies), *_suspects(facts, remedies)]
    found += [*_giveaways(facts), *_leaks(facts), *_texts(facts, remedies)]
    found += _no_labels() if facts.classes is None else _classes(facts, facts.classes, remedies)
    return sorted(found, key=lambda each: (ORDER.index(each.severity), -each.rows))


def _places(places: list[str]) -> str:
    return listed(places, SHOWN_PLACES, whole=True)


def _by_share(rows: int, total: int) -> Severity:
    return "serious" if rows > MANY * total else "warning"


# --- rows -----------------------------------------------------------------------------------------------------


def _rows(facts: Facts, remedies: Remedies) -> Iterator[Finding]:
    if places := facts.empty_labelled:
        severity, remedy = remedies.empty
        what = f"Labelled rows without visible text: {len(places):,} ({_places(places)})."
        yield Finding(severity, what, remedy, len(places))
    if count := facts.empty - len(facts.empty_labelled):
        yield Finding("note", f"Rows without text and label: {count:,}.", "They are left out by themselves.", count)
    if facts.unlabelled and facts.classes is not None:
        yield Finding(
            "warning",
            f"Rows with text, but without a label: {facts.unlabelled:,} ({_places(facts.unlabelled_places)}).",
            remedies.unlabelled,
            facts.unlabelled,
        )
    if places := facts.data.repeated_headers:
        yield Finding(
            "serious",
            f"Rows that repeat the names of the columns: {len(places):,} ({_places(places)}).",
            "Delete them: they come from joining files with a header each.",
            len(places),
        )


def _no_labels() -> Iterator[Finding]:
    yield Finding(
        "warning",
        "There are no labels: the texts alone were checked.",
        "Name their column with --label-column, if there is one.",
    )


# --- classes --------------------------------------------------------------------------------------------------


def _classes(facts: Facts, classes: ClassFacts, remedies: Remedies) -> Iterator[Finding]:
    total = len(facts.data.rows)
    if classes.no_classes:
        yield Finding("serious", classes.no_classes, "Until then, nothing else about the labels was checked.", total)
        return
    if len(classes.counts) < 2:
        name = next(iter(classes.counts))
        what = f"All labels are {name!r}: classification needs two classes."
        yield Finding("serious", what, "Name the column of the classes with --label-column.", total)
        return
    for group in classes.alike:
        what = f"Labels that differ only by case, width, spaces or the like: {group}."
        yield Finding("serious", what, remedies.alike, total)
    if rare := classes.rare:
        yield _rare(facts, classes, rare)
    if missing := classes.untrained:
        rows = sum(classes.counts[name] for name in missing)
        what = f"Classes that the training rows lack: {listed(missing)} ({rows:,} rows)."
        yield Finding("serious", what, "No model can learn them: add rows to --train, or leave theirs out.", rows)
    for remark in classes.remarks:
        yield Finding("warning", remark, "Is this the column of the classes? Name another with --label-column.")
    name, count = next(iter(classes.counts.items()))
    share = count / sum(classes.counts.values())
    if share >= UNBALANCED and not classes.is_multi_label:
        what = f"{share:.0%} of the rows have the label {name!r}: always saying so has that accuracy."
        yield Finding("warning", what, "Judge models by macro-F1, or by the rare classes alone.", total - count)


def _rare(facts: Facts, classes: ClassFacts, rare: dict[str, int]) -> Finding:
    rows, shown = sum(rare.values()), listed([f"{name} ({count})" for name, count in rare.items()])
    what = f"{len(rare):,} of {len(classes.counts):,} classes have fewer rows than the 3 splits: {shown}."
    if facts.treated:
        return Finding("note", what, f"As --rare-classes says: {facts.treated}.", rows)
    merged = rows + classes.counts.get(MERGED, 0) * (MERGED not in rare)
    merge = f"merge makes them one class {MERGED!r} of {merged:,} rows" + ", which is too few" * (merged < 3)
    return Finding(
        "serious",
        what,
        f"Find more rows, or pass --rare-classes: drop leaves {rows:,} rows out; {merge}; keep leaves some splits "
        "without them.",
        rows,
    )


# --- repeated texts -------------------------------------------------------------------------------------------


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {where}" for where, count in counts.items())


def _repeats(facts: Facts, remedies: Remedies) -> Iterator[Finding]:
    repeats, total = facts.repeats, len(facts.data.rows)
    held_out = sum(split != "train" for split in facts.data.splits)
    across = [{w: n for w, n in counts.items() if " in " in w} for counts in (repeats.exact, repeats.near)]
    if rows := repeats.across:
        kinds = [f"{k}: {_counted(c)}" for k, c in zip(("equal", "nearly equal"), across, strict=True) if c]
        drawn = " in the split that textclf prepare draws" * facts.data.is_drawn
        yield Finding(
            _by_share(rows, held_out),
            f"Texts that are in several splits{drawn} ({'; '.join(kinds)}): they flatter the scores."
            + _example(repeats.examples["near"] if across[1] else []),
            remedies.across,
            rows,
        )
    if rows := repeats.within:
        within = [{w: n for w, n in counts.items() if " in " not in w} for counts in (repeats.exact, repeats.near)]
        kinds = [f"{k}: {_counted(c)}" for k, c in zip(("equal", "nearly equal"), within, strict=True) if c]
        severity: Severity = "warning" if rows > MANY * total else "note"
        what = f"Rows that repeat a text of their own split ({'; '.join(kinds)})."
        yield Finding(severity, what, remedies.within, rows)
    if count := repeats.contradicted:
        what = f"Texts that occur with several labels: {count:,}.{_example(repeats.examples['contradicted'])}"
        yield Finding(_by_share(count, total), what, remedies.contradicted, count)
    if count := repeats.near_contradicted:
        shown = _example(repeats.examples["near_contradicted"])
        what = f"Nearly equal texts that have different labels: {count:,} sets.{shown}"
        yield Finding("warning", what, "Look whether the difference in the texts explains the labels.", count)


def _example(pairs: list[Pair]) -> str:
    if not pairs:
        return ""
    pair = pairs[0]
    texts = f"{one_line(pair.text, SHOWN_CHARACTERS)!r} ({pair.label or 'no label'}, {pair.place})"
    other = f"({pair.other_label or 'no label'}, {pair.other_place})"
    if pair.other_text != pair.text:
        other = f"{one_line(pair.other_text, SHOWN_CHARACTERS)!r} {other}"
    return f" For example {texts} and {other}."


# --- labels ---------------------------------------------------------------------------------------------------


def _suspects(facts: Facts, remedies: Remedies) -> Iterator[Finding]:
    suspects = facts.suspects
    if suspects is None:
        return
    model = f"TF-IDF with logistic regression, cross-validated, has an accuracy of {suspects.accuracy:.1%}"
    if not suspects.knows_enough:
        what = f"{model}, the largest class alone {suspects.majority:.1%}: words hardly tell the labels."
        yield Finding("warning", what, "Are texts and labels of one row those that belong together?", suspects.judged)
        return
    if count := len(suspects.rows):
        i = suspects.rows[0]
        row = facts.data.rows[i]
        what = (
            f"Labels that a simple model firmly contradicts: {count:,} of {suspects.judged:,} rows ({model}). The "
            f"worst is {row.place}, {row.label!r}, where it says {suspects.suggested[0]!r}: "
            f"{one_line(row.text, SHOWN_CHARACTERS)!r}."
        )
        yield Finding("warning", what, remedies.suspects, count)


def _giveaways(facts: Facts) -> Iterator[Finding]:
    for each in facts.giveaways:
        if not each.tells:
            continue
        named = each.name if each.is_of_text else f"the column {each.name!r}"
        what = f"{named} tells the label of {each.accuracy:.1%} of the rows (the largest class: {each.majority:.1%})."
        what = what[0].upper() + what[1:]
        if each.is_of_text:
            remedy = "Is the label written into the texts? Remove it: a model would read nothing else."
            yield Finding("serious", what, remedy, len(facts.data.rows))
        else:
            remedy = "It is not read by the model; leave it out of the texts."
            yield Finding("note", what, remedy)


# --- groups and times -----------------------------------------------------------------------------------------


def _leaks(facts: Facts) -> Iterator[Finding]:
    drawn = facts.data.is_drawn
    if (groups := facts.groups) is not None and groups.shared:
        what = (
            f"Of {groups.groups:,} groups in {groups.column!r}, {len(groups.shared):,} are in several splits"
            f"{' of a split that does not know them' * drawn} ({listed(groups.shared, 3)}): "
            f"{groups.leaked_rows:,} rows of validation and test have theirs in training."
        )
        remedy = "Split by groups: textclf run --group-column." if drawn else "Move each group into one of the files."
        yield Finding("warning" if drawn else "serious", what, remedy, groups.leaked_rows)
    if groups is not None and groups.without:
        what = f"Rows without a group in {groups.column!r}: {groups.without:,}."
        yield Finding("note", what, "Each counts as a group of its own.", groups.without)
    if (times := facts.times) is not None and times.later_rows:
        what = (
            f"{times.later_rows:,} rows of training and validation are later than the first row of the test"
            f"{' in a split that does not know times' * drawn} ({times.column!r}, {times.first} to {times.last})."
        )
        remedy = "Split by time: textclf run --time-column." if drawn else "Take the latest rows for the test."
        yield Finding("warning" if drawn else "serious", what, remedy, times.later_rows)


# --- texts ----------------------------------------------------------------------------------------------------


def _texts(facts: Facts, remedies: Remedies) -> Iterator[Finding]:
    lengths, characters, total = facts.lengths, facts.characters, len(facts.data.rows)
    if (lost := lengths.lost_tokens[USUAL_LENGTH]) > 0.05:
        holding = lengths.holding
        length = "longer rows than 4,096" if holding is None else f"--max-length {holding}"
        what = (
            f"Long texts: rows of {USUAL_LENGTH} tokens cut {lengths.cut_texts[USUAL_LENGTH]:.0%} of them and lose "
            f"{lost:.0%} of the tokens (estimated by {lengths.estimate})."
        )
        yield Finding(
            "warning", what, remedies.long.format(length=length), int(lengths.cut_texts[USUAL_LENGTH] * total)
        )
    if count := characters.mojibake:
        yield Finding(
            _by_share(count, total),
            f"Texts with traces of a wrong encoding, such as Ã©: {count:,} ({_places(characters.mojibake_places)}).",
            "They were damaged before they came into this file: export them again, as UTF-8.",
            count,
        )
    if count := characters.other_script:
        main = next(iter(characters.scripts))
        what = f"Texts mostly in another script than {main}: {count:,} ({_places(characters.other_script_places)})."
        yield Finding("note", what, "Are they meant to be there? A vocabulary needs enough text of each script.", count)
