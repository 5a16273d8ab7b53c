"""Compiled programs, one for each shape of a batch, compiled when a batch of that shape first comes."""

from collections.abc import Callable
from typing import Any

from textclf_jax.allocation import return_unused
from textclf_jax.training.groups import Group

Shape = tuple[int, int]
Compiled = Callable[..., Any]


def run_steps(program: Compiled, state: Any, group: Group) -> tuple[Any, Any]:
    """Takes the steps of a group that is on the device; gives the state after them and their figures."""
    return program(state, group.arrays, group.count)


class Programs:
    """A mapping from shapes (B, L) to compiled programs.

    Attributes:
      compiled: those there are so far.
    """

    def __init__(self, kind: str, make: Callable[[Shape], Any], note: Callable[[str], None] = lambda text: None):
        """Compiles nothing yet.

        Args:
          kind: of the programs, for the notes.
          make: compiles the program for a shape.
          note: says what is being compiled.
        """
        self._kind, self._make, self._note = kind, make, note
        self.compiled: dict[Shape, Any] = {}

    def __contains__(self, shape: Shape) -> bool:
        return shape in self.compiled

    def __getitem__(self, shape: Shape) -> Compiled:
        if shape not in self.compiled:
            self._note(f"compiling the {self._kind} program for {shape[0]} x {shape[1]} tokens")
            self.compiled[shape] = self._make(shape)
            return_unused()
        return self.compiled[shape]
