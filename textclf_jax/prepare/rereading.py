"""What is read from a file again each time it is gone through, and so never stands in memory as a whole."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Rereadable(Iterable[T], Generic[T]):
    """Items that `read` gives anew for each loop over them."""

    def __init__(self, read: Callable[[], Iterable[T]]):
        self._read = read

    def __iter__(self) -> Iterator[T]:
        return iter(self._read())


def first_of(items: Iterable[T]) -> T | None:
    """The first item; None where there is none."""
    return next(iter(items), None)
