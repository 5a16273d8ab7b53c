"""Adapts a user's tokenizer wrapper to the trainer's numpy interface, and checks what it returns.

The wrapper gets torch tensors; or numpy arrays, if it derives from the project's own or its `mask_input_for_mlm` has a
parameter `rng`.
"""

import hashlib
import inspect
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textclf_jax.config.schema import MlmHead
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.rows import Encoded
from textclf_jax.tokenizer.vocabulary import VOCAB_FILE, fingerprint_of
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

IDS_KEYS = ("masked_ids", "masked_input_ids", "input_ids")


@contextmanager
def calling(path: Path, what: str) -> Iterator[None]:
    """Turns what the user's code raises into a UserError that names the call `what` and shows the user's traceback."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = error.__traceback__
        for _ in range(2):  # the frames of this generator and of its caller are not the user's
            frames = frames and frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        raise UserError(f"{path}: the tokenizer wrapper failed in {what}:\n{text.rstrip()}") from error


@contextmanager
def seeded_generators(seed: np.random.SeedSequence) -> Iterator[np.random.Generator]:
    """Seeds the global generators of torch, numpy and random, restores them afterwards; yields one of numpy's own."""
    import torch

    for_random, for_numpy, for_torch = (int(word) for word in seed.generate_state(3))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(for_random)
        np.random.seed(for_numpy)  # noqa: NPY002
        torch.default_generator.manual_seed(for_torch)
        yield np.random.default_rng(seed)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


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
        self._parameters = inspect.signature(wrapper.mask_input_for_mlm).parameters
        self._takes_numpy = isinstance(wrapper, WordPieceTokenizerWrapper) or "rng" in self._parameters

    # --- what the trainer calls -------------------------------------------------------------------------------

    def mask(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, settings: MlmHead, seed: np.random.SeedSequence
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws MLM masks: [B, L] ids and [B, L] bool (True = PAD) to masked_ids and labels, both [B, L].

        Raises:
          UserError: the user's code fails, or returns other shapes, floats, or ids outside the vocabulary.
        """
        with seeded_generators(seed) as rng, calling(self.source, "mask_input_for_mlm"):
            answer = self.wrapper.mask_input_for_mlm(
                self._to_wrapper(input_ids, np.int64),
                self._to_wrapper(attention_mask, np.bool_),
                **self._options(settings, rng),
            )
        masked_ids, labels = self._pair("mask_input_for_mlm", answer, (IDS_KEYS, ("labels",)))
        for name, array in (("masked_ids", masked_ids), ("labels", labels)):
            self._check_integers("mask_input_for_mlm", name, array, input_ids.shape)
        self._check_ids("mask_input_for_mlm", "masked_ids", masked_ids)
        self._check_ids("mask_input_for_mlm", "labels", labels[labels != -100])
        return masked_ids.astype(input_ids.dtype), labels.astype(input_ids.dtype)

    def _to_wrapper(self, array: np.ndarray, dtype: type[np.generic]) -> Any:
        """A copy, as the numpy array or torch tensor that the wrapper expects."""
        if self._takes_numpy:
            return array.astype(dtype)
        import torch

        return torch.from_numpy(array.astype(dtype))

    def _options(self, settings: MlmHead, rng: np.random.Generator) -> dict[str, Any]:
        """The keyword arguments that `mask_input_for_mlm` has parameters for."""
        options: dict[str, Any] = settings.model_dump(include={"mask_p", "mask_token_p", "random_token_p"})
        every = {**options, "random_tokens": settings.random_tokens, "rng": rng}
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in self._parameters.values()):
            return every if self._takes_numpy else options
        return {name: value for name, value in every.items() if name in self._parameters}

    def encode_texts(self, texts: list[str], max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Encodes N texts to input_ids [N, L] int64 and attention_mask [N, L] bool (True = PAD).

        Raises:
          UserError: the wrapper has no `encode`, or it fails or returns something else.
        """
        if not callable(getattr(self.wrapper, "encode", None)):
            raise UserError(f"{self.source}: the wrapper has no encode(texts, max_length=...), which new texts need")
        with calling(self.source, "encode"):
            answer = self.wrapper.encode(texts, max_length=max_length)
        if isinstance(answer, Encoded):
            return answer.input_ids, answer.attention_mask
        answer = getattr(answer, "tensors", answer)  # a TensorDataset
        ids, mask = self._pair("encode", answer, (("input_ids",), ("attention_mask",)))
        shape = (len(texts), *ids.shape[1:2])
        self._check_integers("encode", "input_ids", ids, shape)
        self._check_ids("encode", "input_ids", ids)
        if mask.shape != ids.shape or not np.isin(mask, (0, 1)).all():
            raise UserError(f"{self.source}: encode returned an attention_mask that is not bool of shape {ids.shape}")
        return ids.astype(np.int64), mask.astype(bool)

    # --- its vocabulary ---------------------------------------------------------------------------------------

    @cached_property
    def _vocabulary(self) -> Mapping[str, int] | None:
        """Piece to id, from the wrapper's tokenizer or vocab.txt."""
        get_vocab = getattr(getattr(self.wrapper, "tokenizer", None), "get_vocab", None)
        if callable(get_vocab):
            with calling(self.source, "tokenizer.get_vocab"):
                vocabulary = get_vocab()
            if isinstance(vocabulary, Mapping):
                return vocabulary
        path = self.vocab_dir if self.vocab_dir.is_file() else self.vocab_dir / VOCAB_FILE
        if not path.is_file():
            return None
        lines = path.read_text("utf-8").removesuffix("\n").split("\n")
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
            f"{self.source}: the wrapper does not tell its vocabulary's size. Give it an attribute vocab_size, or put "
            f"a {VOCAB_FILE} into {self.vocab_dir}."
        )

    def _find_pad_id(self) -> int:
        tokenizer = getattr(self.wrapper, "tokenizer", None)
        names = ("pad_id", "pad_token_id")
        pad_ids = [self._number(thing, name) for thing in (self.wrapper, tokenizer) for name in names]
        for pad_id in (*pad_ids, (self._vocabulary or {}).get("[PAD]")):
            if pad_id is not None:
                return pad_id
        raise UserError(f"{self.source}: the wrapper does not tell which id is [PAD]. Give it an attribute pad_id.")

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
            raise UserError(f"{self.source}: {method} must return a tuple or a dict of tensors, {names}")
        return [_to_numpy(part) for part in found[:2]]

    def _check_integers(self, method: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            raise UserError(
                f"{self.source}: {method} returned {name} of shape {array.shape} and type {array.dtype}; "
                f"it must be whole numbers of shape {shape}"
            )

    def _check_ids(self, method: str, name: str, ids: np.ndarray) -> None:
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise UserError(
                f"{self.source}: {method} returned {name} with id {wrong}, "
                f"outside its vocabulary 0..{self.vocab_size - 1}"
            )


def _to_numpy(tensor: Any) -> np.ndarray:
    detach: Callable[[], Any] | None = getattr(tensor, "detach", None)
    return np.asarray(tensor if detach is None else detach().cpu().numpy())
