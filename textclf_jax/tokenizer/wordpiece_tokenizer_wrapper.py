"""A WordPiece tokenizer with BERT's normalisation: trains, loads, encodes to numpy arrays, masks for MLM.

Attention masks are True = PAD, as in data files.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from tokenizers import Tokenizer

from textclf_jax.constants import IGNORED_LABEL
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.arguments import Paths, as_paths, check_labels, check_texts, file_rows, lines_of, require_one
from textclf_jax.tokenizer.normalization import bert_normalizer, removed_characters
from textclf_jax.tokenizer.rows import Encoded, Overflow, RowBuilder, chunks_by_size
from textclf_jax.tokenizer.training import TrainedVocabulary, train_vocabulary
from textclf_jax.tokenizer.transformers_folder import is_transformers_folder, load_transformers_tokenizer
from textclf_jax.tokenizer.unknown import UnknownWords, explain_unknown
from textclf_jax.tokenizer.vocabulary import (
    LONGEST_WORD_LENGTH,
    MAX_WORD_LENGTH,
    Vocabulary,
    build_tokenizer,
    load_tokenizer,
    save_tokenizer,
)

CHARACTERS_PER_BATCH = 2_000_000  # handed to the Rust encoder at once: bounds the memory beside the result


class WordPieceTokenizerWrapper:
    """Trains or loads a WordPiece vocabulary, encodes texts and draws MLM masks.

    Attributes:
      trained: what `train` found; None for a vocabulary that was loaded.
    """

    def __init__(self):
        self.trained: TrainedVocabulary | None = None
        self._loaded: tuple[Tokenizer, Vocabulary] | None = None
        self.notes: tuple[str, ...] = ()  # what to know of the files that were loaded, a line each

    # --- making and loading -----------------------------------------------------------------------------------

    def train(
        self,
        files: Paths | None = None,
        texts: Sequence[str] | None = None,
        *,
        vocab_size: int = 30_000,
        min_frequency: int = 2,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        limit_alphabet: int | None = None,
        max_word_length: int = MAX_WORD_LENGTH,
        out_dir: str | Path | None = None,
    ) -> Self:
        """Trains a vocabulary; the same texts give the same vocabulary, id by id, in every run.

        Args:
          files: UTF-8 text files, plain or gzip; or
          texts: the texts themselves.
          vocab_size: V, special tokens included; the result is smaller where the text has no more pieces.
          min_frequency: pairs seen less often are never merged.
          lowercase: whether to lower-case.
          strip_accents: whether to remove accents, vowel signs and tone marks; None: when lower-casing, as BERT.
          limit_alphabet: the largest number of characters; the most frequent stay. None: all that there is room for.
          max_word_length: words of more characters are [UNK]; kept in tokenizer.json, while a lone vocab.txt has 100.
          out_dir: folder for vocab.txt and tokenizer.json; None: they are not written.

        Returns:
          The wrapper itself.

        Raises:
          UserError: no text, numbers out of range, or vocab_size below the number of characters.
        """
        require_one(files, texts, "train")
        _check_numbers(vocab_size, min_frequency, limit_alphabet, max_word_length)
        paths = as_paths(files)

        def read() -> Iterable[str]:
            return lines_of(paths) if texts is None else check_texts(texts, "train")

        normalizer = bert_normalizer(lowercase, strip_accents)
        trained = train_vocabulary(read, normalizer, vocab_size, min_frequency, limit_alphabet, max_word_length)
        self._adopt(build_tokenizer(trained.tokens, normalizer, max_word_length), "the trained vocabulary")
        self.trained = trained
        if out_dir is not None:
            self.save(out_dir)
        return self

    def load(self, vocab_dir: str | Path, *, lowercase: bool | None = None) -> Self:
        """Loads tokenizer.json, or else vocab.txt, from a folder (or either file itself).

        A folder of transformers, known by its config.json, tokenizer_config.json, special_tokens_map.json or
        added_tokens.json, gives the ids that AutoTokenizer gives; `notes` says where its files differ.

        Args:
          vocab_dir: the folder or file.
          lowercase: used for vocab.txt without tokenizer.json, accents are then removed as by BERT; None: as the pieces
            have it: lower case unless one has a capital letter, without accents unless one has an accent.

        Returns:
          The wrapper itself.

        Raises:
          UserError: nothing there, not a WordPiece vocabulary, special tokens missing, or files disagree.
        """
        path = Path(vocab_dir)
        if is_transformers_folder(path):
            tokenizer, source, self.notes = load_transformers_tokenizer(path, lowercase)
        else:
            (tokenizer, source), self.notes = load_tokenizer(path, lowercase), ()
        self._adopt(tokenizer, str(source))
        return self

    def save(self, out_dir: str | Path) -> None:
        """Writes vocab.txt and tokenizer.json."""
        save_tokenizer(Path(out_dir), self._tokenizer, self._vocabulary)

    def _adopt(self, tokenizer: Tokenizer, source: str) -> None:
        """Makes `tokenizer` this wrapper's own; `RowBuilder` cuts and pads rows, not the library."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._loaded, self.trained = (tokenizer, Vocabulary.of(tokenizer, source)), None

    def _require_loaded(self) -> tuple[Tokenizer, Vocabulary]:
        if self._loaded is None:
            raise UserError("the tokenizer has no vocabulary yet: call load(vocab_dir) or train(...) first")
        return self._loaded

    # --- the vocabulary ---------------------------------------------------------------------------------------

    @property
    def _tokenizer(self) -> Tokenizer:
        return self._require_loaded()[0]

    @property
    def _vocabulary(self) -> Vocabulary:
        return self._require_loaded()[1]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The pieces in the order of their ids."""
        return self._vocabulary.tokens

    @property
    def vocab_size(self) -> int:
        """V, the number of pieces."""
        return len(self.tokens)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal sha256 of the pieces in the order of their ids."""
        return self._vocabulary.fingerprint

    @property
    def special_ids(self) -> np.ndarray:
        """Sorted int64 ids of all special tokens, [UNK] included."""
        return self._vocabulary.special_ids

    @property
    def pad_id(self) -> int:
        """The id of [PAD]."""
        return self._vocabulary.named["[PAD]"]

    @property
    def unk_id(self) -> int:
        """The id of [UNK]."""
        return self._vocabulary.named["[UNK]"]

    @property
    def cls_id(self) -> int:
        """The id of [CLS]."""
        return self._vocabulary.named["[CLS]"]

    @property
    def sep_id(self) -> int:
        """The id of [SEP]."""
        return self._vocabulary.named["[SEP]"]

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self._vocabulary.named["[MASK]"]

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Turns ids back into text; continuation pieces are joined."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)

    # --- encoding ---------------------------------------------------------------------------------------------

    def encode(
        self,
        texts: Sequence[str] | None = None,
        files: Paths | None = None,
        *,
        labels: Sequence[int] | np.ndarray | None = None,
        max_length: int,
        include_cls: bool = True,
        include_sep: bool = True,
        overflow: Overflow = "truncate",
        skip_blank: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Encoded:
        """Encodes texts, or the stripped lines of files, to rows of max_length ids.

        Args:
          texts: the texts; or
          files: UTF-8 files with a text a line.
          labels: [texts] class ids, carried along.
          max_length: L, special tokens included.
          include_cls: whether rows begin with [CLS].
          include_sep: whether rows end with [SEP].
          overflow: "truncate" cuts long texts, "split" makes further rows of the rest (without labels).
          skip_blank: drop the blank lines of files. Otherwise they are rows, or with labels an error.
          progress: called with the number of texts encoded so far.

        Raises:
          UserError: both or neither of texts and files, labels that do not fit, or a blank line with labels.
        """
        require_one(files, texts, "encode")
        if texts is None:
            texts = file_rows(as_paths(files), skip_blank, labelled=labels is not None)
        texts = check_texts(texts, "encode")
        if labels is not None and overflow == "split":
            raise UserError('encode: overflow "split" makes several rows of a text, which labels cannot follow')
        label_array = None if labels is None else check_labels(labels, len(texts))
        prefix, suffix = [self.cls_id] * include_cls, [self.sep_id] * include_sep
        rows = RowBuilder(max_length, prefix, suffix, self.pad_id, self.unk_id, overflow)
        for start, stop in chunks_by_size(texts, CHARACTERS_PER_BATCH):
            encodings = self._tokenizer.encode_batch_fast(texts[start:stop], add_special_tokens=False)
            rows.add([encoding.ids for encoding in encodings])
            if progress is not None:
                progress(stop)
        return rows.finish(label_array)

    def normalize(self, text: str) -> str:
        """The text as it is cut into words: in lower case, without accents, as the vocabulary has it."""
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else normalizer.normalize_str(text)

    def explain_unknown(self, texts: Sequence[str]) -> UnknownWords:
        """Counts the words of `texts` that are [UNK], by their cause."""
        texts, words = check_texts(texts, "explain_unknown"), Counter()
        for start, stop in chunks_by_size(texts, CHARACTERS_PER_BATCH):
            part = texts[start:stop]
            for text, encoding in zip(part, self._tokenizer.encode_batch(part, add_special_tokens=False), strict=True):
                offsets, unk_id = encoding.offsets, self.unk_id
                words.update(text[slice(*offsets[i])] for i, token in enumerate(encoding.ids) if token == unk_id)
        return explain_unknown(self._tokenizer, words)

    def removed_characters(self, texts: Sequence[str]) -> Counter[str]:
        """Counts the characters of `texts`, spaces aside, that the normalisation removes, or takes a mark from."""
        return removed_characters(self._tokenizer.normalizer, check_texts(texts, "removed_characters"))

    def encode_pandas(
        self, frame: Any, text_column: str, label_column: str | None = None, *, max_length: int
    ) -> Encoded:
        """Encodes a column of a pandas frame, with integer labels from another column; errors name the row."""
        for column in (text_column, label_column):
            if column is not None and column not in frame.columns:
                raise UserError(f"the frame has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
        labels = None if label_column is None else frame[label_column].tolist()
        return self.encode(frame[text_column].tolist(), labels=labels, max_length=max_length)

    # --- masking ----------------------------------------------------------------------------------------------

    def mask_input_for_mlm(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        *,
        mask_p: float,
        mask_token_p: float,
        random_token_p: float,
        random_tokens: Literal["ordinary", "any"] = "ordinary",
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws MLM masks: each ordinary token is selected with probability mask_p, independently.

        Args:
          input_ids: [B, L] integers.
          attention_mask: [B, L] bool, True = PAD.
          mask_p: the share of ordinary tokens that is predicted.
          mask_token_p: the share of those that becomes [MASK].
          random_token_p: the share of those that becomes a random token; the others stay as they are.
          random_tokens: "ordinary" never draws a special token, "any" draws from all V.
          rng: source of the random numbers.

        Returns:
          masked_ids and labels, [B, L] in input_ids' dtype; labels are -100 where nothing is predicted. Special
          tokens, [UNK] included, and PAD are never selected.

        Raises:
          UserError: an id outside the vocabulary.

        Source: Devlin et al. 2019, BERT, section 3.1.
        """
        if input_ids.size and (input_ids.min() < 0 or input_ids.max() >= self.vocab_size):
            raise UserError(f"mask_input_for_mlm: ids must lie in 0..{self.vocab_size - 1}, the vocabulary")
        vocabulary = self._vocabulary
        draw = rng.random(input_ids.shape)
        selected = (draw < mask_p) & ~(vocabulary.is_special[input_ids] | attention_mask)
        # one number decides both: a selected one is uniform in [0, mask_p), which the two shares divide
        to_mask = selected & (draw < mask_p * mask_token_p)
        changed = selected & (draw < mask_p * (mask_token_p + random_token_p))
        if mask_token_p + random_token_p > 1 - 1e-9:  # the products above may round to just below mask_p
            changed = selected
        to_random = changed & ~to_mask
        masked_ids = input_ids.copy()
        masked_ids[to_mask] = self.mask_id
        pool = vocabulary.ordinary_ids if random_tokens == "ordinary" else np.arange(self.vocab_size)
        masked_ids[to_random] = pool[rng.integers(0, len(pool), np.count_nonzero(to_random))]
        return masked_ids, np.where(selected, input_ids, IGNORED_LABEL).astype(input_ids.dtype, copy=False)


def _check_numbers(vocab_size: int, min_frequency: int, limit_alphabet: int | None, max_word_length: int) -> None:
    """Raises UserError for numbers that `train` cannot use."""
    numbers = {"vocab_size": vocab_size, "min_frequency": min_frequency, "limit_alphabet": limit_alphabet}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"train: {name} is {number}; it must be at least 1")
    if not 1 <= max_word_length <= LONGEST_WORD_LENGTH:
        raise UserError(f"train: max_word_length is {max_word_length}; it must lie in 1..{LONGEST_WORD_LENGTH}")
