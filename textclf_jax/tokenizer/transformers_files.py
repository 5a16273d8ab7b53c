"""The files that Hugging Face's transformers keeps beside a vocabulary, and the tokens that they add to it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from textclf_jax.errors import UserError
from textclf_jax.tokenizer.json_files import read_json, shown
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS, TOKENIZER_FILE, VOCAB_FILE, read_vocab_text

CONFIG_FILE, SETTINGS_FILE = "config.json", "tokenizer_config.json"
SPECIAL_FILE, ADDED_FILE = "special_tokens_map.json", "added_tokens.json"
DECODER = "added_tokens_decoder"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
ROLES = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
EXTRA = ("additional_special_tokens", "extra_special_tokens")


class Folder(NamedTuple):
    """The files of a folder.

    Attributes:
      path: the folder.
      settings: tokenizer_config.json; {}: there is none.
      special: special_tokens_map.json; {}: there is none.
      added: added_tokens.json; {}: there is none.
      config: config.json; {}: there is none.
      content: tokenizer.json; None: there is none.
      pieces: vocab.txt; None: there is none.
    """

    path: Path
    settings: dict[str, Any]
    special: dict[str, Any]
    added: dict[str, Any]
    config: dict[str, Any]
    content: dict[str, Any] | None
    pieces: list[str] | None

    @property
    def settings_path(self) -> Path:
        return self.path / SETTINGS_FILE

    @property
    def json_path(self) -> Path:
        return self.path / TOKENIZER_FILE

    @property
    def text_path(self) -> Path:
        return self.path / VOCAB_FILE


class Declared(NamedTuple):
    """A token that a file adds to the vocabulary.

    Attributes:
      file: that says so.
      id: that the token has there.
      token: with its flags.
    """

    file: Path
    id: int
    token: AddedToken


class Named(NamedTuple):
    """A special token that a file names.

    Attributes:
      file: that names it.
      key: of the file.
      token: with its flags.
    """

    file: Path
    key: str
    token: AddedToken


def read_folder(path: Path) -> Folder:
    """Reads all files; raises UserError where one is damaged, or there is no vocabulary."""
    names = (SETTINGS_FILE, SPECIAL_FILE, ADDED_FILE, CONFIG_FILE)
    settings, special, added, config = (read_json(path / n) if (path / n).exists() else {} for n in names)
    content = read_json(path / TOKENIZER_FILE) if (path / TOKENIZER_FILE).exists() else None
    pieces = read_vocab_text(path / VOCAB_FILE) if (path / VOCAB_FILE).exists() else None
    if content is None and pieces is None:
        raise UserError(f"{path}: holds neither {TOKENIZER_FILE} nor {VOCAB_FILE}: there is no WordPiece vocabulary")
    return Folder(path, settings, special, added, config, content, pieces)


def named_tokens(folder: Folder) -> list[Named]:
    """Lists the special tokens that AutoTokenizer has from the folder's files, but for BERT's own defaults.

    Raises:
      UserError: [CLS] or another of the five has another name, or a key holds no token.
    """
    for name, keys in ((SETTINGS_FILE, folder.settings), (SPECIAL_FILE, folder.special)):
        for key, token in ROLES.items():
            if key in keys and (keys[key] is None or _token(f"{name}: {key}", keys[key]).content != token):
                raise UserError(f"{folder.path / name}: {key}: {shown(keys[key])}, not {token}: this name only is read")
    named = list(_named_in(folder.settings_path, folder.settings))
    if DECODER not in folder.settings:
        named += _named_in(folder.path / SPECIAL_FILE, folder.special)
    return named


def _named_in(path: Path, keys: Mapping[str, Any]) -> Iterator[Named]:
    for key, value in keys.items():
        if key in EXTRA and value is not None:
            if not isinstance(value, dict | list):
                raise UserError(f"{path}: {key}: {shown(value)} is no list of tokens")
            values = value.values() if isinstance(value, dict) else value
        elif key.endswith("_token") and isinstance(value, str | dict):
            values = (value,)
        else:
            continue
        yield from (Named(path, key, _token(f"{path}: {key}", each, special=True)) for each in values)


def declared_tokens(folder: Folder, named: Iterable[Named]) -> tuple[list[Declared], list[Declared]]:
    """Lists the tokens with ids of all files: those that AutoTokenizer adds, in the order of ids, and the others.

    Raises:
      UserError: an entry is no token with its id.
    """
    # AutoTokenizer does not count what the map lists as additional, nor keys of other names
    special = {
        each.token.content
        for each in named
        if each.key in (*ROLES, "bos_token", "eos_token", "extra_special_tokens")
        or (each.key == "additional_special_tokens" and each.file == folder.settings_path)
    }
    in_json = [_entry(folder.json_path, entry, special) for entry in _list_of_added(folder)]
    in_added = [_declare(folder.path / ADDED_FILE, i, text, special) for text, i in folder.added.items()]
    if DECODER not in folder.settings:
        by_id = {each.id: each for each in (*in_added, *in_json)}  # of two with one id, tokenizer.json's is added
        return sorted(by_id.values(), key=lambda each: each.id), in_added
    decoder = folder.settings[DECODER]
    if not isinstance(decoder, dict) or not all(i.isdecimal() and i.isascii() for i in decoder):
        raise UserError(f"{folder.settings_path}: {DECODER}: {shown(decoder)}, not tokens by their ids")
    used = [_declare(folder.settings_path, int(i), entry, special) for i, entry in decoder.items()]
    return sorted(used, key=lambda each: each.id), in_added + in_json


def _list_of_added(folder: Folder) -> list[Any]:
    entries = (folder.content or {}).get("added_tokens") or []
    if not isinstance(entries, list):
        raise UserError(f"{folder.json_path}: added_tokens: {shown(entries)}, not a list")
    return entries


def _entry(path: Path, entry: object, special: set[str]) -> Declared:
    return _declare(path, entry.get("id") if isinstance(entry, dict) else None, entry, special)


def _declare(path: Path, number: object, value: object, special: set[str]) -> Declared:
    if isinstance(value, str):
        value = {"content": value, "special": value in special, "normalized": value not in special}
    token = _token(f"{path}: added tokens", value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{path}: the token {shown(token.content)} has the id {shown(number)}, not a whole number")
    if token.content in special or token.content in SPECIAL_TOKENS:
        token.special = True
    return Declared(path, number, token)


def _token(place: str, value: object, *, special: bool | None = None) -> AddedToken:
    """A token as JSON has it: a text, or a text with flags."""
    flags = {key: value[key] for key in FLAGS if key in value} if isinstance(value, dict) else {}
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text or not all(isinstance(flag, bool) for flag in flags.values()):
        raise UserError(f"{place}: {shown(value)} is no token")
    if special is not None:
        flags["special"] = special
    return AddedToken(text, **flags)


def check_declared_ids(tokenizer: Tokenizer, declared: Iterable[Declared]) -> None:
    """Raises UserError unless every added token has the id that its file says."""
    for each in declared:
        actual = tokenizer.token_to_id(each.token.content)
        if actual != each.id:
            gives = "does not know it" if actual is None else f"gives it {actual}"
            raise UserError(
                f"{each.file}: the token {shown(each.token.content)} has the id {each.id}, but AutoTokenizer, which "
                f"also reads the other files, {gives}. Remove the token from the file that is wrong."
            )


def recognise_named(tokenizer: Tokenizer, named: Iterable[Named], known: set[str]) -> None:
    """Makes the tokenizer recognise in texts the named tokens that are not `known` already, as AutoTokenizer does.

    Raises:
      UserError: the vocabulary lacks one: AutoTokenizer would give it an id that no file has.
    """
    for file, key, token in named:
        if tokenizer.token_to_id(token.content) is None:
            raise UserError(
                f"{file}: {key}: the token {shown(token.content)} is not in the vocabulary, and no file gives it an "
                "id. Remove it there, or save model and tokenizer again with transformers' save_pretrained."
            )
        if token.content not in known:
            tokenizer.add_tokens([token])
