"""What a machine has and lacks for this project: packages, device, compile cache."""

import os
import platform as machine
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

import jax
from packaging.requirements import Requirement

from textclf_jax.extras import DISTRIBUTION, EXTRAS, install_line
from textclf_jax.files import why_not_writable
from textclf_jax.kernels.backend import compute_capability, gpu_has_bf16, platform, why_no_flash_attention
from textclf_jax.runtime.device import cache_folder

USUAL_HEAD_DIM = 64
# of CUDA's libraries, as JAX's packages bring them; what is not there is left out
CUDA_PACKAGES = ("jax-cuda{}-plugin", "nvidia-cudnn-cu{}", "nvidia-cuda-runtime-cu{}", "nvidia-cublas-cu{}")
CUDA_VERSIONS = (12, 13)


class Package(NamedTuple):
    """A package that the project uses.

    Attributes:
      name: of the distribution.
      installed: its version; None where it is missing.
      wanted: the versions that will do, such as ">=2.10"; empty: any.
      extra: that brings it; None for what everything needs.
    """

    name: str
    installed: str | None
    wanted: str
    extra: str | None

    @property
    def problem(self) -> str | None:
        """What is wrong, and the remedy; None where nothing is, or where it is not needed for everything."""
        remedy = f"pip install '{self.name}{self.wanted}'"
        if self.installed is None:
            return None if self.extra else f"{self.name} is missing: {remedy}"
        if Requirement(f"{self.name}{self.wanted}").specifier.contains(self.installed, prereleases=True):
            return None
        return f"{self.name} {self.installed} is not {self.wanted}: {remedy}"


class Diagnosis(NamedTuple):
    """What was found.

    Attributes:
      packages: all that the project names.
      facts: (what, value) of interpreter, device and cache.
      problems: what stands in the way, each with its remedy.
    """

    packages: list[Package]
    facts: list[tuple[str, str]]
    problems: list[str]


def diagnose() -> Diagnosis:
    """Looks at packages, device and compile cache; computes nothing and writes nothing."""
    packages = list(_packages())
    problems = [problem for package in packages if (problem := package.problem)]
    facts = [("Python", f"{machine.python_version()} on {machine.platform()}"), *_device(), *_cache()]
    return Diagnosis(packages, facts, [*problems, *_device_problems(), *_cache_problems()])


def _packages() -> Iterator[Package]:
    """Those that the distribution's metadata names, without the ones that only developers need."""
    for requirement in map(Requirement, requires(DISTRIBUTION) or ()):
        extra = _extra_of(requirement)
        if requirement.name != DISTRIBUTION and (extra is None or extra in EXTRAS.values()):
            yield Package(requirement.name, _version(requirement.name), str(requirement.specifier), extra)


def _extra_of(requirement: Requirement) -> str | None:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return None
    return next((extra for extra in EXTRAS.values() if marker.evaluate({"extra": extra})), "another")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> Iterator[tuple[str, str]]:
    devices = jax.devices()
    yield "device", f"{platform()} ({devices[0].device_kind}), {len(devices)} of them"
    if platform() != "gpu":
        yield "processors", str(os.cpu_count())
        return
    capability = compute_capability()
    yield "compute capability", "unknown" if capability is None else ".".join(map(str, capability))
    yield "driver and runtime", " ".join(devices[0].client.platform_version.split())
    for number in CUDA_VERSIONS:
        for name in (pattern.format(number) for pattern in CUDA_PACKAGES):
            if found := _version(name):
                yield name, found
    memory = (devices[0].memory_stats() or {}).get("bytes_limit")
    yield "memory for JAX", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"
    yield "bfloat16", "yes" if gpu_has_bf16() else "no: training computes in float32"
    reason = why_no_flash_attention(jax.numpy.bfloat16, USUAL_HEAD_DIM, drops_weights=False)
    yield "flash attention", "yes" if reason is None else f"no: {reason}"


def _device_problems() -> Iterator[str]:
    if platform() != "gpu" and shutil.which("nvidia-smi") and os.environ.get("JAX_PLATFORMS", "") != "cpu":
        yield f"there is nvidia-smi, but JAX finds no CUDA device: {install_line('cuda12')} (or cuda13)"


def _cache() -> Iterator[tuple[str, str]]:
    folder = cache_folder()
    if folder is None:
        yield "compile cache", "none: programs are compiled anew by each command"
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    yield "compile cache", f"{folder}, {size / 2**20:,.0f} MiB"


def _cache_problems() -> Iterator[str]:
    folder = cache_folder()
    if folder is not None and (reason := why_not_writable(_first_existing(folder))):
        yield f"{folder} cannot be written ({reason}): set JAX_COMPILATION_CACHE_DIR to a folder for compiled programs"


def _first_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
