"""Loads the tokenizer of a run: the project's own or a user's class, behind one numpy interface."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from textclf_jax.config.schema import MlmHead
from textclf_jax.config.schema import Tokenizer as TokenizerSection
from textclf_jax.constants import PAD_ID
from textclf_jax.errors import UserError
from textclf_jax.files import sha256_of
from textclf_jax.tokenizer import wordpiece_tokenizer_wrapper
from textclf_jax.tokenizer.masking_contract import CONTRACT
from textclf_jax.tokenizer.user_wrapper import UserWrapper, calling
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

OWN_FILE = Path(wordpiece_tokenizer_wrapper.__file__)
OWN_SUFFIX = ("tokenizer", "wordpiece_tokenizer_wrapper.py")
REQUIRED_METHODS = ("load", "mask_input_for_mlm")
PAD_REMEDY = (
    "Make [PAD] the first line of vocab.txt, without a tokenizer.json of the old order, and encode the data again: "
    "textclf prepare ... --vocab FOLDER"
)
REFERENCE_CLASS = "WordPieceTokenizerWrapper"  # the only name that the PyTorch reference looks for


class LoadedTokenizer(Protocol):
    """What the trainer needs of a tokenizer. All arrays are numpy; attention masks are True = PAD.

    Attributes:
      source: the file of the user's class; None for the project's own.
      sha256: hexadecimal sha256 of that file.
      vocab_size: V.
      pad_id: the id of [PAD].
      is_special: [V] bool; which ids are special tokens, as far as a user's class tells them.
      tokens: the V pieces in the order of their ids; None where a user's class does not tell them.
      fingerprint: hexadecimal sha256 of the vocabulary.
      notes: what the user should know about it.
    """

    @property
    def source(self) -> Path | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def is_special(self) -> np.ndarray: ...
    @property
    def tokens(self) -> tuple[str, ...] | None: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def save(self, folder: Path) -> None:
        """Writes what `load_kept` needs into a folder that is there."""
        ...

    def mask(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, settings: MlmHead, seed: np.random.SeedSequence
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws MLM masks by the seed alone: [B, L] ids and [B, L] bool to masked_ids and labels, both [B, L]."""
        ...

    def encode_texts(self, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Encodes N texts to input_ids [N, L] and attention_mask [N, L]."""
        ...


@dataclass(frozen=True)
class OwnTokenizer:
    """The project's WordPiece wrapper as a LoadedTokenizer."""

    wrapper: WordPieceTokenizerWrapper
    source: Path | None = None
    sha256: str | None = None

    @property
    def vocab_size(self) -> int:
        return self.wrapper.vocab_size

    @property
    def pad_id(self) -> int:
        return self.wrapper.pad_id

    @property
    def is_special(self) -> np.ndarray:
        return np.isin(np.arange(self.vocab_size), self.wrapper.special_ids)

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.wrapper.tokens

    @property
    def fingerprint(self) -> str:
        return self.wrapper.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        return self.wrapper.notes

    def save(self, folder: Path) -> None:
        self.wrapper.save(folder)

    def mask(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, settings: MlmHead, seed: np.random.SeedSequence
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.wrapper.mask_input_for_mlm(
            input_ids,
            attention_mask,
            mask_p=settings.mask_p,
            mask_token_p=settings.mask_token_p,
            random_token_p=settings.random_token_p,
            random_tokens=settings.random_tokens,
            rng=np.random.default_rng(seed),
        )

    def encode_texts(self, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
        encoded = self.wrapper.encode(texts, max_length=max_length)
        return encoded.input_ids, encoded.attention_mask


def load_wrapper(wrapper_path: str, vocab_dir: str, *, root: Path) -> LoadedTokenizer:
    """Loads the tokenizer that a configuration names.

    Args:
      wrapper_path: the file of the class. A missing file with the name of the project's own, as configs of the
        PyTorch reference have it, means the project's own.
      vocab_dir: the argument of the class's `load`.
      root: the folder that relative paths start from.

    Returns:
      The tokenizer. Before a user's code runs, its path and hash are printed on stderr.

    Raises:
      UserError: the file or class is missing, or fails; then the user's traceback is shown.
    """
    path, vocabulary = root / wrapper_path, root / vocab_dir
    if means_own(path):
        return OwnTokenizer(WordPieceTokenizerWrapper().load(vocabulary))
    if not path.is_file():
        raise UserError(f"tokenizer.wrapper_path: there is no file {path}")
    sha256 = sha256_of([path])
    print(f"running the code of the tokenizer wrapper {path} (sha256 {sha256})", file=sys.stderr, flush=True)
    wrapper_class = _find_class(_import_file(path, sha256), path)
    with calling(path, f"{wrapper_class.__name__}()"):
        wrapper = wrapper_class()
    with calling(path, f'{wrapper_class.__name__}.load("{vocabulary}")'):
        loaded = wrapper.load(str(vocabulary))
    wrapper = loaded if hasattr(loaded, "mask_input_for_mlm") else wrapper
    return UserWrapper(wrapper, path, sha256, vocabulary)


def load_kept(folder: Path, settings: TokenizerSection) -> LoadedTokenizer:
    """Loads the tokenizer that was saved in a model's folder; `settings` named it when the model was trained."""
    wrapper, vocabulary = kept_wrapper(folder, settings), folder / Path(settings.vocab_dir).name
    if wrapper is None:
        return OwnTokenizer(WordPieceTokenizerWrapper().load(folder))
    # a class that was given a file gets a file again
    return load_wrapper(str(wrapper), str(vocabulary if vocabulary.is_file() else folder), root=Path())


def kept_wrapper(folder: Path, settings: TokenizerSection) -> Path | None:
    """The file of the user's class that was saved in a model's folder; None: the tokenizer is the project's own."""
    path = folder / Path(settings.wrapper_path).name
    return path if path.is_file() else None


def require_pad_first(pad_id: int, source: Path | str, remedy: str = PAD_REMEDY) -> None:
    """Raises UserError unless the id of [PAD] is 0, as model and optimizer take it to be.

    With another one the word that has the id 0 would never be learned. `source` and `remedy` are for the message.
    """
    if pad_id != PAD_ID:
        raise UserError(f"{source}: the id of [PAD] is {pad_id}; it must be {PAD_ID}. {remedy}")


def means_own(path: Path) -> bool:
    """Whether `tokenizer.wrapper_path` names the project's own tokenizer, not a file with the user's class."""
    if path.is_file():
        return path.samefile(OWN_FILE)
    return path.parts[-2:] == OWN_SUFFIX


def _import_file(path: Path, sha256: str) -> ModuleType:
    """Runs the user's file as a module whose name no other module has."""
    name = f"textclf_jax_user_wrapper_{sha256[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"tokenizer.wrapper_path: {path} is not a Python file (*.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look classes up there
    with calling(path, "importing it"):
        spec.loader.exec_module(module)
    return module


def _find_class(module: ModuleType, path: Path) -> type[Any]:
    """The class with the required methods that the file defines; base classes of it do not count.

    Of several, or of imported ones, it is the one with the name that the reference asks for.
    """
    classes = dict.fromkeys(thing for thing in vars(module).values() if isinstance(thing, type))
    defined = [each for each in classes if each.__module__ == module.__name__]
    fitting = [each for each in defined if all(callable(getattr(each, name, None)) for name in REQUIRED_METHODS)]
    fitting = [each for each in fitting if not any(each in other.__mro__[1:] for other in fitting)]
    if len(fitting) == 1:
        return fitting[0]
    # of several, or where all are imported
    usable = fitting or [each for each in classes if all(hasattr(each, name) for name in REQUIRED_METHODS)]
    if named := [each for each in usable if each.__name__ == REFERENCE_CLASS]:
        return named[0]
    if fitting:
        names = ", ".join(each.__name__ for each in fitting)
        raise UserError(f"{path}: several classes could be the tokenizer wrapper: {names}. Leave one in this file.")
    if not defined:
        raise UserError(f"{path}: defines no class with {' and '.join(REQUIRED_METHODS)}. {CONTRACT}")
    lacking = [
        f"class {each.__name__} has no {' and no '.join(n for n in REQUIRED_METHODS if not hasattr(each, n))}"
        for each in defined
    ]
    raise UserError(f"{path}: no class here is a tokenizer wrapper: {'; '.join(lacking)}. {CONTRACT}")
