"""Reproducible training of a WordPiece vocabulary."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.unknown import allow_longer_words
from textclf_jax.tokenizer.vocabulary import CONTINUES, SPECIAL_TOKENS, in_id_order

# where not even the frequent characters fit: those that make up so much of the text are kept, ...
COVERAGE = 0.9995
MIN_COVERAGE = 0.95  # ... and a vocabulary that has room for less than this is refused
LINES_AT_ONCE = 1000

Read = Callable[[], Iterable[str]]


class TrainedVocabulary(NamedTuple):
    """The result of training.

    Attributes:
      tokens: special tokens, sorted characters, sorted `##` characters, merged pieces in the order of merging.
      is_full: whether training ended because there was no room for further pieces.
      num_characters: pieces that are a single character, with or without `##`.
      num_left_out: number of distinct characters of the texts that are not in the alphabet.
      left_out_rate: their share of the texts' characters, spaces aside.
      room_for_all: pieces that special tokens and all characters would take.
    """

    tokens: list[str]
    is_full: bool
    num_characters: int
    num_left_out: int
    left_out_rate: float
    room_for_all: int


def train_vocabulary(
    read: Read,
    normalizer: normalizers.Normalizer,
    vocab_size: int,
    min_frequency: int,
    limit_alphabet: int | None,
    max_word_length: int,
) -> TrainedVocabulary:
    """Trains WordPiece so that the same texts give the same pieces with the same ids.

    The library gives the first `##x` pieces ids in the order of a randomly seeded hash map, and decides between equally
    frequent merges by those ids; at its limit of the alphabet it drops equally frequent characters at random. So a
    first pass without merges finds the characters, and the second one starts from a fixed, sorted list of them.

    Args:
      read: gives all texts, each time it is called.
      normalizer: applied to the texts first.
      vocab_size: V, special tokens included.
      min_frequency: pairs seen less often are never merged.
      limit_alphabet: the largest number of characters; the most frequent stay, of equal ones the lower code points.
        None: all while there is room, see `_choose_alphabet`.
      max_word_length: words of more characters are left out: they become [UNK] in encoding.

    Raises:
      UserError: no text, or vocab_size too small for the characters.
    """
    words = _WordSplitter(normalizer, max_word_length)
    found = words.find_characters(read())
    characters = sorted(piece for piece in found if len(piece) == 1)
    if not characters:
        raise _nothing_to_train_on(read, words)
    cost = {character: 1 + (CONTINUES + character in found) for character in characters}
    room_for_all = len(SPECIAL_TOKENS) + sum(cost.values())
    alphabet, counts = characters, Counter()
    if room_for_all > vocab_size or (limit_alphabet or len(characters)) < len(characters):
        counts = _count_characters(characters, read(), words)
        alphabet = _choose_alphabet(counts, cost, vocab_size, min_frequency, limit_alphabet)
    left_out_rate = _share_without(alphabet, counts)
    if _room(alphabet, cost) > vocab_size or (limit_alphabet is None and left_out_rate > 1 - MIN_COVERAGE):
        raise _too_small(vocab_size, room_for_all if limit_alphabet is None else _room(alphabet, cost))
    ids = words.train(read(), vocab_size, min_frequency, alphabet, cost)
    if limit_alphabet is None and len(alphabet) < len(characters) and len(ids) < vocab_size:
        alphabet = _fill(alphabet, counts, cost, _room(alphabet, cost) + vocab_size - len(ids))
        ids = words.train(read(), vocab_size, min_frequency, alphabet, cost)
    return TrainedVocabulary(
        tokens=in_id_order(ids, "the trained vocabulary"),
        is_full=len(ids) >= vocab_size,
        num_characters=_room(alphabet, cost) - len(SPECIAL_TOKENS),
        num_left_out=len(characters) - len(alphabet),
        left_out_rate=_share_without(alphabet, counts),
        room_for_all=room_for_all,
    )


def _room(alphabet: Iterable[str], cost: dict[str, int]) -> int:
    """The pieces that special tokens and the characters of `alphabet` take."""
    return len(SPECIAL_TOKENS) + sum(cost[character] for character in alphabet)


def _share_without(alphabet: list[str], counts: Counter[str]) -> float:
    """The share of the texts' characters that are not in `alphabet`; 0 where none was counted."""
    return 1 - sum(counts[character] for character in alphabet) / counts.total() if counts else 0.0


def _ranked(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda character: (-counts[character], character))


def _fill(alphabet: list[str], counts: Counter[str], cost: dict[str, int], room: int) -> list[str]:
    """Adds the most frequent of the other characters to `alphabet`, until it takes `room` pieces at most."""
    room -= _room(alphabet, cost)
    chosen = set(alphabet)
    for character in _ranked(counts):
        if character not in chosen and cost[character] <= room:
            chosen.add(character)
            room -= cost[character]
    return sorted(chosen)


def _choose_alphabet(
    counts: Counter[str], cost: dict[str, int], vocab_size: int, min_frequency: int, limit: int | None
) -> list[str]:
    """Chooses the characters of the vocabulary where not all fit, or fewer are wanted; sorted.

    With a `limit`, the most frequent ones. Otherwise those seen min_frequency times, if they fit; if not, those that
    make up COVERAGE of the texts. If half of the vocabulary is still free, more are added until it is filled.

    Args:
      counts: occurrences of every character.
      cost: the pieces that each takes, 1 or 2.
      vocab_size, min_frequency: as for training.
      limit: the largest number of characters, or None.
    """
    ranked = _ranked(counts)
    if limit is not None:
        return sorted(ranked[:limit])
    needed = [character for character in ranked if counts[character] >= min_frequency]
    if _room(needed, cost) > vocab_size:
        covered = np.cumsum([counts[character] for character in ranked]) / counts.total()
        needed = ranked[: int(np.searchsorted(covered, COVERAGE)) + 1]
    needed = _fill([], Counter({character: counts[character] for character in needed}), cost, vocab_size)
    return _fill(needed, counts, cost, vocab_size // 2)


class _WordSplitter:
    """Normalises texts and splits them into words, without those that are too long to be encoded."""

    def __init__(self, normalizer: normalizers.Normalizer, max_word_length: int):
        self.normalizer, self.max_word_length = normalizer, max_word_length
        too_long = Regex(rf"\A.{{{max_word_length + 1},}}\z")
        self._splitter = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(too_long, "removed")]
        )

    def find_characters(self, texts: Iterable[str]) -> set[str]:
        """The characters that words begin with or consist of, as `x`, and those that continue them, also as `##x`."""
        return set(self._run(texts, vocab_size=1, min_frequency=0, limit_alphabet=0x110000))

    def train(
        self, texts: Iterable[str], vocab_size: int, min_frequency: int, alphabet: list[str], cost: dict[str, int]
    ) -> dict[str, int]:
        """Trains on `texts`; the special tokens and the characters of `alphabet` get the first ids, in their order."""
        fixed = [*SPECIAL_TOKENS, *alphabet, *(CONTINUES + character for character in alphabet if cost[character] > 1)]
        return self._run(
            texts,
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            special_tokens=fixed,
        )

    def _run(self, texts: Iterable[str], **settings: Any) -> dict[str, int]:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = self.normalizer
        tokenizer.pre_tokenizer = self._splitter
        trainer = trainers.WordPieceTrainer(continuing_subword_prefix=CONTINUES, show_progress=False, **settings)
        tokenizer.train_from_iterator(iter(texts), trainer)
        return tokenizer.get_vocab()

    def normalised(self, texts: Iterable[str]) -> Iterable[str]:
        """Yields the normalised texts, many at a time."""
        lines = iter(texts)
        while chunk := list(islice(lines, LINES_AT_ONCE)):
            yield self.normalizer.normalize_str("\n".join(chunk))


def _count_characters(characters: Sequence[str], texts: Iterable[str], words: _WordSplitter) -> Counter[str]:
    """Counts `characters` in the normalised texts."""
    counts: Counter[str] = Counter()
    for chunk in words.normalised(texts):
        counts.update(chunk)
    return Counter({character: counts[character] for character in characters})


def _too_small(vocab_size: int, needed: int) -> UserError:
    return UserError(
        f"vocab_size {vocab_size} is too small: special tokens and single characters take {needed}. Use a larger one, "
        "or a smaller limit_alphabet: --vocab-size, --limit-alphabet."
    )


def _nothing_to_train_on(read: Read, words: _WordSplitter) -> UserError:
    longest = max((len(word) for chunk in words.normalised(read()) for word in chunk.split()), default=0)
    if longest <= words.max_word_length:
        removed = ": control, private-use and unassigned characters are removed" * any(map(str.strip, read()))
        return UserError(f"there is no text to train a vocabulary on{removed}")
    return UserError(
        f"all words have more than {words.max_word_length} characters (the longest has {longest:,}), which would be "
        f"[UNK]: nothing is left to train a vocabulary on. Remedy: {allow_longer_words(longest)}."
    )
