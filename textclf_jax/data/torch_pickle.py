"""What the pickle in torch's files describes, told without running it.

A pickle is a program that names functions and calls them. The one in a file that torch.save wrote uses a small part of
that language to say which tensors there are and where their numbers lie; that part is read here as a description.
Nothing is imported, nothing is called, and what does not belong to it is refused.
"""

import pickletools
from collections.abc import Callable, Collection
from typing import IO, Any, NamedTuple

MAX_AXES = 64  # what NumPy takes


class StoredTensor(NamedTuple):
    """Where the numbers of a tensor are.

    Attributes:
      record: name of the record in the file that holds the storage.
      storage: torch's name of the storage's type, such as "LongStorage".
      stored: elements of the storage.
      offset: the tensor's first element in it.
      shape, strides: of the tensor, in elements.
    """

    record: str
    storage: str
    stored: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Instance:
    """An object of a class that is only named.

    Attributes:
      name: module and class, with a space between.
      attributes: the object's attributes by name.
    """

    def __init__(self, name: str):
        """An object without attributes."""
        self.name, self.attributes = name, {}


class NotHarmlessError(Exception):
    """A pickle that names or does what no harmless description needs; the text is what it names."""


class _Name(str):
    """The name of a class or function, "module name"."""


class _Storage(NamedTuple):
    """The memory of tensors: torch's name of its type, the record that holds it, the number of its elements."""

    kind: str
    record: str
    count: int


class _Mark:
    """Where a group of values begins on the stack."""


def describe(stream: IO[bytes], harmless: Collection[str]) -> Any:
    """Reads a pickle as a description.

    Args:
      stream: the pickle, of protocol 2 or 3.
      harmless: the names ("module name") that may occur beside the types of storages.

    Returns:
      The object: numbers, strings, tuples, lists and dicts of them, `StoredTensor` for tensors, `Instance` for others.

    Raises:
      NotHarmlessError: it names something else, or is more than a description.
      Exception: of various kinds, where it is damaged.
    """
    reader = _Reader(harmless)
    for operation, argument, _ in pickletools.genops(stream):
        reader.take(operation.name, argument)
    (described,) = reader.stack
    return described


class _Reader:
    """The stack and the memo of a pickle, and what its operations mean for a description."""

    def __init__(self, harmless: Collection[str]):
        self.harmless = harmless
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, operation: str, argument: Any) -> None:
        """Takes one operation."""
        if operation in ("GLOBAL", "STACK_GLOBAL", "INST"):
            self.name(argument)
        elif operation in _VALUES:
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
            raise NotHarmlessError("objects of a newer pickle protocol")

    def pop(self, count: int) -> list[Any]:
        """Takes the last values from the stack."""
        if len(self.stack) < count:
            raise ValueError("it takes more than it has")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def group(self) -> list[Any]:
        """Takes the values since the last mark from the stack."""
        values = []
        while not isinstance(value := self.stack.pop(), _Mark):
            values.append(value)
        return values[::-1]

    def name(self, name: str | None) -> None:
        if name is None:
            raise NotHarmlessError("objects of a newer pickle protocol")
        if name not in self.harmless and not (name.startswith("torch ") and name.endswith("Storage")):
            raise NotHarmlessError(name.replace(" ", "."))
        self.stack.append(_Name(name))

    def storage(self) -> None:
        """("storage", type, key, device, number of elements) in the place of the storage itself."""
        (described,) = self.pop(1)
        kind, storage, key, _, count = described
        if kind != "storage" or not isinstance(storage, _Name):
            raise ValueError("it refers to what is not a storage")
        self.stack.append(_Storage(storage.removeprefix("torch "), _typed(str, key), _typed(int, count)))

    def call(self) -> None:
        """What a call in the pickle would have made."""
        function, arguments = self.pop(2)
        if not isinstance(function, _Name) or function not in _MADE:
            raise ValueError("it calls what is not a function")
        self.stack.append(_MADE[function](*arguments))

    def instance(self) -> None:
        name, _ = self.pop(2)
        self.stack.append(Instance(_typed(_Name, name)))

    def attributes(self) -> None:
        """Attributes of the last value; those of a dict (an OrderedDict with metadata) are of no interest."""
        (given,) = self.pop(1)
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].attributes.update(_typed(dict, given))

    def items(self, flat: list[Any]) -> None:
        # only plain keys: hashing may be made to take for ever, or too deep for the C stack
        keys = [key if type(key) is int else _typed(str, key) for key in flat[::2]]
        _typed(dict, self.stack[-1]).update(zip(keys, flat[1::2], strict=True))

    def elements(self, values: list[Any]) -> None:
        _typed(list, self.stack[-1]).extend(values)


def _typed(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"it has a {type(value).__name__} in the place of a {kind.__name__}")
    return value


def _tensor(storage, offset, shape, strides, *_) -> StoredTensor:
    kind, record, count = _typed(_Storage, storage)
    numbers = [_typed(int, number) for number in (offset, *shape, *strides)]
    if not 0 <= min(numbers) <= max(numbers) < 1 << 63 or not len(shape) == len(strides) <= MAX_AXES:
        raise ValueError("it has a tensor of an impossible shape")
    return StoredTensor(record, kind, count, offset, tuple(shape), tuple(strides))


def _empty_dict() -> dict[Any, Any]:
    """An OrderedDict as torch writes it; `dict` itself would take, and hash, whatever a file gives it."""
    return {}


_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
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
_MADE: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "collections OrderedDict": _empty_dict,
    "torch Size": tuple,
    "torch device": lambda kind, *_: _typed(str, kind),
}
