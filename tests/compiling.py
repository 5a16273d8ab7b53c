"""Compiling programs that run once: LLVM's optimisation would cost more time than it saves."""

from functools import partial

import jax

# XLA's own passes (fusion, layout, simplification) all run; only the machine code is left unpolished
jit_once = partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)
