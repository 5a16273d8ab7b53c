"""The roofline of a small program, in which each kind of kernel is there once; its sums are worked out by hand."""

from pathlib import Path

import pytest

from benchmarks.hlo import Array, arrays_in, read_module
from benchmarks.roofline import Kernel, by_scope, kernels_of, scope_of, totals

STEP = (Path(__file__).parent / "step.hlo").read_text(encoding="utf-8")

# name: (times, bytes, FLOPs)
EXPECTED = {
    # 8 of the table's 1,000 rows, their number, and the result
    "slice_fusion": (1, 4 * 8 * 64 + 4 + 2 * 8 * 64, 0),
    "negated": (5, 2 * 8 * 64 * 2, 0),
    "gemm": (1, 2 * 8 * 64 + 4 * 64 * 32 + 4 * 8 * 32, 2 * 8 * 64 * 32),
    # the library's workspace counts
    "library": (1, 2 * 4 * 8 * 32 + 2 * 32 * 32 + 1024, 2 * 32 * 32 * 8),
    "attention": (1, 4 * 2 * 2 * 512 * 4 * 64, 2 * 2 * 2 * 4 * 512 * 512 * 64),
    # the part is read, and read and written in its place; the rest stays
    "stored": (1, 4 * 8 * 32 + 4 + 2 * 4 * 8 * 32, 0),
}


def kernels() -> dict[str, Kernel]:
    return {kernel.name: kernel for kernel in kernels_of(STEP)}


def test_each_kernel_counts_what_it_touches():
    found = {name: (kernel.times, kernel.bytes, kernel.flops) for name, kernel in kernels().items()}
    assert found == EXPECTED


def test_a_kernel_takes_the_longer_of_its_bytes_and_its_products():
    found = kernels()
    assert found["negated"].seconds == pytest.approx(2048 / 3.0e12)
    assert found["gemm"].seconds == pytest.approx(max(10_240 / 3.0e12, 32_768 / 700e12))
    assert found["attention"].seconds == pytest.approx(536_870_912 / 400e12)


def test_totals_count_a_loop_as_often_as_it_runs():
    sums = totals(kernels_of(STEP))
    assert sums.kernels == 10
    assert sums.bytes == sum(times * size for times, size, _ in EXPECTED.values())
    assert sums.flops == sum(flops for *_, flops in EXPECTED.values())
    assert sums.launch_seconds == pytest.approx(10 * 2e-6)
    parts = kernels()
    assert sums.product_seconds == pytest.approx(sum(parts[name].seconds for name in ("gemm", "library", "attention")))
    assert sums.seconds == pytest.approx(sum(kernel.times * kernel.seconds for kernel in parts.values()))


def test_products_with_float32_operands_are_found():
    wide = {name: [p.has_float32_operands for p in kernel.products] for name, kernel in kernels().items()}
    assert wide == {name: [True] * (name in ("gemm", "library")) for name in EXPECTED}
    (product,) = kernels()["gemm"].products
    assert product == (Array("f32", (8, 64)), Array("f32", (64, 32)), Array("f32", (8, 32)))


def test_scopes_are_parts_of_the_model():
    assert {name: kernel.scope for name, kernel in kernels().items()} == {
        "slice_fusion": "fwd embeddings/gather",
        "negated": "fwd layers/neg",
        "gemm": "bwd layers/mlp/dot_general",
        "library": "fwd layers/mlp/dot_general",
        "attention": "fwd layers/attention/dot_product_attention_fwd",
        "stored": "optimizer",
    }
    assert scope_of("") == "fwd "
    assert next(iter(by_scope(kernels_of(STEP)))) == "fwd layers/attention/dot_product_attention_fwd (products)"


def test_types_are_read():
    assert arrays_in("(f32[4,8]{1,0}, s32[], u8[0]{0})") == [Array("f32", (4, 8)), Array("s32", ()), Array("u8", (0,))]
    assert [array.bytes for array in arrays_in("bf16[2,3], pred[5]")] == [12, 5]


def test_other_text_is_no_module():
    with pytest.raises(ValueError, match="no text of an HLO module"):
        read_module("ENTRY to the building")


PART_OF_A_SUM = """
%part_of_a_sum (x: bf16[32,96], bias: f32[96]) -> bf16[32,32] {
  %x = bf16[32,96]{1,0} parameter(0)
  %bias = f32[96]{0} parameter(1)
  %wide = f32[32,96]{1,0} convert(%x)
  %spread = f32[32,96]{1,0} broadcast(%bias), dimensions={1}
  %sum = f32[32,96]{1,0} add(%wide, %spread)
  %part = f32[32,32]{1,0} slice(%sum), slice={[0:32], [32:64]}
  ROOT %rounded = bf16[32,32]{1,0} convert(%part)
}

ENTRY %main (p0: bf16[32,96], p1: f32[96]) -> bf16[32,32] {
  %p0 = bf16[32,96]{1,0} parameter(0)
  %p1 = f32[96]{0} parameter(1)
  ROOT %fusion = bf16[32,32]{1,0} fusion(%p0, %p1), kind=kLoop, calls=%part_of_a_sum
}
"""


def test_of_what_is_cut_after_a_sum_only_the_part_is_read():
    """Unless something else needs the rest, such as a second result."""
    part, bias = 32 * 32, 96
    (kernel,) = kernels_of(PART_OF_A_SUM)
    assert kernel.bytes == 2 * part + 4 * bias + 2 * part
    with_all = PART_OF_A_SUM.replace("ROOT %rounded", "%rounded").replace(
        "convert(%part)", "convert(%part)\n  ROOT %both = (bf16[32,32]{1,0}, f32[32,96]{1,0}) tuple(%rounded, %sum)"
    )
    (kernel,) = kernels_of(with_all)
    assert kernel.bytes == 2 * 3 * part + 4 * bias + 2 * part
