"""Why words become [UNK]: they are too long, or the vocabulary lacks their characters or pieces."""

from collections import Counter
from dataclasses import asdict, dataclass

from tokenizers import Tokenizer

from textclf_jax.tokenizer.normalization import without_marks
from textclf_jax.tokenizer.vocabulary import CONTINUES, LONGEST_WORD_LENGTH, SPECIAL_TOKENS

SHOWN_CHARACTERS = 8


@dataclass(frozen=True)
class UnknownWords:
    """The words of some texts that are [UNK], by their cause.

    Attributes:
      words: their number.
      characters: the number of characters in them.
      too_long: how many of the words have more than `max_word_length` characters.
      longest: characters of the longest of those; 0 without any.
      max_word_length: the limit of the vocabulary.
      written: how many stand in the texts as "[UNK]".
      lacking_characters: how many have a character that no piece of the vocabulary has.
      missing: some of these characters, the most frequent first.
      other_case: how many would be known in lower case, or with their capitals if the normalizer removes those.
      other_accents: the same, of accents.
    """

    words: int = 0
    characters: int = 0
    too_long: int = 0
    longest: int = 0
    max_word_length: int = 0
    written: int = 0
    lacking_characters: int = 0
    missing: str = ""
    other_case: int = 0
    other_accents: int = 0

    def causes(self) -> str:
        """Says why the words are [UNK], the most frequent cause first; "" without any."""
        shown = ", ".join(f"{c!r} U+{ord(c):04X}" for c in self.missing)
        found = {
            f"of more than {self.max_word_length:,} characters (the longest has {self.longest:,})": self.too_long,
            f"with characters that the vocabulary lacks ({shown})": self.lacking_characters,
            "that the vocabulary has in another case": self.other_case,
            "that the vocabulary has with other accents": self.other_accents,
            'written as "[UNK]"': self.written,
        }
        found["with parts that the vocabulary lacks"] = self.words - sum(found.values())
        counted = [(count, what) for what, count in found.items() if count]
        return ", ".join(f"{_words(count)} {what}" for count, what in sorted(counted, key=lambda pair: -pair[0]))

    def __add__(self, other: "UnknownWords") -> "UnknownWords":
        """The words of both, of which `self` names the missing characters if it has any."""
        largest = ("longest", "max_word_length")
        mine, theirs = asdict(self), asdict(other)
        both = {
            name: max(mine[name], theirs[name]) if name in largest else mine[name] + theirs[name]
            for name in mine
            if name != "missing"
        }
        return UnknownWords(**both, missing=self.missing or other.missing)


def explain_unknown(tokenizer: Tokenizer, words: Counter[str]) -> UnknownWords:
    """Finds the causes why `words`, with their numbers, are [UNK]."""
    limit = tokenizer.model.max_input_chars_per_word
    alphabet = set().union(*(piece.removeprefix(CONTINUES) for piece in tokenizer.get_vocab(with_added_tokens=False)))
    too_long = longest = written = lacking = other_case = other_accents = 0
    missing: Counter[str] = Counter()
    for word, number in words.items():
        normal = word if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(word).strip()
        if word in SPECIAL_TOKENS:
            written += number
        elif len(normal) > limit:
            too_long += number
            longest = max(longest, len(normal))
        elif _is_known(tokenizer, {word, word.lower()} - {normal}):
            other_case += number
        elif _is_known(tokenizer, {without_marks(word), without_marks(word.lower())} - {normal}):
            other_accents += number
        elif absent := set(normal) - alphabet:
            lacking += number
            missing.update(dict.fromkeys(absent, number))
    ranked = sorted(missing, key=lambda character: (-missing[character], character))
    return UnknownWords(
        words=words.total(),
        characters=sum(len(word) * number for word, number in words.items()),
        too_long=too_long,
        longest=longest,
        max_word_length=limit,
        written=written,
        lacking_characters=lacking,
        missing="".join(ranked[:SHOWN_CHARACTERS]),
        other_case=other_case,
        other_accents=other_accents,
    )


def _words(count: int) -> str:
    return f"{count:,} word{'s' * (count != 1)}"


def _is_known(tokenizer: Tokenizer, variants: set[str]) -> bool:
    """Whether the vocabulary has pieces for one of `variants`, which are not normalised."""
    return any(all(token.value != "[UNK]" for token in tokenizer.model.tokenize(word)) for word in variants if word)


def allow_longer_words(longest: int) -> str:
    """Tells how to keep words of `longest` characters from being [UNK]."""
    flag = f", or train the vocabulary with --max-word-length {longest}" * (longest <= LONGEST_WORD_LENGTH)
    return f"divide them by spaces{flag}"
