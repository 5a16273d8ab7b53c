"""Reads the text of an optimised XLA module, as `jax.stages.Compiled.as_text` gives it."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_DTYPES = {1: "pred s8 u8", 2: "s16 u16 f16 bf16", 4: "s32 u32 f32", 8: "s64 u64 f64"}
BYTES = {dtype: size for size, dtypes in _DTYPES.items() for dtype in dtypes.split()}

_ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_NAME = re.compile(r"%([\w.\-]+)")


class Array(NamedTuple):
    """Dtype and dimensions of an array, as HLO writes them."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return BYTES[self.dtype] * self.size


def arrays_in(text: str) -> list[Array]:
    """The arrays of a type, such as "(f32[4,8]{1,0}, s32[])"; tuples are flattened."""
    return [Array(dtype, integers(dims)) for dtype, dims in _ARRAY.findall(text)]


def integers(text: str) -> tuple[int, ...]:
    """The numbers in a list such as "1,0" or `"1","0"`."""
    return tuple(map(int, re.findall(r"\d+", text)))


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
      name: unique in the module.
      arrays: of its result.
      opcode: such as "fusion".
      operands: names.
      argument: the text between the parentheses.
      attributes: the text after them.
      is_root: whether it is the result of its computation.
    """

    name: str
    arrays: list[Array]
    opcode: str
    operands: list[str]
    argument: str
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Of its result."""
        return sum(array.bytes for array in self.arrays)

    @property
    def size(self) -> int:
        """The elements of its result."""
        return sum(array.size for array in self.arrays)

    def attribute(self, pattern: str) -> str | None:
        """The first group of a regular expression in the attributes; None where it does not match."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None


Computation = dict[str, Instruction]


class Module(NamedTuple):
    """Computations by name, their instructions in order; `entry` names the one that runs."""

    computations: dict[str, Computation]
    entry: str

    def called_by(self, instruction: Instruction) -> Iterator[str]:
        """The computations that an instruction names, in the order of the text; the condition of a loop is not among
        them."""
        for listed in re.findall(
            r"(?:calls|to_apply|body|true_computation|false_computation|branch_computations)=(\{[^}]*\}|%[\w.\-]+)",
            instruction.attributes,
        ):
            yield from _NAME.findall(listed)


def read_module(text: str) -> Module:
    """Reads a module.

    Raises:
      ValueError: the text is no HLO module.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _INSTRUCTION.match(line)):
            is_root, name, result, opcode, rest = found.groups()
            argument, attributes = _split_at_closing(rest)
            operands = _NAME.findall(argument)
            current[name] = Instruction(
                name, arrays_in(result), opcode, operands, argument, attributes, is_root is not None
            )
    if not entry:
        raise ValueError("this is no text of an HLO module: it has no ENTRY computation")
    return Module(computations, entry)


def _split_at_closing(text: str) -> tuple[str, str]:
    """Splits what follows an opening parenthesis at the one that closes it."""
    depth = 1
    for found in re.finditer(r"[()]", text):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return text[: found.start()], text[found.end() :]
    return text, ""
