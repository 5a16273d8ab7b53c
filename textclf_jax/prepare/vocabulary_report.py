"""How a vocabulary fits the texts: characters that are lost, words that are [UNK], why, and what helps."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.tokenizer.normalization import has_marks
from textclf_jax.tokenizer.unknown import UnknownWords, allow_longer_words
from textclf_jax.tokenizer.vocabulary import LONGEST_WORD_LENGTH, MAX_WORD_LENGTH
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

NOTED_RATE, WARNED_RATE, REFUSED_RATE = 0.01, 0.05, 0.5  # [UNK] among the tokens of a split
NOTED_REMOVED_RATE = 0.01  # of all characters
MINOR_CAUSE = 0.1  # of the unknown words: causes of fewer are not named
SHOWN_REMOVED = 4


@dataclass(frozen=True)
class VocabularyReport:
    """What the vocabulary leaves out of the texts.

    Attributes:
      is_trained: whether it was trained on these texts.
      lowercase, strip_accents: as training was asked to; None where it was not trained here.
      limit_alphabet: the largest number of characters that training was allowed; None: no limit.
      size: V.
      fingerprint: of the vocabulary.
      is_full: whether training ended because there was no room for further pieces.
      num_single: pieces of one character.
      num_left_out: characters of the training texts that the vocabulary had no room for.
      left_out_rate: their share of the training texts' characters.
      room_for_all: pieces that special tokens and all characters would take.
      num_characters: of the texts of all splits, spaces included.
      num_removed: how many of them the normalisation removes, or takes a mark from.
      removed: the most frequent of those.
    """

    is_trained: bool = True
    lowercase: bool | None = None
    strip_accents: bool | None = None
    limit_alphabet: int | None = None
    size: int = 0
    fingerprint: str = ""
    is_full: bool = False
    num_single: int = 0
    num_left_out: int = 0
    left_out_rate: float = 0.0
    room_for_all: int = 0
    num_characters: int = 0
    num_removed: int = 0
    removed: str = ""

    def notes(self) -> Iterator[str]:
        """Yields a sentence for each kind of characters that is lost."""
        if self.num_left_out:
            yield (
                f"{self.num_left_out:,} characters ({self.left_out_rate:.2%} of the training texts) are not in the "
                f"vocabulary: words with them are [UNK]. All fit with {self.more_characters}."
            )
        if self.is_full and self.num_single > self.size // 2:
            yield (
                f"Single characters take {self.num_single:,} of the {self.size:,} pieces: longer ones are few. Give "
                f"more with {self.more_characters}, or leave out rare characters with --limit-alphabet."
            )
        if self.num_removed > NOTED_REMOVED_RATE * self.num_characters:
            names = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '(no name)')}" for c in self.removed)
            yield (
                f"The normalisation removes {self.num_removed:,} characters or accents, "
                f"{self.num_removed / self.num_characters:.1%} of all, the most frequent: {names}."
                + (f" {self._keep_marks}" if has_marks(self.removed) else "")
            )

    @property
    def more_characters(self) -> str:
        """The flags with which all characters are in the vocabulary."""
        limit = "" if self.limit_alphabet is None else " without --limit-alphabet"
        return f"--vocab-size {2 * self.room_for_all}{limit}"

    @property
    def _keep_marks(self) -> str:
        return "Keep accents: leave out " + ("--strip-accents." if self.is_trained else "--vocab, to train one.")

    def causes(self, unknown: UnknownWords) -> str:
        """Says why words are [UNK], the most frequent cause first, and what helps."""
        rest = unknown.words - unknown.too_long - unknown.written - unknown.lacking_characters
        rest -= unknown.other_case + unknown.other_accents
        shown = ", ".join(f"{c!r} U+{ord(c):04X}" for c in unknown.missing)
        if self.is_trained:
            more_text = "Remedy: add text like this to the training texts (--extra-text)."
            no_room = f"Remedy: {self.more_characters}, or if the training texts lack them, more text (--extra-text)."
            lacking = no_room if self.num_left_out else more_text
            as_case = more_text if self.lowercase else "Remedy: leave out --no-lowercase."
            as_accents = more_text if self.strip_accents else "Remedy: --strip-accents."
        else:
            more_text = lacking = as_case = as_accents = "Remedy: leave out --vocab, to train one on these texts."
        found = [
            (unknown.too_long, _too_long(unknown)),
            (unknown.lacking_characters, f"with characters that the vocabulary lacks are [UNK] ({shown}). {lacking}"),
            (unknown.other_case, f"that the vocabulary has in another case are [UNK]. {as_case}"),
            (unknown.other_accents, f"that the vocabulary has with other accents are [UNK]. {as_accents}"),
            (unknown.written, "are [UNK] in the texts themselves."),
            (rest, f"with parts that the vocabulary lacks are [UNK]. {more_text}"),
        ]
        found = [(number, cause) for number, cause in found if number > MINOR_CAUSE * unknown.words]
        return " ".join(f"{number:,} words {cause}" for number, cause in sorted(found, key=lambda pair: -pair[0]))


def _too_long(unknown: UnknownWords) -> str:
    return (
        f"of more than {unknown.max_word_length} characters are [UNK] (the longest has {unknown.longest:,}). "
        f"Remedy: {allow_longer_words(unknown.longest)}."
    )


def word_length_for(texts: Iterable[str]) -> int | None:
    """The `max_word_length` with which long words, where there are many, are not [UNK]; None: the usual one will do."""
    characters, of_long, longest = 0, 0, 0
    for text in texts:
        characters += len(text)
        if len(text) > MAX_WORD_LENGTH:
            long = [len(word) for word in text.split() if len(word) > MAX_WORD_LENGTH]
            of_long, longest = of_long + sum(long), max(longest, *long, 0)
    return min(longest, LONGEST_WORD_LENGTH) if of_long > NOTED_RATE * characters else None


def describe_vocabulary(
    tokenizer: WordPieceTokenizerWrapper, texts: Sequence[str], options: PrepareOptions
) -> VocabularyReport:
    """Finds what the vocabulary leaves out of the `texts` of all splits."""
    removed, trained = tokenizer.removed_characters(texts), tokenizer.trained
    figures = {}
    if trained is not None:
        figures = {
            "lowercase": options.lowers,
            "strip_accents": options.strip_accents,
            "is_full": trained.is_full,
            "num_single": trained.num_characters,
            "num_left_out": trained.num_left_out,
            "left_out_rate": trained.left_out_rate,
            "room_for_all": trained.room_for_all,
        }
    return VocabularyReport(
        is_trained=trained is not None,
        limit_alphabet=options.limit_alphabet,
        size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        **figures,
        num_characters=sum(map(len, texts)),
        num_removed=removed.total(),
        removed="".join(sorted(removed, key=lambda c: (-removed[c], c))[:SHOWN_REMOVED]),
    )


@dataclass(frozen=True)
class UnknownRates:
    """The [UNK] of one split.

    Attributes:
      of_tokens: their share of its tokens.
      of_characters: the share of its characters that they stand for.
      words: their causes.
    """

    of_tokens: float
    of_characters: float
    words: UnknownWords

    def __str__(self) -> str:
        many = f" ({self.of_characters:.1%} of the characters)"
        return f"{self.of_tokens:.1%}" + many * (self.of_characters > max(2 * self.of_tokens, NOTED_RATE))


def refuse_mostly_unknown(name: str, rates: UnknownRates, vocabulary: VocabularyReport) -> None:
    """Raises UserError where more than half of the tokens of the split `name` are [UNK]."""
    if rates.of_tokens > REFUSED_RATE:
        raise UserError(
            f"{rates.of_tokens:.1%} of the tokens of the {name} split are [UNK], so a model would see little of its "
            f"texts. {vocabulary.causes(rates.words)}"
        )


def unknown_advice(splits: Mapping[str, UnknownRates], vocabulary: VocabularyReport, *, warned: bool) -> Iterator[str]:
    """Yields a sentence on the splits with many [UNK]; on those with few, or with words that are too long.

    Args:
      splits: figures by the names of the splits.
      vocabulary: what it leaves out.
      warned: whether to tell of those that deserve a warning, or of the others.
    """
    worst = {name: max(rates.of_tokens, rates.of_characters) for name, rates in splits.items()}
    if warned != any(rate > WARNED_RATE for rate in worst.values()):
        return
    chosen = [name for name, rate in worst.items() if rate > NOTED_RATE]
    if chosen:
        counted = ", ".join(f"{name} {splits[name]}" for name in chosen)
        words = sum((splits[name].words for name in chosen), UnknownWords())
        yield f"[UNK] among the tokens: {counted}. {vocabulary.causes(words)}"
    words = sum((rates.words for rates in splits.values()), UnknownWords())
    if words.too_long and (not chosen or words.too_long <= MINOR_CAUSE * words.words):
        yield f"{words.too_long:,} words {_too_long(words)}"
