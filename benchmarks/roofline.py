"""A roofline of a compiled GPU program: the bytes, FLOPs and least time of each of its kernels.

Nothing is run. A kernel takes as long as its bytes need at the memory's speed, or its FLOPs at that of products, the
longer of both; launches come on top. Caches are left out: what one kernel writes the next one reads from memory.
"""

import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.hlo import Array, Computation, Instruction, Module, integers, read_module

# what programs reach on an H100 SXM, of 3.35 TB/s and 989 TFLOP/s
MEMORY = 3.0e12
PRODUCTS = 700e12
FLASH_ATTENTION = 400e12
LAUNCH_SECONDS = 2.0e-6

# these run nothing
_FREE = frozenset(("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "opt-barrier"))
_SLICES = frozenset(("gather", "dynamic-slice", "slice"))
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # the operand that is written; the first one stays in place
_ELEMENTWISE = frozenset(("add", "subtract", "multiply", "select", "convert", "bitcast", "reshape"))
_PATH_NOISE = re.compile(
    r"jit\([^/]*\)/|while/body/|eval_jaxpr/|closed_call/|transpose\(jvp\([^/]*\)\)/|jvp\([^/]*\)/|checkpoint/"
)


class Product(NamedTuple):
    """A matrix product: its operands and its result."""

    left: Array
    right: Array
    result: Array

    @property
    def has_float32_operands(self) -> bool:
        """Whether it does not run at the speed of bfloat16."""
        return "f32" in (self.left.dtype, self.right.dtype)


class Kernel(NamedTuple):
    """What the device runs at one launch.

    Attributes:
      name: of the instruction.
      scope: the part of the model, and the direction.
      times: how often it runs in a step.
      bytes: read and written.
      flops: of products.
      products: those of the kernel.
      is_flash_attention: by cuDNN.
    """

    name: str
    scope: str
    times: int
    bytes: int
    flops: int
    products: list[Product]
    is_flash_attention: bool

    @property
    def seconds(self) -> float:
        """The least time of one launch."""
        speed = FLASH_ATTENTION if self.is_flash_attention else PRODUCTS
        return max(self.bytes / MEMORY, self.flops / speed)


class Totals(NamedTuple):
    """Sums over kernels.

    Attributes:
      kernels: launches.
      bytes, flops: read and written; of products.
      seconds: without launches.
      product_seconds: of kernels with products or attention.
    """

    kernels: int
    bytes: int
    flops: int
    seconds: float
    product_seconds: float

    @property
    def launch_seconds(self) -> float:
        """What launches take."""
        return self.kernels * LAUNCH_SECONDS


def totals(kernels: Sequence[Kernel]) -> Totals:
    """Sums over kernels."""
    return Totals(
        sum(k.times for k in kernels),
        sum(k.times * k.bytes for k in kernels),
        sum(k.times * k.flops for k in kernels),
        sum(k.times * k.seconds for k in kernels),
        sum(k.times * k.seconds for k in kernels if k.flops),
    )


def by_scope(kernels: Sequence[Kernel]) -> dict[str, Totals]:
    """Totals of each scope, products apart, the slowest first."""
    groups = defaultdict(list)
    for kernel in kernels:
        groups[kernel.scope + " (products)" * bool(kernel.flops)].append(kernel)
    found = {scope: totals(group) for scope, group in groups.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


def kernels_of(text: str) -> list[Kernel]:
    """The kernels of an optimised module, in the order in which they run.

    Raises:
      ValueError: the text is no HLO module.
    """
    module = read_module(text)
    return list(_kernels(module, module.entry, 1))


def _kernels(module: Module, name: str, times: int) -> Iterator[Kernel]:
    computation = module.computations[name]
    for instruction in computation.values():
        if instruction.opcode in _FREE:
            continue
        if instruction.opcode in ("while", "call", "conditional"):
            trips = instruction.attribute(r'"known_trip_count":\{"n":"(\d+)"\}')
            for called in module.called_by(instruction):
                yield from _kernels(module, called, times * int(trips or 1))
        else:
            yield _kernel(module, computation, instruction, times)


def _kernel(module: Module, computation: Computation, instruction: Instruction, times: int) -> Kernel:
    target = instruction.attribute('custom_call_target="([^"]*)"') or ""
    operands = [computation[name] for name in instruction.operands if name in computation]
    products, size = [], instruction.bytes + sum(operand.bytes for operand in operands)
    if instruction.opcode == "fusion":
        (called,) = module.called_by(instruction)
        products, size = list(_products(module, called)), _fusion_bytes(module.computations[called], instruction)
    elif instruction.opcode == "dot":
        products = [_dot(computation, instruction)]
    elif "cublas" in target:
        products = [_library_product(operands, instruction)]
    flops = sum(flops for _, flops in products)
    if "fmha" in target:
        flops = _attention_flops(operands, backward="Backward" in target)
    scope = scope_of(instruction.attribute('op_name="([^"]*)"') or "")
    return Kernel(instruction.name, scope, times, size, flops, [product for product, _ in products], "fmha" in target)


def scope_of(op_name: str) -> str:
    """The part of the model that an operation comes from, all layers alike, after "fwd" or "bwd"."""
    path = re.sub(r"layers_\d+", "layers", _PATH_NOISE.sub("", op_name))
    if path.startswith("optimizer"):
        return "optimizer"
    direction = "bwd" if "transpose(" in op_name else "fwd"
    return f"{direction} {'/'.join(path.split('/')[:5])}"


def _products(module: Module, name: str) -> Iterator[tuple[Product, int]]:
    """The products in a computation and those it calls, with their FLOPs."""
    computation = module.computations[name]
    for instruction in computation.values():
        if instruction.opcode == "dot":
            yield _dot(computation, instruction)
        for called in module.called_by(instruction):
            yield from _products(module, called)


def _dot(computation: Computation, instruction: Instruction) -> tuple[Product, int]:
    left, right = (computation[name].arrays[0] for name in instruction.operands[:2])
    contracted = integers(instruction.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or "")
    return _product(left, right, instruction.arrays[0], contracted)


def _library_product(operands: list[Instruction], instruction: Instruction) -> tuple[Product, int]:
    left, right = (operand.arrays[0] for operand in operands[:2])
    contracted = integers(instruction.attribute(r'"lhs_contracting_dimensions":\[([^\]]*)\]') or "")
    return _product(left, right, instruction.arrays[0], contracted)


def _product(left: Array, right: Array, result: Array, contracted: tuple[int, ...]) -> tuple[Product, int]:
    return Product(left, right, result), 2 * result.size * math.prod(left.dims[axis] for axis in contracted)


def _attention_flops(operands: list[Instruction], *, backward: bool) -> int:
    """cuDNN's flash attention: two products of queries [B, L, H, K] and keys [B, S, H, K]; five in the gradient."""
    (batch, length, heads, channels), (_, num_keys, *_) = (operand.arrays[0].dims for operand in operands[:2])
    return 2 * batch * heads * length * num_keys * channels * (5 if backward else 2)


def _fusion_bytes(body: Computation, instruction: Instruction) -> int:
    """Of what a fusion reads and writes; slices, gathers and updates in place touch what they take."""
    parameters = {int(i.argument): i for i in body.values() if i.opcode == "parameter"}
    read = sum(round(_bytes_read(body, parameters[number])) for number in range(len(instruction.operands)))
    (root,) = (i for i in body.values() if i.is_root)
    if root.opcode in _UPDATES:
        return read + 2 * body[root.operands[_UPDATES[root.opcode]]].bytes
    return read + instruction.bytes


def _bytes_read(body: Computation, read: Instruction) -> float:
    """Of a parameter, or of what is computed from it element by element: only what its users take."""
    users = [i for i in body.values() if read.name in i.operands]
    taken = 0.0
    for user in users:
        is_first = user.operands[0] == read.name
        if user.opcode in _ELEMENTWISE and user.size == read.size:
            taken += read.bytes * _bytes_read(body, user) / user.bytes
        elif is_first and user.opcode in _SLICES:
            taken += user.size * read.bytes / read.size
        elif not (is_first and user.opcode in _UPDATES):
            return read.bytes
    return min(taken, read.bytes) if users and not read.is_root else read.bytes


def show(kernels: Sequence[Kernel], scopes: int = 40) -> None:
    """Prints the totals, those of the slowest scopes, and the products with float32 operands."""
    from textclf_jax.observe.progress import print_table

    def cells(name: str, sums: Totals) -> tuple[str, ...]:
        milliseconds, size, flops = 1e3 * sums.seconds, sums.bytes / 1e9, sums.flops / 1e12
        return name, str(sums.kernels), f"{milliseconds:.3f}", f"{size:.2f}", f"{flops:.2f}"

    rows = [cells("all", totals(kernels)), *(cells(*item) for item in list(by_scope(kernels).items())[:scopes])]
    print_table("roofline", rows, ("scope", "kernels", "ms", "GB", "TFLOP"))
    wide = [(k.times, k.scope, *map(_text, p)) for k in kernels for p in k.products if p.has_float32_operands]
    if wide:
        print_table("products with float32 operands", wide, ("times", "scope", "left", "right", "result"))


def _text(array: Array) -> str:
    return f"{array.dtype}[{','.join(map(str, array.dims))}]"


if __name__ == "__main__":
    for path in sys.argv[1:]:
        show(kernels_of(Path(path).read_text(encoding="utf-8")))
