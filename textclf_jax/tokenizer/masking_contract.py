"""The contract of a user's `mask_input_for_mlm`: how it is called, and what its answer is held to.

It is that of the PyTorch reference: token ids, and the three shares by name. What else a function may ask for it asks
for by a parameter of that name: `attention_mask`, `random_tokens`, `rng`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.config.schema import MlmHead
from textclf_jax.constants import IGNORED_LABEL
from textclf_jax.errors import UserError

INPUT = "input_ids"
SHARES = ("mask_p", "mask_token_p", "random_token_p")
BY_NAME = ("attention_mask", *SHARES, "random_tokens", "rng")
CONTRACT = (
    "A tokenizer wrapper is a class with load(vocab_dir) and mask_input_for_mlm(input_ids, mask_p=..., "
    "mask_token_p=..., random_token_p=...), which gets torch tensors [B, L] and returns (masked_ids, labels), both "
    "[B, L], with labels -100 where nothing is predicted. attention_mask (True = PAD) goes to a parameter of that name "
    "only. All of it: docs/how-to/tokenizer.md; an example: examples/tokenizer_wrapper.py."
)
ENOUGH_PREDICTIONS = 30  # of which one at least is changed, unless the wrapper never changes any
VISIBLE = 0.5  # more than this share of the predicted tokens unchanged is refused,
VISIBLE_UNASKED = 0.8  # of a function that has no parameters for the shares
UNLIKELY = 2e-3  # that a function which changes tokens has changed none
SPAN = 10  # tokens whose fate may be drawn together, as in masking of words or spans
FAR_MORE = 1.5  # times the largest number of predictions that chance explains


@dataclass(frozen=True)
class MaskingCall:
    """The parameters of a bound `mask_input_for_mlm`, and what is passed for them.

    Attributes:
      parameters: in their order, without `self`.
      extends_ours: the function belongs to a subclass of the project's own wrapper.
    """

    parameters: tuple[Parameter, ...]
    extends_ours: bool

    @classmethod
    def of(cls, method: Callable[..., Any], *, extends_ours: bool) -> "MaskingCall":
        """Reads the signature of a function; one that cannot be read is taken for the reference's."""
        try:
            parameters = tuple(inspect.signature(method).parameters.values())
        except (TypeError, ValueError):
            parameters = tuple(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in (INPUT, *SHARES))
        return cls(parameters, extends_ours)

    @property
    def takes_numpy(self) -> bool:
        """Whether it gets numpy arrays instead of torch tensors."""
        return self.extends_ours or any(parameter.name == "rng" for parameter in self.parameters)

    @property
    def unused_shares(self) -> list[str]:
        """The shares that it has no parameter for: the keys of `mlm_head` that have no effect."""
        if self._takes_any_keyword:
            return []
        return [name for name in SHARES if name not in {parameter.name for parameter in self.parameters}]

    def unknown_parameters(self) -> list[str]:
        """Parameters without a default that nothing is known for."""
        return [
            parameter.name
            for parameter in self.parameters
            if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            and parameter.default is Parameter.empty
            and parameter.name not in BY_NAME
            and parameter is not self._input
        ]

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The positional and the keyword arguments of a call.

        Args:
          values: for `input_ids` and all names of BY_NAME.
        """
        positional, named = [], {}
        if self._input is None and any(p.kind is Parameter.VAR_POSITIONAL for p in self.parameters):
            positional.append(values[INPUT])
        elif self._input is None:
            named[INPUT] = values[INPUT]
        for parameter in self.parameters:
            name, kind = parameter.name, parameter.kind
            if parameter is self._input:
                first = parameter is self.parameters[0] and kind is not Parameter.KEYWORD_ONLY
                if first or kind is Parameter.POSITIONAL_ONLY:
                    positional.append(values[INPUT])
                else:
                    named[name] = values[INPUT]
            elif kind is Parameter.POSITIONAL_ONLY:
                positional.append(values.get(name, parameter.default))
            elif kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) and name in BY_NAME:
                named[name] = values[name]
        if self._takes_any_keyword:
            passed = {parameter.name for parameter in self.parameters}
            named |= {name: values[name] for name in self._for_any_keyword if name not in passed}
        return positional, named

    @property
    def _input(self) -> Parameter | None:
        """The parameter of the ids: the one of that name, otherwise the first that stands for nothing else."""
        named = [p for p in self.parameters if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
        exact = next((parameter for parameter in named if parameter.name == INPUT), None)
        unnamed = (p for p in named if p.name not in BY_NAME and p.kind is not Parameter.KEYWORD_ONLY)
        return exact or next(unnamed, None)

    @property
    def _takes_any_keyword(self) -> bool:
        return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in self.parameters)

    @property
    def _for_any_keyword(self) -> tuple[str, ...]:
        """What `**options` get: the three shares, and what numpy's convention adds to them."""
        if self.extends_ours:
            return BY_NAME
        return (*SHARES, "random_tokens", "rng") if self.takes_numpy else SHARES


class Masks(NamedTuple):
    """MLM masks as they are trained on.

    Attributes:
      masked_ids, labels: [B, L].
      num_protected: chosen or changed positions that were special tokens or padding, and are not any more.
      num_chosen, num_ordinary: ordinary tokens that are predicted, and all of them.
    """

    masked_ids: np.ndarray
    labels: np.ndarray
    num_protected: int
    num_chosen: int
    num_ordinary: int

    def far_more_than(self, share: float) -> bool:
        """Whether so many tokens are predicted that the wrapper cannot have drawn them with this probability."""
        spread = 4 * (self.num_ordinary * share * (1 - share)) ** 0.5 + 1
        return self.num_chosen > FAR_MORE * (self.num_ordinary * share + spread)


def checked_masks(
    source: Path,
    ids: np.ndarray,
    protected: np.ndarray,
    answer: tuple[np.ndarray, np.ndarray],
    *,
    vocab_size: int,
    settings: MlmHead,
    takes_shares: bool = True,
) -> Masks:
    """Holds the answer of a user's function to the contract.

    Args:
      source: the user's file, for messages.
      ids: [B, L] the ids that the function was given.
      protected: [B, L] bool; special tokens and padding, which stay as they are and unpredicted.
      answer: masked_ids and labels, [B, L] integers.
      vocab_size: V.
      settings: the shares that were asked for.
      takes_shares: whether the function has parameters for what becomes of the tokens that it chooses.

    Raises:
      UserError: an id outside the vocabulary; a label that is not the id that was there; most predicted tokens are
        left visible.
    """
    masked_ids, labels = answer
    touched = protected & ((labels != IGNORED_LABEL) | (masked_ids != ids))
    masked_ids, labels = np.where(protected, ids, masked_ids), np.where(protected, IGNORED_LABEL, labels)
    chosen = labels != IGNORED_LABEL
    name = "mask_input_for_mlm"
    for what, array in (("masked_ids", masked_ids), ("labels", labels[chosen])):
        check_ids(source, name, what, array, vocab_size)
    if (wrong := chosen & (labels != ids)).any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{source}: {name} returned label {labels[row, column]} in row {row}, column {column}, where the token is "
            f"{ids[row, column]}. A label is the id that was given, or {IGNORED_LABEL} where nothing is predicted."
        )
    num_chosen, unchanged = int(np.count_nonzero(chosen)), int(np.count_nonzero(chosen & (masked_ids == ids)))
    _refuse_visible(source, num_chosen, unchanged, settings, takes_shares=takes_shares)
    ordinary = int(protected.size - np.count_nonzero(protected))
    return Masks(masked_ids, labels, int(np.count_nonzero(touched)), num_chosen, ordinary)


def _refuse_visible(source: Path, num_chosen: int, unchanged: int, settings: MlmHead, *, takes_shares: bool) -> None:
    """Raises UserError where so many predicted tokens are unchanged that the model would mostly see its answers."""
    keep = max(0.0, 1 - settings.mask_token_p - settings.random_token_p)
    if keep > 0.5 or num_chosen < ENOUGH_PREDICTIONS:
        return
    chose = f"{source}: mask_input_for_mlm chose {num_chosen} tokens to predict and "
    if unchanged == num_chosen and keep ** (num_chosen / SPAN) < UNLIKELY:
        raise UserError(
            f"{chose}changed none of them, so the model would see each answer. mask_token_p is "
            f"{settings.mask_token_p:g}: that share of the chosen ones becomes [MASK]. Labels must be {IGNORED_LABEL} "
            "where nothing is to be predicted."
        )
    chance = num_chosen * keep + 5 * (num_chosen * SPAN * keep * (1 - keep)) ** 0.5
    if unchanged > max(num_chosen * (VISIBLE if takes_shares else VISIBLE_UNASKED), chance):
        raise UserError(
            f"{chose}left {unchanged} of them as they were, so the model would see these answers. About {keep:.0%} are "
            f"expected (1 - mask_token_p - random_token_p). Labels must be {IGNORED_LABEL} where nothing is to be "
            "predicted."
        )


def check_ids(source: Path, method: str, name: str, ids: np.ndarray, vocab_size: int) -> None:
    """Raises UserError unless all ids, which `method` of the user's file returned as `name`, are of the vocabulary."""
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise UserError(
            f"{source}: {method} returned {name} with id {wrong}, outside its vocabulary 0..{vocab_size - 1}"
        )
