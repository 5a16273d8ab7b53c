"""Memory of a training step on each of several devices, as the compiler plans it; nothing is run.

python -m benchmarks.sharded_memory     # writes the table of docs/scaling.md; some ten minutes
"""

import dataclasses
import tempfile
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.report import versions
from benchmarks.synthetic import write_data
from benchmarks.worker import Worker

PAGE = Path("docs/scaling.md")
BEGIN, END = "<!-- begin: memory per device -->", "<!-- end: memory per device -->"
DEVICES = (1, 2, 4, 8)
CASE = Case("sharded-memory", "training", "base", 64, 128, rows=64)
COMPILING_SECONDS = 3600.0  # at most; on a busy machine


def devices_of_a_cpu(count: int) -> dict[str, str]:
    """The environment in which JAX divides a CPU into so many devices."""
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def measure(devices: int, fsdp: int, folder: Path) -> tuple[float, float]:
    """Compiles the step for so many devices: MB of what each is given, and of all that it computes."""
    with Worker("benchmarks.ours", folder / "log", environment=devices_of_a_cpu(devices)) as worker:
        case, data = dataclasses.asdict(CASE), str(folder / "data")
        answer = worker.ask("step_bytes", timeout_seconds=COMPILING_SECONDS, case=case, folder=data, fsdp=fsdp)
    return answer["held"] / 1e6, answer["extra"] / 1e6


def table() -> list[str]:
    """Lines of the table: by number of devices, data parallel and with parameters divided."""
    lines = [
        "| devices | `data`: held | `data`: computed | `fsdp`: held | `fsdp`: computed | `fsdp`: both, of one device |",
        "|--:" * 6 + "|",
    ]
    with tempfile.TemporaryDirectory(prefix="textclf-memory-") as folder:
        write_data(CASE, Path(folder) / "data")
        alone = 0.0
        for count in DEVICES:
            repeated = measure(count, 1, Path(folder))
            divided = measure(count, count, Path(folder)) if count > 1 else repeated
            alone = alone or sum(divided)
            cells = [f"{megabytes:,.0f}" for megabytes in (*repeated, *divided)]
            lines.append(f"| {count} | {' | '.join(cells)} | {sum(divided) / alone:.0%} |")
            print(lines[-1], flush=True)
    return lines


def write_table() -> None:
    """Puts the table between its marks in the page."""
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert found, f"{PAGE} has no line {BEGIN}"
    assert end, f"{PAGE} has no line {END}"
    made = f"MB of a device, as XLA plans it (jax {versions()['jax']}, CPU, float32): `benchmarks/sharded_memory.py`."
    text = "\n".join([BEGIN, "", made, "", *table(), "", END])
    PAGE.write_text(before + text + after, encoding="utf-8")


if __name__ == "__main__":
    write_table()
