"""Our side: the programs that a run compiles, on the batches that a run makes; and whole runs."""

import functools
import os
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import jax
from jax import monitoring

from benchmarks.cases import NUM_LABELS, SIZES, Case
from benchmarks.synthetic import draw_texts
from benchmarks.worker import peak_process_mb, serve
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.config.schema import Training as TrainingSection
from textclf_jax.config.training import MeshSizes
from textclf_jax.data.collate import padding_waste
from textclf_jax.data.prefetch import prefetched
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.kernels.backend import platform
from textclf_jax.observe.limits import known_peak, measured_limit
from textclf_jax.observe.trace import read_trace
from textclf_jax.runtime.device import compute_precision, set_up_device, steps_in_flight
from textclf_jax.runtime.programs import Programs
from textclf_jax.training.batches import plan_epoch, training_batches
from textclf_jax.training.fit import fit
from textclf_jax.training.loop import on_device
from textclf_jax.training.plan import Plan, make_plan
from textclf_jax.training.summary import step_memory

LIMIT_SIZES = {"cpu": 2048, "gpu": 8192}
# more than are ever run: the suite decides how many steps it measures
ENDLESS_EPOCHS = 100_000

Answer = dict[str, Any]


def configuration(case: Case, folder: Path, *, epochs: int) -> RunConfig:
    """The configuration of a case with its data in `folder`: dropout 0.1, AdamW, gradients clipped at 1."""
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
        "training": {"learning_rate": 1e-4, "batch_size": case.batch_size, "epochs": epochs},
        "data": {split: {"dataset_path": str(folder / f"{split}.pt")} for split in ("train", "val")},
    }
    if case.task == "mlm":
        return PretrainingConfig.model_validate(sections)
    return FinetuningConfig.model_validate({**sections, "classification_head": {"num_labels": NUM_LABELS}})


def plan_case(case: Case, folder: Path, *, fsdp: int = 1) -> Plan:
    """Plans an endless run of a case, and sets the device up for it; `fsdp` of `training.mesh`."""
    config = configuration(case, folder, epochs=ENDLESS_EPOCHS)
    training = config.training.model_copy(update={"mesh": MeshSizes(fsdp=fsdp)})
    set_up_device(training)
    return make_plan(config.model_copy(update={"training": training}), Path())


class Measured(Protocol):
    """Work that can be repeated.

    Attributes:
      facts: what is known before the first time, as columns of the row.
    """

    facts: Answer

    def take(self, count: int) -> Answer:
        """Does the work `count` times; answers real tokens, and FLOPs where they are known."""
        ...


class Batches:
    """The loader alone: makes training batches, masks them and puts them on the device."""

    def __init__(self, case: Case, folder: Path):
        self.plan = plan = plan_case(case, folder)
        batches = training_batches(plan.task, plan.train, plan.batching, plan.length, 0)
        self.batches = prefetched(batches, functools.partial(on_device, placement=plan.placement))
        epoch = plan_epoch(plan.task, plan.train, plan.batching, 0)
        self.facts: Answer = {"padding_waste": padding_waste(plan.train.lengths, epoch)}

    def take(self, count: int) -> Answer:
        return {"tokens": sum(next(self.batches).tokens for _ in range(count))}


class Steps(Batches):
    """Training steps, the making of their batches included."""

    def __init__(self, case: Case, folder: Path):
        super().__init__(case, folder)
        plan = self.plan
        before = time.perf_counter()
        self.programs = Programs("training", plan.training_program)
        for shape in plan.batching.shapes:
            self.programs.compile(shape)
        self.facts["compile_seconds"] = time.perf_counter() - before
        self.state = plan.initial_state(plan.draw_variables())
        self.unread: deque[dict[str, jax.Array]] = deque()

    def take(self, count: int) -> Answer:
        tokens = flops = 0
        waited = 0.0
        for _ in range(count):
            before = time.perf_counter()
            batch = next(self.batches)
            waited += time.perf_counter() - before
            self.state, figures = self.programs[batch.shape](self.state, batch.arrays)
            self.unread.append(figures)
            if len(self.unread) > steps_in_flight():
                jax.device_get(self.unread.popleft())
            tokens += batch.tokens
            flops += self.plan.training_flops(batch.shape)
        jax.block_until_ready(self.state)
        return {"tokens": tokens, "flops": flops, "batch_wait": waited}

    def idle_share(self, count: int) -> float | None:
        """The share of `count` steps in which the device does nothing, by a trace; None if a trace shows no step."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of a Python function would slow down the host
        with tempfile.TemporaryDirectory(prefix="textclf-trace-") as folder:
            with jax.profiler.trace(folder, profiler_options=options):
                self.take(count)
            (path,) = Path(folder).rglob("*.xplane.pb")
            trace = read_trace(path, self.programs.compiled.values())
        return trace.waiting if trace.seconds else None


class Evaluation:
    """Evaluations of the validation split."""

    def __init__(self, case: Case, folder: Path):
        plan = plan_case(case, folder)
        assert plan.val is not None
        self.val, self.variables = plan.val, plan.draw_variables()
        programs = Programs("evaluation", plan.evaluation_program)
        self.evaluator = Evaluator(plan.task, programs, plan.eval_batching, plan.placement)
        batches = plan.eval_batching.evaluation(self.val.lengths)
        self.flops = sum(plan.evaluation_flops(batch.shape) for batch in batches)
        self.facts = {"padding_waste": padding_waste(self.val.lengths, batches)}

    def take(self, count: int) -> Answer:
        for _ in range(count):
            self.evaluator(self.variables, self.val)
        return {"tokens": count * int(self.val.lengths.sum()), "flops": count * self.flops}


class Prediction:
    """Classification of texts, from strings to probabilities, by a model after one epoch."""

    def __init__(self, case: Case, folder: Path):
        self.in_one_call = case.repetitions is not None
        fit(configuration(case, folder, epochs=1), folder / "run")
        self.predictor = Predictor(folder / "run" / "model.ckpt")
        self.texts, self.tokens = draw_texts(case)
        self.facts: Answer = {}

    def take(self, count: int) -> Answer:
        calls, texts = (1, self.texts * count) if self.in_one_call else (count, self.texts)
        for _ in range(calls):
            deque(self.predictor(texts), maxlen=0)
        return {"tokens": count * self.tokens, "texts": count * len(self.texts)}


MEASURED = {"loader": Batches, "training": Steps, "evaluation": Evaluation, "prediction": Prediction}


class Session:
    """The case that is measured at present."""

    measured: Measured

    def start(self, case: Answer, folder: str) -> Answer:
        """Loads data and compiles; answers the facts of the case."""
        self.measured = MEASURED[case["measure"]](Case(**case), Path(folder))
        return self.measured.facts

    def take(self, count: int) -> Answer:
        """Does the work of the case `count` times; answers seconds, real tokens, and FLOPs where they are known."""
        before = time.perf_counter()
        taken = self.measured.take(count)
        return taken | {"seconds": time.perf_counter() - before}

    def idle(self, count: int) -> Answer:
        """Answers the share of `count` training steps in which the device does nothing; None where that is not seen."""
        assert isinstance(self.measured, Steps)
        return {"idle": self.measured.idle_share(count)}


def epoch(case: Answer, folder: str) -> Answer:
    """Makes a whole run of one epoch; answers seconds, those of compiling, real tokens, FLOPs, share of padding."""
    compiling: list[float] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event == "/jax/core/compile/backend_compile_duration":
            compiling.append(duration_secs)

    monitoring.register_event_duration_secs_listener(listen)
    config, before = configuration(Case(**case), Path(folder), epochs=1), time.perf_counter()
    fit(config, Path(folder) / "run")
    seconds = time.perf_counter() - before
    plan = make_plan(config, Path())
    batches = plan_epoch(plan.task, plan.train, plan.batching, 0)
    return {
        "seconds": seconds,
        "compile_seconds": sum(compiling),
        "tokens": int(plan.train.lengths.sum()),
        "flops": sum(plan.training_flops(batch.shape) for batch in batches),
        "padding_waste": padding_waste(plan.train.lengths, batches),
    }


def step_bytes(case: Answer, folder: str, fsdp: int = 1) -> Answer:
    """Compiles a training step of a case; answers the bytes of its arguments and of all other memory it needs.

    Of several devices those of each; `fsdp` of them divide parameters and optimizer state.
    """
    held, extra = step_memory(plan_case(Case(**case), Path(folder), fsdp=fsdp))
    return {"held": held, "extra": extra}


def limit() -> Answer:
    """Answers the FLOP/s of a large matrix product in the dtype of a training step's products."""
    products = compute_precision(TrainingSection(learning_rate=1.0, batch_size=1, epochs=1)).products
    return {"limit": measured_limit(products, LIMIT_SIZES[platform()], seconds=0.3)}


def memory() -> Answer:
    """Answers the most memory held so far: of the device on a GPU, of the process elsewhere."""
    if platform() == "gpu":
        return {"peak_mb": jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6}
    return {"peak_mb": peak_process_mb()}


def device() -> Answer:
    """Answers the platform, "cpu" or "gpu", and the device's name, which starts with "CPU" if it is one.

    Of a GPU also the FLOP/s that its data sheet names, as `peak`.
    """
    if platform() == "gpu":
        name = jax.devices()[0].device_kind
        return {"platform": "gpu", "name": name, "peak": known_peak(name)}
    return {"platform": "cpu", "name": f"CPU {_processor()}, {os.cpu_count()} cores", "peak": None}


def _processor() -> str:
    """The processor's model as Linux names it, with the numbers by which generations of the same name differ."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in facts:
        return os.uname().machine
    numbers = [f"{name.removeprefix('cpu ')} {facts[name]}" for name in ("cpu family", "model") if name in facts]
    return " ".join([facts["model name"], *numbers])


if __name__ == "__main__":
    session = Session()
    handlers = (device, session.start, session.take, session.idle, epoch, step_bytes, limit, memory)
    serve({handler.__name__: handler for handler in handlers})
