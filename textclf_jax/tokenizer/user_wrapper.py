"""Adapts a user's tokenizer wrapper to the trainer's numpy interface, and checks what it returns.

The wrapper gets torch tensors; or numpy arrays, if it derives from the project's own or its `mask_input_for_mlm` has a
parameter `rng`. `masking_contract.py` has the rest of what it may rely on.
"""

import hashlib
import inspect
import random
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textclf_jax.config.schema import MlmHead
from textclf_jax.constants import IGNORED_LABEL
from textclf_jax.errors import UserError
from textclf_jax.extras import is_installed, require
from textclf_jax.tokenizer.kept_files import files_of_a_wrapper
from textclf_jax.tokenizer.masking_contract import BY_NAME, CONTRACT, MaskingCall, Masks, check_ids, checked_masks
from textclf_jax.tokenizer.rows import Encoded, unmarked_padding
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS, VOCAB_FILE, fingerprint_of
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

# training and evaluation prepare batches in threads of their own, and the global generators are there once
_GENERATORS = threading.RLock()
IDS_KEYS = ("masked_ids", "masked_input_ids", "input_ids")
SPECIAL_NAMES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
SPECIAL_PIECES = (*SPECIAL_TOKENS, "<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>")


@contextmanager
def calling(path: Path, what: str) -> Iterator[None]:
    """Turns what the user's code raises into a UserError that names the call `what` and shows the user's traceback."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = error.__traceback__
        for _ in range(2):  # the frames of this generator and of its caller are not the user's
            frames = frames and frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
        if frames is None or isinstance(error, TypeError):  # the call itself may be at fault
            text += f"\n{CONTRACT}"
        raise UserError(f"{path}: the tokenizer wrapper failed in {what}:\n{text}") from error


@contextmanager
def seeded_generators(seed: np.random.SeedSequence) -> Iterator[np.random.Generator]:
    """Seeds the global generators of torch, numpy and random, restores them afterwards; yields one of numpy's own.

    One thread at a time is in here. Where torch is not installed, a wrapper cannot draw from it.
    """
    for_random, for_numpy, for_torch = (int(word) for word in seed.generate_state(3))
    with _GENERATORS, _seeded_torch(for_torch) if is_installed("torch") else nullcontext():
        states = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            random.seed(for_random)
            np.random.seed(for_numpy)  # noqa: NPY002
            yield np.random.default_rng(seed)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


@contextmanager
def _seeded_torch(seed: int) -> Iterator[None]:
    import torch

    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(state)


class UserWrapper:
    """Adapts an object with `load`, `mask_input_for_mlm` and, for prediction, `encode`.

    Args:
      wrapper: the loaded object.
      source: the file of its class.
      sha256: hexadecimal sha256 of that file.
      vocab_dir: the folder or file of its vocabulary.

    Raises:
      UserError: the size of its vocabulary or the id of [PAD] cannot be found.
    """

    def __init__(self, wrapper: Any, source: Path, sha256: str, vocab_dir: Path):
        self.wrapper, self.source, self.sha256, self.vocab_dir = wrapper, source, sha256, vocab_dir
        self.vocab_size = self._find_vocab_size()
        self.pad_id = self._find_pad_id()
        self.fingerprint = self._find_fingerprint()
        self.is_special = self._find_special()
        extends_ours = isinstance(wrapper, WordPieceTokenizerWrapper)
        self._call = MaskingCall.of(wrapper.mask_input_for_mlm, extends_ours=extends_ours)
        self._said: set[str] = set()
        self.files, left_out = files_of_a_wrapper(source, vocab_dir)
        self.notes = tuple(
            f"{path} is not copied into the model, so the wrapper cannot read it there: it is no file of a vocabulary"
            for path in left_out
        )
        if unknown := self._call.unknown_parameters():
            raise UserError(
                f"{source}: mask_input_for_mlm asks for {', '.join(unknown)}, which the trainer does not know. It "
                f"passes the ids, and what else there is a parameter for: {', '.join(BY_NAME)}. {CONTRACT}"
            )

    def save(self, folder: Path) -> None:
        """Copies what `load` needs into a folder that is there."""
        for name, file in self.files.items():
            shutil.copyfile(file, folder / name)

    # --- what the trainer calls -------------------------------------------------------------------------------

    def mask(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, settings: MlmHead, seed: np.random.SeedSequence
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws MLM masks: [B, L] ids and [B, L] bool (True = PAD) to masked_ids and labels, both [B, L].

        Special tokens and padding stay as they are and unpredicted, whatever the wrapper does.

        Raises:
          UserError: the user's code fails, or its answer breaks the contract.
        """
        given = {
            "input_ids": self._to_wrapper(input_ids, np.int64),
            "attention_mask": self._to_wrapper(attention_mask, np.bool_),
            **settings.model_dump(include={"mask_p", "mask_token_p", "random_token_p", "random_tokens"}),
        }
        with seeded_generators(seed) as rng, calling(self.source, "mask_input_for_mlm"):
            positional, named = self._call.arguments(given | {"rng": rng})
            answer = self.wrapper.mask_input_for_mlm(*positional, **named)
        masked_ids, labels = self._pair("mask_input_for_mlm", answer, (IDS_KEYS, ("labels",)))
        for name, array in (("masked_ids", masked_ids), ("labels", labels)):
            self._check_integers("mask_input_for_mlm", name, array, input_ids.shape)
        protected = attention_mask | self.is_special[input_ids]
        pair, takes = (masked_ids, labels), "mask_token_p" not in self._call.unused_shares
        masks = checked_masks(
            self.source, input_ids, protected, pair, vocab_size=self.vocab_size, settings=settings, takes_shares=takes
        )
        self._say_what_differs(masks, settings)
        return masks.masked_ids.astype(input_ids.dtype), masks.labels.astype(input_ids.dtype)

    def _say_what_differs(self, masks: Masks, settings: MlmHead) -> None:
        if masks.num_protected:
            self._say_once(
                "protected",
                f"mask_input_for_mlm chose or changed special tokens or padding ({masks.num_protected} in one batch): "
                "they stay as they are and are not predicted",
            )
        for share in self._call.unused_shares:
            self._say_once(share, f"mask_input_for_mlm has no parameter {share}: mlm_head.{share} has no effect")
        if masks.far_more_than(settings.mask_p):
            self._say_once(
                "share",
                f"mask_input_for_mlm chose {masks.num_chosen} of {masks.num_ordinary} tokens of a batch; only about "
                f"mlm_head.mask_p {settings.mask_p:g} of them are predicted. Labels are {IGNORED_LABEL} where nothing "
                "is to be predicted; if so many are meant, set mask_p to their share.",
            )

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            print(f"note: {self.source}: {text}", file=sys.stderr, flush=True)

    def _to_wrapper(self, array: np.ndarray, dtype: type[np.generic]) -> Any:
        """A copy, as the numpy array or torch tensor that the wrapper expects."""
        if self._call.takes_numpy:
            return array.astype(dtype)
        require("torch", f"{self.source}: a tokenizer wrapper without a parameter rng")
        import torch

        return torch.from_numpy(array.astype(dtype))

    def encode_texts(self, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Encodes N texts to input_ids [N, L] int64 and attention_mask [N, L] bool (True = PAD).

        Raises:
          UserError: the wrapper cannot encode texts, or fails, or returns something else.
        """
        encode = self._find_encode()
        with calling(self.source, "encode"):
            answer = encode(texts, max_length)
        if isinstance(answer, Encoded):
            return answer.input_ids, answer.attention_mask
        answer = getattr(answer, "tensors", answer)  # a TensorDataset
        ids, mask = self._pair("encode", answer, (("input_ids",), ("attention_mask",)))
        self._check_integers("encode", "input_ids", ids, (len(texts), ids.shape[1] if ids.ndim == 2 else max_length))
        check_ids(self.source, "encode", "input_ids", ids, self.vocab_size)
        if mask.shape != ids.shape or not np.isin(mask, (0, 1)).all():
            raise UserError(f"{self.source}: encode returned an attention_mask that is not bool of shape {ids.shape}")
        self._check_padding(ids, mask := mask.astype(bool), max_length)
        return ids[:, :max_length].astype(np.int64), mask[:, :max_length]

    def _find_encode(self) -> Callable[[list[str], int], Any]:
        """The wrapper's `encode`; its tokenizer, where `encode(input, ...)` is the reference's, which reads files."""
        encode: Any = getattr(self.wrapper, "encode", None)
        tokenizer: Any = getattr(self.wrapper, "tokenizer", None)
        reads_files = callable(encode) and "input" in inspect.signature(encode).parameters
        if callable(encode) and not (reads_files and callable(tokenizer)):
            return lambda texts, max_length: encode(texts, max_length=max_length)
        if not callable(tokenizer):
            raise UserError(f"{self.source}: the wrapper has no encode(texts, max_length=...), which new texts need")

        def encode_by_tokenizer(texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
            answer: Any = tokenizer(texts, padding="max_length", truncation=True, max_length=max_length)
            return np.asarray(answer["input_ids"]), np.asarray(answer["attention_mask"]) == 0

        return encode_by_tokenizer

    def _check_padding(self, ids: np.ndarray, mask: np.ndarray, max_length: int) -> None:
        """Raises UserError for padding that is none, stands before tokens, is not marked, or leaves too many tokens."""
        wrong = (mask & (ids != self.pad_id)).any(axis=1) | (mask[:, :-1] & ~mask[:, 1:]).any(axis=1)
        if wrong.any():
            raise UserError(
                f"{self.source}: encode returned an attention_mask that is not that of row {int(np.argmax(wrong))}: it "
                f"must be True at padding (id {self.pad_id}) alone, which follows the tokens"
            )
        if (row := unmarked_padding(ids == self.pad_id, mask, max_length)) is not None:
            raise UserError(
                f"{self.source}: encode returned an attention_mask that does not mark the padding (id {self.pad_id}) "
                f"at the end of row {row}: it must be True there, and False at tokens"
            )
        if (longest := int((~mask).sum(axis=1).max(initial=0))) > max_length:
            raise UserError(f"{self.source}: encode(texts, max_length={max_length}) returned a row of {longest} tokens")

    # --- its vocabulary ---------------------------------------------------------------------------------------

    @cached_property
    def _vocabulary(self) -> Mapping[str, int] | None:
        """Piece to id, from the wrapper's tokenizer or vocab.txt; of other files only the wrapper knows the form."""
        get_vocab = getattr(getattr(self.wrapper, "tokenizer", None), "get_vocab", None)
        if callable(get_vocab):
            with calling(self.source, "tokenizer.get_vocab"):
                vocabulary = get_vocab()
            if isinstance(vocabulary, Mapping):
                return vocabulary
        path = self.vocab_dir if self.vocab_dir.is_file() else self.vocab_dir / VOCAB_FILE
        if not path.is_file() or path.suffix.lower() != ".txt":
            return None
        try:
            lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError:  # of another form, which the wrapper knows
            return None
        return {line.removesuffix("\r"): i for i, line in enumerate(lines)}

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """The pieces in the order of their ids; None where they are not told, or ids are left out."""
        if isinstance(self.wrapper, WordPieceTokenizerWrapper):
            return self.wrapper.tokens
        ids = self._vocabulary or {}
        pieces = sorted(ids, key=ids.__getitem__)
        return tuple(pieces) if pieces and [ids[piece] for piece in pieces] == list(range(len(pieces))) else None

    def _find_fingerprint(self) -> str:
        """The wrapper's own, else a hexadecimal sha256 of the pieces by id, else of the code and V."""
        given = getattr(self.wrapper, "fingerprint", None)
        if isinstance(given, str):
            return given
        if (ids := self._vocabulary) is not None:
            return fingerprint_of(sorted(ids, key=ids.__getitem__))
        return hashlib.sha256(f"{self.sha256} {self.vocab_size}".encode()).hexdigest()

    def _find_vocab_size(self) -> int:
        tokenizer = getattr(self.wrapper, "tokenizer", None)
        sizes = [self._number(self.wrapper, "vocab_size")]
        sizes += [self._number(tokenizer, name) for name in ("vocab_size", "__len__", "get_vocab_size")]
        if size := next(filter(None, [*sizes, len(self._vocabulary or ())]), None):
            return size
        raise UserError(
            f"{self.source}: the wrapper does not tell its vocabulary's size. Give it an attribute vocab_size, or let "
            f"tokenizer.vocab_dir ({self.vocab_dir}) name a folder with a {VOCAB_FILE} in UTF-8, a piece on each line."
        )

    def _find_pad_id(self) -> int:
        tokenizer = getattr(self.wrapper, "tokenizer", None)
        names = ("pad_id", "pad_token_id")
        pad_ids = [self._number(thing, name) for thing in (self.wrapper, tokenizer) for name in names]
        for pad_id in (*pad_ids, (self._vocabulary or {}).get("[PAD]")):
            if pad_id is not None and 0 <= pad_id < self.vocab_size:
                return pad_id
        raise UserError(f"{self.source}: the wrapper does not tell which id is [PAD]. Give it an attribute pad_id.")

    def _find_special(self) -> np.ndarray:
        """[V] bool; which ids are special tokens: those that wrapper or tokenizer name, and pieces of usual names."""
        tokenizer, vocabulary = getattr(self.wrapper, "tokenizer", None), self._vocabulary or {}
        found: list[Any] = [self.pad_id, *(vocabulary.get(piece) for piece in SPECIAL_PIECES)]
        for thing in (self.wrapper, tokenizer):
            names = [f"{name}{ending}" for name in SPECIAL_NAMES for ending in ("_id", "_token_id")]
            for name in ("special_ids", "all_special_ids", *names):
                with calling(self.source, name):
                    value = getattr(thing, name, None)
                    value = value() if callable(value) and not _needs_arguments(value) else value
                found += list(value) if isinstance(value, list | tuple | set | frozenset | np.ndarray) else [value]
            with calling(self.source, "tokenizer.get_added_tokens_decoder"):
                added = getattr(thing, "get_added_tokens_decoder", dict)()
                found += [i for i, token in added.items() if token.special]
        ids = [int(i) for i in found if isinstance(i, int | np.integer) and 0 <= i < self.vocab_size]
        return np.isin(np.arange(self.vocab_size), ids)

    def _number(self, thing: object, name: str) -> int | None:
        """An attribute that is a whole number, or a method without arguments that returns one."""
        with calling(self.source, name):
            value = getattr(thing, name, None)
            value = value() if callable(value) else value
        return int(value) if isinstance(value, int | np.integer) else None

    # --- checking what it returns -----------------------------------------------------------------------------

    def _pair(self, method: str, answer: Any, keys: tuple[tuple[str, ...], ...]) -> list[np.ndarray]:
        """The two arrays in a tuple or a dict of tensors; in a dict, each under the first of its `keys` there is."""
        if isinstance(answer, Mapping):
            found = [next((answer[name] for name in names if name in answer), None) for names in keys]
        else:
            found = list(answer) if isinstance(answer, tuple | list) else []
        if len(found) < 2 or any(part is None for part in found[:2]):
            names = " and ".join(names[0] for names in keys)
            raise UserError(f"{self.source}: {method} must return a tuple or a dict of tensors, {names}. {CONTRACT}")
        return [_to_numpy(part) for part in found[:2]]

    def _check_integers(self, method: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            raise UserError(
                f"{self.source}: {method} returned {name} of shape {array.shape} and type {array.dtype}; "
                f"it must be whole numbers of shape {shape}"
            )


def _needs_arguments(function: Callable[..., Any]) -> bool:
    """Whether a function cannot be called without arguments, as far as its signature tells."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _to_numpy(tensor: Any) -> np.ndarray:
    detach: Callable[[], Any] | None = getattr(tensor, "detach", None)
    return np.asarray(tensor if detach is None else detach().cpu().numpy())
