"""Names of columns that hold labels, and the columns that look like labels where none was named."""

import re

NAMES = {
    *("label", "labels", "class", "classes", "category", "categories", "target", "targets", "topic", "topics", "y"),
    *("intent", "sentiment", "emotion", "polarity", "genre", "spam", "toxic", "toxicity", "stars", "rating", "score"),
}
# they have few distinct values as well, but are seldom what texts are to be classified by
OTHERS = {
    *("id", "ids", "index", "row", "split", "fold", "lang", "language", "locale", "country", "source", "author"),
    *("user", "name", "date", "year", "month", "day", "time", "url", "file", "filename", "path", "version", "license"),
}
MIN_ROWS, MAX_VALUES, MAX_CHARACTERS = 20, 20, 40


class Columns:
    """The values of the columns beside the texts.

    Args:
      names: of all columns.
      text_at: which is the texts'.
    """

    def __init__(self, names: list[str], text_at: int):
        self._names, self._text_at, self._rows = names, text_at, 0
        # a column of many or long values is looked at no longer
        self._values: dict[int, set[str]] = {i: set() for i in range(len(names)) if i != text_at}

    def add(self, fields: list[str]) -> None:
        """Looks at a record."""
        self._rows += 1
        for i, values in list(self._values.items()):
            values.add(fields[i].strip())
            if len(values) > MAX_VALUES or len(fields[i]) > MAX_CHARACTERS:
                del self._values[i]

    def like_labels(self) -> list[str]:
        """Names of the columns that are called like labels; if there are none, of those with few, repeated values."""
        named = [name for i, name in enumerate(self._names) if i != self._text_at and words_of(name) & NAMES]
        if named or self._rows < MIN_ROWS:
            return named
        few = {i: values for i, values in self._values.items() if 2 <= len(values - {""}) <= self._rows // 5}
        return [self._names[i] for i in few if not words_of(self._names[i]) & OTHERS]


def words_of(name: str) -> set[str]:
    """The words of a column's name: of class_name and ClassName "class" and "name"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return set(re.split(r"[\W_\d]+", apart.casefold()))
