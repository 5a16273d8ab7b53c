"""Guesses which columns of a table hold the texts and the labels, by their content and their names."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from textclf_jax.class_names import is_number, same_name
from textclf_jax.errors import UserError, listed, shortened
from textclf_jax.prepare.label_columns import MIN_ROWS, NAMES, OTHERS, words_of
from textclf_jax.prepare.labels import mostly_decimals
from textclf_jax.prepare.texts import DEFAULT_LABEL_COLUMN, DEFAULT_TEXT_COLUMN

TEXT_NAMES = {
    *("text", "texts", "sentence", "sentences", "review", "comment", "comments", "message", "tweet", "post", "body"),
    *("content", "document", "description", "abstract", "article", "question", "utterance", "headline", "title"),
    *("feedback", "answer", "response", "email", "sms", "quote", "passage", "story", "summary", "transcript"),
}
SAMPLE = 1000  # cells whose words are counted
WORDS, CHARACTERS = 3, 12  # a cell on average, of texts; characters where words have no spaces
LETTERS = 0.5  # of the characters of texts: dates, addresses of pages and numbers have fewer
REPEATED = 5  # rows of a class on average
MOST_CLASSES, LONGEST_CLASS = 200, 60
LONGER = 4  # times as many characters as the next column: texts beside titles
SHOWN = 5


@dataclass(frozen=True)
class Column:
    """What stands in a column.

    Attributes:
      name: as the header has it.
      cells: of all rows, stripped.
      values: the different ones that are not empty.
      filled: the number of cells that are not empty.
      words, characters: of a cell that is not empty, on average.
      letters: their share of the characters.
      is_ascii: whether most letters are ASCII, as where words have spaces between them.
    """

    name: str
    cells: list[str]
    values: frozenset[str]
    filled: int
    words: float
    characters: float
    letters: float
    is_ascii: bool

    @property
    def is_text(self) -> bool:
        """Whether the cells look like sentences, most of them different."""
        has_words = self.words >= WORDS or (not self.is_ascii and self.characters >= CHARACTERS)
        return has_words and self.letters >= LETTERS and not self.is_repeated

    @property
    def is_repeated(self) -> bool:
        """Whether the values recur, as classes do."""
        return self.filled >= MIN_ROWS and REPEATED * len(self.values) <= self.filled

    @property
    def can_be_classes(self) -> bool:
        """Whether there are several values, and at least two rows for each on average."""
        few = 2 <= len(self.values) <= max(self.filled // 2, 2) and self.filled > 2
        return few and self.characters <= LONGEST_CLASS and not mostly_decimals(self.values)

    @property
    def shown(self) -> str:
        """Its name and how its cells look."""
        return f"{self.name!r} ({self.words:.0f} words, {len(self.values):,} different values)"


def describe_columns(names: Sequence[str], records: Sequence[Sequence[str]]) -> list[Column]:
    """Describes the columns of a table; `records` are the fields of each row."""
    return [_describe(name, [fields[i].strip() for fields in records]) for i, name in enumerate(names)]


def _describe(name: str, cells: list[str]) -> Column:
    filled = [cell for cell in cells if cell]
    sample = filled[:: max(len(filled) // SAMPLE, 1)]
    letters = [character for cell in sample for character in cell[:SAMPLE] if character.isalpha()]
    characters = sum(len(cell[:SAMPLE]) for cell in sample)
    spaces = sum(cell[:SAMPLE].count(" ") for cell in sample)
    return Column(
        name=name,
        cells=cells,
        values=frozenset(filled),
        filled=len(filled),
        words=fmean(len(cell.split()) for cell in sample) if sample else 0.0,
        characters=fmean(map(len, sample)) if sample else 0.0,
        letters=len(letters) / max(characters - spaces, 1),
        is_ascii=2 * sum(map(str.isascii, letters)) >= len(letters),
    )


# --- texts ----------------------------------------------------------------------------------------------------


def choose_text_column(path: Path, columns: Sequence[Column], label: str | None) -> tuple[Column, str]:
    """Chooses the column of the texts; returns it and why.

    Args:
      path: for messages.
      columns: of the table.
      label: the column of labels, where it is given: it is none of texts.

    Raises:
      UserError: several columns may be meant, or none looks like texts.
    """
    candidates = [each for each in columns if label is None or same_name(each.name) != same_name(label)]
    if len(candidates) == 1:
        return candidates[0], "the only one" if len(columns) == 1 else "the only one beside the labels"
    texts = [each for each in candidates if each.is_text]
    if named := [each for each in candidates if same_name(each.name) == DEFAULT_TEXT_COLUMN and _can_be_texts(each)]:
        return named[0], "which is called so"
    if not texts:
        return _only_varied(path, candidates), "the only one with mostly different values that are no numbers"
    if len(texts) == 1:
        return texts[0], f"the only one of sentences ({texts[0].words:.0f} words on average)"
    longest, second = sorted(texts, key=lambda each: -each.characters)[:2]
    dominates = longest.characters >= LONGER * second.characters
    called = [each for each in texts if words_of(each.name) & TEXT_NAMES]
    others = ", ".join(repr(each.name) for each in texts[:SHOWN] if each is not longest)
    if dominates and (longest in called or not called):
        return longest, f"by far the longest ({longest.words:.0f} words on average); --text-column chooses {others}"
    if len(called) == 1 and not dominates:
        others = ", ".join(repr(each.name) for each in texts[:SHOWN] if each is not called[0])
        return called[0], f"by its name; --text-column chooses {others}"
    raise _ambiguous(path, "texts", "--text-column", texts)


def _can_be_texts(column: Column) -> bool:
    """Whether a column that is called so may hold texts: not where all are numbers."""
    return not all(map(is_number, column.values))


def _only_varied(path: Path, columns: Sequence[Column]) -> Column:
    """The only column whose values are mostly different and no numbers, as where single words are classified."""
    varied = [each for each in columns if 2 * len(each.values) > each.filled > 0 and _can_be_texts(each)]
    if len(varied) > 1 and (called := [each for each in varied if words_of(each.name) & TEXT_NAMES]):
        varied = called
    if len(varied) == 1:
        return varied[0]
    if varied:
        raise _ambiguous(path, "texts", "--text-column", varied)
    raise UserError(
        f"{path}: no column looks like texts, among {_listed(columns)}. Name one: {_flags('--text-column', columns)}"
    )


# --- labels ---------------------------------------------------------------------------------------------------


def choose_label_column(path: Path, columns: Sequence[Column], text: Column) -> tuple[Column | None, str]:
    """Chooses the column of the labels, None where no column looks like labels; returns it and why.

    Raises:
      UserError: several columns may be meant.
    """
    others = [each for each in columns if each is not text]
    if called := [each for each in others if same_name(each.name) == DEFAULT_LABEL_COLUMN]:
        return called[0], f"which is called so ({len(called[0].values):,} different values)"
    fitting = [each for each in others if each.can_be_classes]
    if named := [each for each in fitting if words_of(each.name) & NAMES]:
        return _only_classes(path, named), "by its name"
    few = [each for each in fitting if each.is_repeated and not words_of(each.name) & OTHERS]
    few = [each for each in few if len(each.values) <= MOST_CLASSES]
    if len(columns) == 2 and not few:
        few = fitting
    if not few:
        return None, "for no other column has a few values that recur (--label-column names one)"
    chosen = _only_classes(path, few)
    return chosen, f"the only one whose values recur ({len(chosen.values):,} different ones)"


def _only_classes(path: Path, columns: Sequence[Column]) -> Column:
    """The only column; of several that say the same, the first with names instead of numbers."""
    pairs = {tuple(cells) for cells in zip(*(each.cells for each in columns), strict=True)}
    if len(columns) == 1 or all(len(pairs) == len(set(each.cells)) for each in columns):
        return next((each for each in columns if not all(map(is_number, each.values))), columns[0])
    raise _ambiguous(path, "labels", "--label-column", columns)


# --- messages -------------------------------------------------------------------------------------------------


def _ambiguous(path: Path, what: str, flag: str, columns: Sequence[Column]) -> UserError:
    return UserError(
        f"{path}: {len(columns)} columns may hold the {what}: {_listed(columns)}. Say which: {_flags(flag, columns)}"
    )


def _listed(columns: Sequence[Column]) -> str:
    return listed([each.shown for each in columns], 2 * SHOWN, whole=True)


def _flags(flag: str, columns: Sequence[Column]) -> str:
    return " or ".join(f"{flag} {shlex.quote(each.name)}" for each in columns[:SHOWN])


def refuse_a_row(path: Path, columns: Sequence[Column], text: Column, label: Column) -> None:
    """Raises UserError where the first line of a table seems to be a row, not names: its label recurs below."""
    names = [each.name for each in columns]
    if names == [str(i) for i in range(len(names))]:  # pandas numbers columns without a name
        return
    # below a repeated header stands each name, not the label's alone
    again = sum(cells == tuple(names) for cells in zip(*(each.cells for each in columns), strict=True))
    recurring = sum(same_name(cell) == same_name(label.name) for cell in label.cells) - again
    if not recurring:
        return
    roles = {text.name: "text", label.name: "label"}
    header = ",".join(roles.get(name, f"column{i}") for i, name in enumerate(names, start=1))
    raise UserError(
        f"{path}: the first line seems to be a row, not names of columns: {shortened(label.name)!r} stands in "
        f"{recurring:,} rows below it, too. Put a line of names before it, such as {header}; or, if these are names, "
        f"pass --text-column {shlex.quote(text.name)} --label-column {shlex.quote(label.name)}"
    )
