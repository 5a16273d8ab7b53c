"""Chooses the device, the precision and the cache of compiled programs, and checks what a run asks of the device."""

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp

from textclf_jax.config.schema import FinetuningConfig, RunConfig
from textclf_jax.config.training import Training
from textclf_jax.errors import UserError
from textclf_jax.extras import install_line
from textclf_jax.files import why_not_writable
from textclf_jax.kernels.backend import gpu_has_bf16, platform, why_no_flash_attention
from textclf_jax.kernels.precision import FULL, Precision

CACHE = Path("textclf_jax") / "xla"

Config = TypeVar("Config", bound=RunConfig)


def cache_folder() -> Path | None:
    """Where compiled programs are kept between runs: JAX_COMPILATION_CACHE_DIR, or the user's cache folder.

    None where that variable is empty, and for a user without a home.
    """
    if (chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR")) is not None:
        return Path(chosen) if chosen else None
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / CACHE
    try:
        return Path.home() / ".cache" / CACHE
    except RuntimeError:
        return None


@functools.cache
def usable_cache(folder: Path | None) -> Path | None:
    """The folder if files can be made in it; otherwise None, which one line on standard error says."""
    reason = "there is no home folder" if folder is None else why_not_writable(folder)
    if reason is None or os.environ.get("JAX_COMPILATION_CACHE_DIR") == "":
        return folder
    where = "" if folder is None else f" in {folder}"
    print(
        f"note: compiled programs are not kept{where}: {reason}. Set JAX_COMPILATION_CACHE_DIR to a folder for them.",
        file=sys.stderr,
        flush=True,
    )
    return None


def set_up_device(training: Training) -> str:
    """Makes JAX use the configured device and the persistent compilation cache.

    To be called before anything touches JAX arrays.

    Args:
      training: `device` auto takes CUDA if there is one; cpu and cuda force it.

    Returns:
      A name to show, such as "cpu" or "cuda (NVIDIA H200)", with the precision where it is not the one asked for.

    Raises:
      UserError: cuda is asked for, but JAX finds no CUDA device.
    """
    if training.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    folder = usable_cache(cache_folder())
    jax.config.update("jax_compilation_cache_dir", None if folder is None else str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if platform() == "gpu":
        lacks_bf16 = training.use_amp and not gpu_has_bf16()
        return f"cuda ({jax.devices()[0].device_kind})" + ", in float32: it has no bfloat16" * lacks_bf16
    if training.device == "cuda":
        raise UserError(
            "training.device is cuda, but JAX finds no CUDA device. Check `nvidia-smi`, and install JAX for it with "
            f"`{install_line('cuda12')}` (or cuda13); or set training.device to auto."
        )
    return platform()


class OutOfMemoryError(UserError):
    """The device or the host has too little memory."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"out of memory ({reason}). {remedy}")
        self.reason = reason


@contextmanager
def explained_exhaustion(remedy: str) -> Iterator[None]:
    """Raises an OutOfMemoryError with a remedy where the device or the host has too little memory.

    Of several around each other, the outermost knows which command was typed: its remedy counts.
    """
    try:
        yield
    except OutOfMemoryError as error:
        raise OutOfMemoryError(error.reason, remedy) from error
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise OutOfMemoryError(reason, remedy) from error


def training_with_less_memory(config: RunConfig) -> str:
    """How a run can do with less memory, by the keys that may change: the weights to start from fix some."""
    training, architecture = config.training, config.architecture
    start = config.pretrained_experiment if isinstance(config, FinetuningConfig) else training.resume
    ways = []
    if training.batch_size > 1:
        accumulation = f"training.grad_accum_steps ({training.grad_accum_steps})"
        ways.append(f"lower training.batch_size ({training.batch_size}) and raise {accumulation} by the same factor")
    if not start.path or architecture.pos_encoding != "learned":
        ways.append(
            f"lower architecture.max_sequence_length ({architecture.max_sequence_length}), which cuts longer texts"
        )
    if not start.path:
        ways.append("make the model smaller")
    text = ", or ".join(ways) or "take a smaller model to start from"
    return (
        f"{text[0].upper()}{text[1:]}; then start over with --fresh: checkpoints go on with the same settings alone. "
        "They are as they were."
    )


def compute_precision(training: Training) -> Precision:
    """What the model computes with.

    With `use_amp`: bfloat16 on a GPU that has it; on a CPU that multiplies bfloat16 natively, float32 with products of
    operands rounded to bfloat16. Otherwise float32 at full precision.
    """
    if not training.use_amp:
        return FULL
    if platform() == "gpu":
        return Precision(activations=jnp.bfloat16, products=jnp.bfloat16) if gpu_has_bf16() else FULL
    return Precision(activations=jnp.float32, products=jnp.bfloat16) if cpu_multiplies_bf16() else FULL


def require_flash_attention(config: RunConfig) -> None:
    """Raises UserError where a run is to use flash attention, and it or this device cannot."""
    attention = config.architecture.attention
    if attention.mha.implementation != "cudnn":
        return
    dtype, head_dim = compute_precision(config.training).activations, config.architecture.head_dim
    if reason := why_no_flash_attention(dtype, head_dim, drops_weights=attention.attn_dropout > 0):
        raise UserError(
            f"architecture.attention.mha.implementation is cudnn, flash attention, but {reason}. Set it to auto, which "
            "takes flash attention wherever it can be had."
        )


def device_notes(config: RunConfig) -> list[str]:
    """What a run should say about settings that this device pays for."""
    attention = config.architecture.attention
    dtype, head_dim = compute_precision(config.training).activations, config.architecture.head_dim
    is_exact = attention.kind == "mha" and attention.mha.implementation == "auto"
    if not is_exact or not attention.attn_dropout or why_no_flash_attention(dtype, head_dim, drops_weights=False):
        return []
    return [
        f"note: architecture.attention.attn_dropout is {attention.attn_dropout:g}, which flash attention cannot "
        "do, so training does without: its steps can take more than one and a half times as long. 0 brings it back."
    ]


def on_any_device(config: Config) -> Config:
    """The configuration of a trained model without what it asks of the device, which need not be the one here."""
    training, architecture, attention = config.training, config.architecture, config.architecture.attention
    if training.device == "cuda":
        training = training.model_copy(update={"device": "auto"})
    if attention.mha.implementation == "cudnn":
        mha = attention.mha.model_copy(update={"implementation": "auto"})
        attention = attention.model_copy(update={"mha": mha})
        architecture = architecture.model_copy(update={"attention": attention})
    return config.model_copy(update={"training": training, "architecture": architecture})


def steps_in_flight() -> int:
    """How many steps may be under way when the figures of the one before them are read.

    On a CPU none: memory of two steps would be held for a moment, and the host's work takes the CPU's time anyway. On a
    GPU three, so that it never waits for the host.
    """
    return 0 if platform() == "cpu" else 3


def cpu_multiplies_bf16() -> bool:
    """Whether this x86 CPU has instructions for products of bfloat16 (AVX512-BF16 or AMX), as Linux tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
