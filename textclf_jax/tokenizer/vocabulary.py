"""WordPiece vocabularies: reproducible training, reading and writing of vocab.txt and tokenizer.json."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.text_files import require_file

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
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


def bert_normalizer(lowercase: bool, strip_accents: bool | None) -> normalizers.Normalizer:
    """Makes BERT's normalizer: no control characters, CJK characters apart, lower case and no accents where asked.

    `strip_accents` None removes accents when lower-casing.
    """
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase
    )


def build_tokenizer(tokens: Sequence[str], normalizer: normalizers.Normalizer) -> Tokenizer:
    """Makes a WordPiece tokenizer whose ids follow the order of `tokens`; it recognises the special ones in texts."""
    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]"))
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
    """Makes the tokenizer recognise in texts those special tokens that its vocabulary has."""
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is not None])


def train_vocabulary(
    read: Callable[[], Iterable[str]],
    normalizer: normalizers.Normalizer,
    vocab_size: int,
    min_frequency: int,
    limit_alphabet: int,
) -> list[str]:
    """Trains WordPiece so that the same texts give the same pieces with the same ids.

    The library gives the first `##x` pieces ids in the order of a randomly seeded hash map, and decides between equally
    frequent merges by those ids; at limit_alphabet it drops equally frequent characters at random. So a first pass
    without merges finds the characters, and the second one starts from a fixed, sorted list of them.

    Args:
      read: gives all texts, each time it is called.
      normalizer: applied to the texts first.
      vocab_size: V, special tokens included.
      min_frequency: pairs seen less often are never merged.
      limit_alphabet: the largest number of characters; the most frequent stay, of equal ones the lower code points.

    Returns:
      Special tokens, sorted characters, sorted `##` characters, merged pieces in the order of merging.

    Raises:
      UserError: no text, or vocab_size too small for the characters.
    """
    found = _run_trainer(read(), normalizer, vocab_size=1, min_frequency=0, limit_alphabet=0x110000, fixed=[])
    alphabet = sorted(piece for piece in found if len(piece) == 1)
    if not alphabet:
        raise UserError("there is no text to train a vocabulary on")
    if len(alphabet) > limit_alphabet:
        alphabet = _most_frequent(alphabet, read(), normalizer, limit_alphabet)
    continuing = [CONTINUES + character for character in alphabet if CONTINUES + character in found]
    fixed = [*SPECIAL_TOKENS, *alphabet, *continuing]
    if len(fixed) > vocab_size:
        raise UserError(
            f"vocab_size {vocab_size} is too small: special tokens and single characters take {len(fixed)}. "
            "Use a larger one."
        )
    ids = _run_trainer(
        read(), normalizer, vocab_size, min_frequency, limit_alphabet=len(alphabet), fixed=fixed, alphabet=alphabet
    )
    return in_id_order(ids, "the trained vocabulary")


def _run_trainer(
    texts: Iterable[str],
    normalizer: normalizers.Normalizer,
    vocab_size: int,
    min_frequency: int,
    limit_alphabet: int,
    fixed: list[str],
    alphabet: Sequence[str] = (),
) -> dict[str, int]:
    """One pass of the library's trainer; `fixed` pieces get the first ids, in their order."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        limit_alphabet=limit_alphabet,
        initial_alphabet=list(alphabet),
        special_tokens=list(fixed),
        continuing_subword_prefix=CONTINUES,
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer.get_vocab()


def _most_frequent(
    alphabet: list[str], texts: Iterable[str], normalizer: normalizers.Normalizer, limit: int
) -> list[str]:
    """The `limit` characters seen most often in the normalised texts, sorted."""
    counts: Counter[str] = Counter()
    lines = iter(texts)
    while chunk := "\n".join(islice(lines, 1000)):
        counts.update(normalizer.normalize_str(chunk))
    return sorted(sorted(alphabet, key=lambda character: (-counts[character], character))[:limit])


# --- files ----------------------------------------------------------------------------------------------------


def load_tokenizer(vocab_dir: Path, lowercase: bool | None) -> tuple[Tokenizer, Path]:
    """Reads tokenizer.json, or else vocab.txt, from a folder (or either file itself).

    Args:
      vocab_dir: the folder or file.
      lowercase: used for vocab.txt without tokenizer.json; None: unless one of its pieces has a capital letter.

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
    tokens = None if text_path is None else _read_vocab_text(text_path)
    if json_path is not None:
        tokenizer = _read_tokenizer_json(json_path)
        if tokens is not None:
            _check_same(json_path, tokenizer, text_path, tokens)
        return tokenizer, json_path
    if tokens is None or text_path is None:
        raise UserError(f"{vocab_dir}: holds neither {TOKENIZER_FILE} nor {VOCAB_FILE}. Make them: textclf prepare")
    if lowercase is None:
        lowercase = all(token == token.lower() for token in tokens if not token.startswith("["))
    return build_tokenizer(tokens, bert_normalizer(lowercase, None)), text_path


def _read_vocab_text(path: Path) -> list[str]:
    """The pieces of a vocab.txt: one on each line, in the order of their ids."""
    require_file(path, "vocabulary")
    try:
        # only \n ends a line: a piece may be any other character, U+2028 included
        tokens = path.read_bytes().decode("utf-8").removesuffix("\n").replace("\r\n", "\n").split("\n")
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


def _read_tokenizer_json(path: Path) -> Tokenizer:
    """The WordPiece tokenizer in a tokenizer.json."""
    require_file(path, "tokenizer file")
    try:
        content = path.read_bytes()
        kind = json.loads(content)["model"]["type"]
        if kind != "WordPiece":
            raise UserError(f"{path}: holds a {kind} tokenizer; this wrapper reads WordPiece")
        # not from_file: the library takes the bytes of a path for UTF-8, whatever the locale
        tokenizer = Tokenizer.from_buffer(content)
    except UserError:
        raise
    except Exception as error:  # the Rust reader raises plain Exception
        raise UserError(f"{path}: is not a serialised tokenizer ({error})") from error
    _declare_special(tokenizer)
    return tokenizer


def _check_same(json_path: Path, tokenizer: Tokenizer, text_path: Path | None, tokens: list[str]) -> None:
    """Raises UserError unless both files give every piece the same id."""
    ids = tokenizer.get_vocab(with_added_tokens=True)
    if ids == {token: i for i, token in enumerate(tokens)}:
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
