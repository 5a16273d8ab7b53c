"""WordPiece vocabularies: what they hold, reading and writing of vocab.txt and tokenizer.json."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.normalization import bert_normalizer, has_marks
from textclf_jax.tokenizer.text_files import require_file

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
MAX_WORD_LENGTH = 100  # characters, as in BERT
LONGEST_WORD_LENGTH = 1000  # that may be asked for: the time of encoding a word grows with the square of its length
VOCAB_FILE, TOKENIZER_FILE = "vocab.txt", "tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """The pieces (words and parts of words) by id, and which of them are special.

    Attributes:
      tokens: the V pieces in the order of their ids.
      named: the ids of [PAD], [UNK], [CLS], [SEP] and [MASK].
      special_ids: sorted int64 ids of all special tokens, [UNK] included.
      is_special: [V] bool.
      ordinary_ids: int64 ids of the other pieces.
      fingerprint: hexadecimal sha256 of the pieces in the order of their ids.
    """

    tokens: tuple[str, ...]
    named: Mapping[str, int]
    special_ids: np.ndarray
    is_special: np.ndarray
    ordinary_ids: np.ndarray
    fingerprint: str

    @classmethod
    def of(cls, tokenizer: Tokenizer, source: str) -> Self:
        """Reads the vocabulary of a tokenizer; raises UserError, naming `source`, where it cannot be used."""
        tokens = in_id_order(tokenizer.get_vocab(with_added_tokens=True), source)
        if missing := sorted(set(SPECIAL_TOKENS) - set(tokens)):
            raise UserError(f"{source}: the vocabulary lacks {', '.join(missing)}")
        added = tokenizer.get_added_tokens_decoder()
        special = np.array(sorted(i for i, token in added.items() if token.special), dtype=np.int64)
        is_special = np.isin(np.arange(len(tokens)), special)
        if is_special.all():
            raise UserError(f"{source}: the vocabulary has nothing but special tokens")
        if unwritable := [token for token in tokens if not token or set(token) & {"\n", "\r"}]:
            raise UserError(f"{source}: the piece {unwritable[0]!r} does not fit on a line of {VOCAB_FILE}")
        named = {token: tokens.index(token) for token in SPECIAL_TOKENS}
        return cls(tuple(tokens), named, special, is_special, np.flatnonzero(~is_special), fingerprint_of(tokens))


def in_id_order(ids: Mapping[str, int], source: str) -> list[str]:
    """Gives the pieces in the order of their ids; raises UserError unless the ids are 0..V-1, each once."""
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{source}: the ids of the {len(tokens)} pieces are not 0..{len(tokens) - 1}, each once")
    return tokens


def fingerprint_of(tokens: Iterable[str]) -> str:
    """Gives the hexadecimal sha256 of the pieces in the order of their ids."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()


# --- building -------------------------------------------------------------------------------------------------


def build_tokenizer(
    tokens: Sequence[str], normalizer: normalizers.Normalizer, max_word_length: int = MAX_WORD_LENGTH
) -> Tokenizer:
    """Makes a WordPiece tokenizer whose ids follow the order of `tokens`; it recognises the special ones in texts.

    Words of more than `max_word_length` characters become [UNK].
    """
    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=max_word_length))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUES)
    _declare_special(tokenizer)
    if "[CLS]" in ids and "[SEP]" in ids:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
        )
    return tokenizer


def _declare_special(tokenizer: Tokenizer) -> None:
    """Makes the tokenizer recognise in texts those special tokens that its vocabulary has; other flags stay."""
    added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for text in SPECIAL_TOKENS:
        token = added.get(text, AddedToken(text, special=True))
        if tokenizer.token_to_id(text) is not None and not (text in added and token.special):
            token.special = True
            tokenizer.add_tokens([token])


# --- files ----------------------------------------------------------------------------------------------------


def load_tokenizer(vocab_dir: Path, lowercase: bool | None) -> tuple[Tokenizer, Path]:
    """Reads tokenizer.json, or else vocab.txt, from a folder (or either file itself).

    Args:
      vocab_dir: the folder or file.
      lowercase: used for vocab.txt without tokenizer.json, accents are then removed as by BERT; None: as the pieces
        have it: lower case unless one has a capital letter, without accents unless one has an accent.

    Returns:
      The tokenizer, and the file it came from.

    Raises:
      UserError: nothing there, not WordPiece, or the two files disagree.
    """
    if vocab_dir.is_file():
        json_path, text_path = (vocab_dir, None) if vocab_dir.suffix == ".json" else (None, vocab_dir)
    elif vocab_dir.is_dir():
        json_path = vocab_dir / TOKENIZER_FILE if (vocab_dir / TOKENIZER_FILE).exists() else None
        text_path = vocab_dir / VOCAB_FILE if (vocab_dir / VOCAB_FILE).exists() else None
    else:
        raise UserError(f"{vocab_dir}: there is no such vocabulary folder or file")
    tokens = None if text_path is None else read_vocab_text(text_path)
    if json_path is not None:
        tokenizer = read_tokenizer_json(json_path)
        if tokens is not None:
            check_same(json_path, tokenizer, text_path, tokens)
        return tokenizer, json_path
    if tokens is None or text_path is None:
        raise UserError(f"{vocab_dir}: holds neither {TOKENIZER_FILE} nor {VOCAB_FILE}. Make them: textclf prepare")
    strip_accents = None
    if lowercase is None:
        pieces = [token for token in tokens if not token.startswith("[")]
        lowercase = all(token == token.lower() for token in pieces)
        strip_accents = False if any(map(has_marks, pieces)) else None
    return build_tokenizer(tokens, bert_normalizer(lowercase, strip_accents)), text_path


def read_vocab_text(path: Path) -> list[str]:
    """The pieces of a vocab.txt: one on each line, in the order of their ids; a byte order mark is no part of them."""
    require_file(path, "vocabulary")
    try:
        # only \n and \r\n end a line: a piece may be any other character, U+2028 included
        tokens = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    seen: dict[str, int] = {}
    for number, token in enumerate(tokens, start=1):
        if not token:
            raise UserError(f"{path} line {number}: is blank; every line must hold one piece")
        if token in seen:
            raise UserError(f"{path} line {number}: {token!r} is already on line {seen[token]}")
        seen[token] = number
    return tokens


def read_tokenizer_json(path: Path) -> Tokenizer:
    """The WordPiece tokenizer in a tokenizer.json."""
    require_file(path, "tokenizer file")
    try:
        content = path.read_bytes()
        kind = json.loads(content)["model"].get("type", "WordPiece")  # early files do not name it
        if kind == "WordPiece":
            # not from_file: the library takes the bytes of a path for UTF-8, whatever the locale
            tokenizer = Tokenizer.from_buffer(content)
            kind = type(tokenizer.model).__name__
    except Exception as error:  # the Rust reader raises plain Exception
        raise UserError(f"{path}: is not a serialised tokenizer ({error})") from error
    if kind != "WordPiece":
        raise UserError(f"{path}: holds a {kind} tokenizer; this wrapper reads WordPiece")
    _declare_special(tokenizer)
    return tokenizer


def check_same(json_path: Path, tokenizer: Tokenizer, text_path: Path | None, tokens: list[str]) -> None:
    """Raises UserError unless both files give every piece the same id; vocab.txt may lack tokens that were added."""
    ids = tokenizer.get_vocab(with_added_tokens=True)
    in_text = {token: i for i, token in enumerate(tokens)}
    added = {token.content: i for i, token in tokenizer.get_added_tokens_decoder().items() if i >= len(tokens)}
    if ids == {**added, **in_text}:
        return
    first = next((i for i, token in enumerate(tokens) if ids.get(token) != i), len(tokens))
    raise UserError(
        f"{json_path} and {text_path} disagree: {len(ids)} and {len(tokens)} pieces, the first difference at id "
        f"{first}. Remove the one that is not yours."
    )


def save_tokenizer(folder: Path, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Writes vocab.txt and tokenizer.json into `folder`, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VOCAB_FILE).write_bytes("".join(token + "\n" for token in vocabulary.tokens).encode())
    (folder / TOKENIZER_FILE).write_bytes(tokenizer.to_str(pretty=True).encode())
