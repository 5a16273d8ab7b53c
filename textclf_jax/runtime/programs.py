"""Compiled programs, one for each shape of a batch."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.barriers import COMPILER_OPTIONS
from textclf_jax.runtime.memory import return_unused

Shape = tuple[int, int]
Compiled = jax.stages.Compiled


def compiled(
    function: Callable[..., Any],
    *arguments: PyTree,
    name: str | None = None,
    donate: tuple[int, ...] = (),
    mesh: Mesh | None = None,
    results: PyTree = None,
) -> Compiled:
    """Compiles a function ahead of time, with the compiler options that the kernels need.

    Args:
      function: pure.
      arguments: trees of shapes and dtypes (`shapes_of`), on several devices with where they lie.
      name: of the program; traces tell programs apart by it.
      donate: which arguments the program may overwrite.
      mesh: the devices that divide the work among them; None: there is one.
      results: where the results lie, a tree of shardings or the beginning of one; None leaves it to the compiler.

    Returns:
      The program; it takes arguments of exactly these shapes.
    """

    def call(*arguments):
        return function(*arguments)

    call.__name__ = name or "call"
    placed = {} if results is None else {"out_shardings": results}
    jitted: Any = jax.jit(call, donate_argnums=donate, **placed)
    with nullcontext() if mesh is None else jax.set_mesh(mesh):
        program = jitted.lower(*arguments).compile(COMPILER_OPTIONS.get(platform()))
    # this trace is never used again
    jitted.clear_cache()
    return_unused()
    return program


def shapes_of(tree: PyTree) -> PyTree[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a tree of arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


class Programs:
    """A mapping from shapes (B, L) to compiled programs, each compiled when it is first asked for.

    Threads may share it: one compiles, and others that ask for a program that is not there wait for it.

    Attributes:
      compiled: those compiled so far.
    """

    def __init__(
        self,
        kind: str,
        make: Callable[[Shape], Compiled],
        note: Callable[[str], None] = lambda text: None,
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        """Compiles nothing yet.

        Args:
          kind: of the programs, for the notes.
          make: compiles the program for a shape.
          note: says what is being compiled.
          paused: entered meanwhile.
        """
        self._kind, self._make, self._note, self._paused = kind, make, note, paused
        self.compiled: dict[Shape, Compiled] = {}
        self._compiling = threading.Lock()

    def __contains__(self, shape: Shape) -> bool:
        return shape in self.compiled

    def __getitem__(self, shape: Shape) -> Compiled:
        if shape in self.compiled:
            return self.compiled[shape]
        with self._compiling:
            if shape not in self.compiled:  # another thread may have compiled it meanwhile
                self._note(f"compiling the {self._kind} program for {shape[0]} x {shape[1]} tokens")
                with self._paused():
                    self.compiled[shape] = self._make(shape)
        return self.compiled[shape]

    def compile(self, shape: Shape) -> None:
        """Compiles the program for a shape now, if it is not there yet."""
        self[shape]
