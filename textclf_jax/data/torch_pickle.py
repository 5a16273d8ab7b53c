"""Reads the pickle in PyTorch's files as a description, without running it.

A pickle is a program that imports functions and calls them. torch.save uses a small part of that language to say which
tensors there are and where their values lie. Only that part is understood here: nothing is imported or called, and
every other operation is refused.
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, TypeVar

MAX_AXES = 64  # of a NumPy array

T = TypeVar("T")


class StoredTensor(NamedTuple):
    """Where the values of a tensor are."""

    record: str  # name of the record in the file that holds the storage
    storage: str  # torch's name of the storage's type, such as "LongStorage"
    stored: int  # elements of the storage
    offset: int  # index of the tensor's first element in the storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements


@dataclass(eq=False)
class Instance:
    """An object whose class, "module name", is known by name only, and its attributes."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


class UnsafePickleError(Exception):
    """A pickle does more than describe tensors. The message is what it names, such as "posix.mkdir"."""


class _Name(str):
    """The name of a class or function, "module name"."""


class _Storage(NamedTuple):
    """A block of memory that tensors share."""

    kind: str  # torch's name of its type
    record: str
    count: int  # of elements


class _Mark:
    """Marks where a group of values begins on the stack."""


def describe_pickle(stream: IO[bytes], allowed: Collection[str]) -> Any:
    """Reads a pickle as a description.

    Args:
      stream: the pickle, of protocol 2 or 3.
      allowed: the classes and functions ("module name") that it may name, beside the types of storages.

    Returns:
      The object: numbers, strings, tuples, lists and dicts of them, `StoredTensor` for tensors, `Instance` for others.

    Raises:
      UnsafePickleError: it names something else, or is more than a description.
      Exception: of various kinds, where it is damaged.
    """
    reader = _Reader(allowed)
    for operation, argument, _ in pickletools.genops(stream):
        reader.apply(operation.name, argument)
    (described,) = reader.stack
    return described


class _Reader:
    """A pickle machine, with its stack and memo, that makes descriptions instead of objects."""

    def __init__(self, allowed: Collection[str]):
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def apply(self, operation: str, argument: Any) -> None:
        if operation in ("GLOBAL", "STACK_GLOBAL", "INST"):
            self.name(argument)
        elif operation in _LITERALS:
            self.stack.append(argument)
        elif operation in _NEW:
            self.stack.append(_NEW[operation]())
        elif operation in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif operation in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif operation in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[operation])))
        elif operation in _ACTIONS:
            _ACTIONS[operation](self)
        elif operation not in ("PROTO", "STOP"):
            raise UnsafePickleError("objects of a newer pickle protocol")

    def pop(self, count: int) -> list[Any]:
        """Removes the last `count` values from the stack and returns them."""
        if len(self.stack) < count:
            raise ValueError("it takes more than it has")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def group(self) -> list[Any]:
        """Removes the values since the last mark from the stack and returns them."""
        values = []
        while not isinstance(value := self.stack.pop(), _Mark):
            values.append(value)
        return values[::-1]

    def name(self, name: str | None) -> None:
        if name is None:
            raise UnsafePickleError("objects of a newer pickle protocol")
        if name not in self.allowed and not (name.startswith("torch ") and name.endswith("Storage")):
            raise UnsafePickleError(name.replace(" ", "."))
        self.stack.append(_Name(name))

    def storage(self) -> None:
        """Replaces ("storage", type, record, device, number of elements) on the stack by the storage."""
        (described,) = self.pop(1)
        kind, storage, key, _, count = described
        if kind != "storage" or not isinstance(storage, _Name):
            raise ValueError("it refers to what is not a storage")
        self.stack.append(_Storage(storage.removeprefix("torch "), _typed(str, key), _typed(int, count)))

    def call(self) -> None:
        """Replaces a function and its arguments on the stack by what the call would return."""
        function, arguments = self.pop(2)
        if not isinstance(function, _Name) or function not in _CALLS:
            raise ValueError("it calls what is not a function")
        self.stack.append(_CALLS[function](*arguments))

    def instance(self) -> None:
        name, _ = self.pop(2)
        self.stack.append(Instance(_typed(_Name, name)))

    def attributes(self) -> None:
        """Sets attributes of the last value; those of an OrderedDict (a state dict's metadata) are dropped."""
        (given,) = self.pop(1)
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].attributes.update(_typed(dict, given))

    def items(self, flat: list[Any]) -> None:
        # only plain keys: a file can contain keys that take forever to hash, or overflow the C stack
        keys = [key if type(key) is int else _typed(str, key) for key in flat[::2]]
        _typed(dict, self.stack[-1]).update(zip(keys, flat[1::2], strict=True))

    def elements(self, values: list[Any]) -> None:
        _typed(list, self.stack[-1]).extend(values)


def _typed(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"it has a {type(value).__name__} in the place of a {kind.__name__}")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    kind, record, count = _typed(_Storage, storage)
    numbers = [_typed(int, number) for number in (offset, *shape, *strides)]
    if not 0 <= min(numbers) <= max(numbers) < 1 << 63 or not len(shape) == len(strides) <= MAX_AXES:
        raise ValueError("it has a tensor of an impossible shape")
    return StoredTensor(record, kind, count, offset, tuple(shape), tuple(strides))


def _empty_dict() -> dict[Any, Any]:
    """What OrderedDict() makes. Not `dict`: it would accept arguments from the file, and hash them."""
    return {}


_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ACTIONS: dict[str, Callable[[_Reader], None]] = {
    "TUPLE": lambda reader: reader.stack.append(tuple(reader.group())),
    "APPEND": lambda reader: reader.elements(reader.pop(1)),
    "APPENDS": lambda reader: reader.elements(reader.group()),
    "SETITEM": lambda reader: reader.items(reader.pop(2)),
    "SETITEMS": lambda reader: reader.items(reader.group()),
    "BINPERSID": _Reader.storage,
    "REDUCE": _Reader.call,
    "NEWOBJ": _Reader.instance,
    "BUILD": _Reader.attributes,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "collections OrderedDict": _empty_dict,
    "torch Size": tuple,
    "torch device": lambda kind, *_: _typed(str, kind),
}
