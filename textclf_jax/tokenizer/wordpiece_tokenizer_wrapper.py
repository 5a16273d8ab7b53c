"""A WordPiece tokenizer with BERT's normalisation: trains, loads, encodes to numpy arrays, masks for MLM.

Attention masks are True = PAD, as in data files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from tokenizers import Tokenizer

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.rows import Encoded, Overflow, RowBuilder, chunks_by_size
from textclf_jax.tokenizer.text_files import iterate_lines, well_formed
from textclf_jax.tokenizer.transformers_folder import is_transformers_folder, load_transformers_tokenizer
from textclf_jax.tokenizer.vocabulary import (
    Vocabulary,
    bert_normalizer,
    build_tokenizer,
    load_tokenizer,
    save_tokenizer,
    train_vocabulary,
)

IGNORED = -100  # the label of positions that are not predicted
CHARACTERS_PER_BATCH = 2_000_000  # handed to the Rust encoder at once: bounds the memory beside the result

Paths = Sequence[str | Path] | str | Path


class WordPieceTokenizerWrapper:
    """Trains or loads a WordPiece vocabulary, encodes texts and draws MLM masks."""

    def __init__(self):
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
        limit_alphabet: int = 1000,
        out_dir: str | Path | None = None,
    ) -> Self:
        """Trains a vocabulary; the same texts give the same vocabulary, id by id, in every run.

        Args:
          files: UTF-8 text files, plain or gzip; or
          texts: the texts themselves.
          vocab_size: V, special tokens included; the result is smaller where the text has no more pieces.
          min_frequency: pairs seen less often are never merged.
          lowercase: whether to lower-case.
          strip_accents: whether to remove accents; None: when lower-casing.
          limit_alphabet: the largest number of characters; the most frequent stay.
          out_dir: folder for vocab.txt and tokenizer.json; None: they are not written.

        Returns:
          The wrapper itself.

        Raises:
          UserError: no text, or vocab_size below the number of characters.
        """
        _require_one(files, texts, "train")
        paths = _as_paths(files)

        def read() -> Iterable[str]:
            return _lines_of(paths) if texts is None else _check_texts(texts, "train")

        normalizer = bert_normalizer(lowercase, strip_accents)
        tokens = train_vocabulary(read, normalizer, vocab_size, min_frequency, limit_alphabet)
        self._adopt(build_tokenizer(tokens, normalizer), "the trained vocabulary")
        if out_dir is not None:
            self.save(out_dir)
        return self

    def load(self, vocab_dir: str | Path, *, lowercase: bool | None = None) -> Self:
        """Loads tokenizer.json, or else vocab.txt, from a folder (or either file itself).

        A folder of transformers, known by its config.json, tokenizer_config.json, special_tokens_map.json or
        added_tokens.json, gives the ids that AutoTokenizer gives; `notes` says where its files differ.

        Args:
          vocab_dir: the folder or file.
          lowercase: used for vocab.txt without tokenizer.json; None: unless one of its pieces has a capital letter.

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
        self._loaded = (tokenizer, Vocabulary.of(tokenizer, source))

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
        _require_one(files, texts, "encode")
        if texts is None:
            texts = _file_rows(_as_paths(files), skip_blank, labelled=labels is not None)
        texts = _check_texts(texts, "encode")
        if labels is not None and overflow == "split":
            raise UserError('encode: overflow "split" makes several rows of a text, which labels cannot follow')
        label_array = None if labels is None else _check_labels(labels, len(texts))
        prefix, suffix = [self.cls_id] * include_cls, [self.sep_id] * include_sep
        rows = RowBuilder(max_length, prefix, suffix, self.pad_id, self.unk_id, overflow)
        for start, stop in chunks_by_size(texts, CHARACTERS_PER_BATCH):
            encodings = self._tokenizer.encode_batch_fast(texts[start:stop], add_special_tokens=False)
            rows.add([encoding.ids for encoding in encodings])
            if progress is not None:
                progress(stop)
        return rows.finish(label_array)

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
        return masked_ids, np.where(selected, input_ids, IGNORED).astype(input_ids.dtype, copy=False)


# --- checking arguments ---------------------------------------------------------------------------------------


def _require_one(files: Paths | None, texts: Sequence[str] | None, method: str) -> None:
    if (files is None) == (texts is None):
        raise UserError(f"{method}: give either texts or files")


def _as_paths(files: Paths | None) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]


def _lines_of(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from iterate_lines(path)


def _file_rows(paths: Iterable[Path], skip_blank: bool, labelled: bool) -> list[str]:
    """The stripped lines of all files."""
    rows = []
    for path in paths:
        for number, line in enumerate(map(str.strip, iterate_lines(path)), start=1):
            if not line and labelled and not skip_blank:
                raise UserError(f"{path} line {number}: is blank, but every label needs a text")
            if line or not skip_blank:
                rows.append(line)
    return rows


def _check_texts(texts: Sequence[str], method: str) -> Sequence[str]:
    """The texts, well formed; raises UserError, naming the row, where one is not a string."""
    if isinstance(texts, str):
        raise UserError(f"{method}: texts is one string; give a list of strings, or files=")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{method}: row {row} is {text!r} ({type(text).__name__}), not a text")
    return [well_formed(text) for text in texts]


def _check_labels(labels: Sequence[int] | np.ndarray, num_texts: int) -> np.ndarray:
    """[texts] int64."""
    array = np.asarray(labels)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise UserError(f"encode: labels must be whole numbers, one a text, not {array.dtype} of shape {array.shape}")
    if len(array) != num_texts:
        raise UserError(f"encode: {len(array)} labels for {num_texts} texts")
    return array.astype(np.int64)
