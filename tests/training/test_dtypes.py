"""What programs for a GPU multiply and sum in, read from their jaxprs, so that no GPU is needed.

By default a GPU multiplies float32 in TF32, with 10 bits, and sums bfloat16 in bfloat16, with 7.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from textclf_jax.evaluation.evaluator import evaluation_step
from textclf_jax.kernels import backend
from textclf_jax.runtime.programs import shapes_of
from textclf_jax.training.plan import Plan, make_plan
from textclf_jax.training.steps import train_step

EXACT = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
FEW = 8
SUMS = ("reduce_sum", "cumsum", "reduce_window_sum")
ATTENTION: dict[str, dict[str, Any]] = {
    "mha": {},
    "lsh": {"lsh": {"chunk_size": 8, "combine": "logsumexp"}},
    "favor": {"favor": {"nb_features": 8, "redraw_interval": 2}},
    "local": {"local": {"window": 4}},
}
# the tasks, each kind of attention in one of them at least
CASES = [*((tiny.pretraining, kind) for kind in ATTENTION), (tiny.finetuning, "mha")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def gpu(monkeypatch):
    """A Hopper, as far as choices are made by it; what cuDNN computes is not looked at."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(backend, "compute_capability", lambda: (9, 0))
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda q, k, v, **_: q + k + v)


def plan_of(build, data, kind: str, *, use_amp: bool) -> Plan:
    architecture = tiny.architecture(num_layers=1, attention={"kind": kind, **ATTENTION[kind]})
    training = {"use_amp": use_amp, "device": "auto"}
    return make_plan(build(data, architecture=architecture, training=training), tiny.Path("/"))


def equations(plan: Plan) -> Iterator[Any]:
    """All that training and evaluation compute; drawing of features again is a part of training."""
    rows = plan.batching.empty(plan.batching.shapes[-1])
    arrays = plan.task.batch(None, rows, (0,)) | {"scale": np.float32(1)}
    step = functools.partial(train_step, settings=plan.settings)
    yield from _within(jax.make_jaxpr(step)(plan.state_shapes, shapes_of(arrays)).jaxpr)
    arrays = plan.task.batch(None, rows, (0,), train=False)
    step = functools.partial(evaluation_step, module=plan.module)
    yield from _within(jax.make_jaxpr(step)(plan.variable_shapes, shapes_of(arrays)).jaxpr)


def _within(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(value):
                yield from _within(getattr(value, "jaxpr", value))


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def operands(equation: Any) -> set[str]:
    return {variable.aval.dtype.name for variable in equation.invars}


def products(found: list[Any]) -> list[Any]:
    dots = [equation for equation in found if equation.primitive.name == "dot_general"]
    assert len(dots) > 10
    return dots


@pytest.mark.parametrize(("build", "kind"), [case for case in CASES if "local" not in case])
def test_full_precision_is_not_tf32(gpu, data, build, kind):
    for product in products(list(equations(plan_of(build, data, kind, use_amp=False)))):
        assert product.params["precision"] == EXACT, product
        assert operands(product) == {"float32"}


@pytest.mark.parametrize(("build", "kind"), CASES)
def test_with_bfloat16_what_stays_float32_is_exact_and_sums_are_float32(gpu, data, build, kind):
    found = list(equations(plan_of(build, data, kind, use_amp=True)))
    in_float32 = [product for product in products(found) if operands(product) != {"bfloat16"}]
    for product in in_float32:
        assert product.params["precision"] == EXACT, product
    # the classifier's head, hashes, random features
    assert bool(in_float32) == (build is tiny.finetuning or kind in ("lsh", "favor"))
    for equation in found:
        if equation.primitive.name in SUMS and "bfloat16" in operands(equation):
            (before,), (after,) = equation.invars, equation.outvars
            assert before.aval.size <= FEW * after.aval.size, equation


def test_the_check_sees_what_it_looks_for():
    """Within functions, loops and gradients of one's own."""
    x = jnp.ones((32, 4), jnp.bfloat16)

    @jax.jit
    def loss(bias):
        squared, _ = jax.lax.scan(lambda y, _: (y @ y.T @ y, None), x + bias, length=2)
        return squared.astype(jnp.float32).sum()

    found = list(_within(jax.make_jaxpr(jax.grad(loss))(x[0]).jaxpr))
    assert sum(equation.primitive.name == "dot_general" for equation in found) > 2
    sums = [equation for equation in found if equation.primitive.name in SUMS]
    assert any("bfloat16" in operands(s) and s.invars[0].aval.size == 32 * s.outvars[0].aval.size for s in sums)
