"""Our side: the steps that `fit` compiles, fed by the stream that feeds them in a run."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import jax

from textclf_jax.benchmarks.cases import NUM_LABELS, SIZES, Case
from textclf_jax.benchmarks.worker import peak_process_mb, serve
from textclf_jax.config import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.data.collate import padding_waste
from textclf_jax.training.device import compute_precision, set_up_device
from textclf_jax.training.limits import measured_limit
from textclf_jax.training.run import Run, prepare_run
from textclf_jax.training.stream import plan_epoch, prefetched, training_stream

LIMIT_SIZES = {"cpu": 2048, "gpu": 8192}


def configuration(case: Case, folder: Path) -> RunConfig:
    """The configuration of a case whose data lies in `folder`; dropout 0.1, AdamW, gradients clipped at 1."""
    size = SIZES[case.size]
    kind = "pretraining" if case.task == "mlm" else "finetuning"
    sections: dict[str, Any] = {
        "experiment": {"name": case.row, "kind": kind, "output_dir": str(folder)},
        "tokenizer": {"vocab_dir": str(folder / "vocab")},
        "architecture": {
            "max_sequence_length": case.max_length,
            "embedding_dim": size.embedding_dim,
            "num_layers": size.num_layers,
            "mlp_size": size.mlp_size,
            "attention": {"kind": case.attention, "num_heads": size.num_heads},
        },
        # epochs without end: the suite says when it has seen enough
        "training": {"learning_rate": 1e-4, "batch_size": case.batch_size, "epochs": 1000},
        "data": {"train": {"dataset_path": str(folder / "train.pt")}},
    }
    if case.task == "mlm":
        return PretrainingConfig.model_validate(sections)
    return FinetuningConfig.model_validate({**sections, "classification_head": {"num_labels": NUM_LABELS}})


class Session:
    """One case, from its data to the state after the latest step."""

    run: Run

    def start(self, case: dict[str, Any], folder: str) -> dict[str, Any]:
        """Loads data and compiles; answers seconds of compilation and the share of padding in an epoch."""
        self.case = Case(**case)
        config = configuration(self.case, Path(folder))
        set_up_device(config.training)
        self.run = run = prepare_run(config, Path())
        variables = run.init_variables()
        settings = run.step_settings(variables["params"])
        self.state = run.init_state(variables, settings)
        before = time.perf_counter()
        self.programs = {bucket: run.training_program(bucket, self.state, settings) for bucket in run.buckets}
        compile_seconds = time.perf_counter() - before
        stream = training_stream(run.task, run.train, run.buckets, run.length, 0)
        self.batches = prefetched(stream, lambda host: (host, jax.device_put(host.arrays)))
        plans = plan_epoch(run.task, run.train, run.buckets, 0)
        waste = padding_waste(run.train.lengths, plans, self.case.batch_size)
        return {"compile_seconds": compile_seconds, "padding_waste": waste}

    def steps(self, count: int) -> dict[str, Any]:
        """Trains `count` steps; answers seconds, real tokens and FLOPs."""
        tokens = flops = 0
        before = time.perf_counter()
        for _ in range(count):
            host, arrays = next(self.batches)
            self.state, _ = self.programs[host.length](self.state, arrays)
            tokens += host.tokens
            flops += self.run.task.flops(host.length, train=True)
        jax.block_until_ready(self.state)
        return {"seconds": time.perf_counter() - before, "tokens": tokens, "flops": flops}

    def limit(self) -> dict[str, Any]:
        """Answers the FLOP/s of a large matrix product in the dtype of the run's products."""
        products = compute_precision(self.run.config.training).products
        return {"limit": measured_limit(products, LIMIT_SIZES[jax.default_backend()], seconds=0.3)}

    def memory(self) -> dict[str, Any]:
        """Answers the most memory held so far: of the device on a GPU, of the process elsewhere."""
        if jax.default_backend() == "gpu":
            return {"peak_mb": jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6}
        return {"peak_mb": peak_process_mb()}


def device() -> dict[str, Any]:
    """Answers the platform, "cpu" or "gpu", and the device's name, which has "cpu" in it where it is one."""
    if jax.default_backend() == "gpu":
        return {"platform": "gpu", "name": jax.devices()[0].device_kind}
    return {"platform": "cpu", "name": f"CPU {_processor()}, {os.cpu_count()} cores"}


def _processor() -> str:
    """The processor's model as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


if __name__ == "__main__":
    session = Session()
    serve(
        {
            "device": device,
            "start": session.start,
            "steps": session.steps,
            "limit": session.limit,
            "memory": session.memory,
        }
    )
