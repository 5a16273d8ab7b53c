import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pydantic import ValidationError

from tests import tiny
from textclf_jax.config.training import Training
from textclf_jax.errors import UserError
from textclf_jax.training.batches import training_batches
from textclf_jax.training.optimizer import group_of, make_optimizer, zero_frozen
from textclf_jax.training.plan import make_plan
from textclf_jax.training.schedule import TrainingLength, make_schedule, training_length
from textclf_jax.training.steps import train_step


def section(**changes) -> Training:
    return Training.model_validate({"learning_rate": 0.1, "batch_size": 8, "epochs": 1, **changes})


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.1, 0.35])
def test_schedule_warms_up_from_above_zero_to_the_floor(warmup_ratio):
    total, training = 40, section(warmup_ratio=warmup_ratio, min_lr_ratio=0.2)
    rates = np.array([float(make_schedule(training, total, 0.5)(k)) for k in range(total + 3)])
    warmup = int(total * warmup_ratio)
    peak = 0.1 * 0.5
    np.testing.assert_allclose(rates[: warmup + 1], peak * np.arange(1, warmup + 2) / (warmup + 1), rtol=1e-5)
    progress = (np.arange(warmup, total) - warmup) / (total - warmup)
    expected = peak * (0.2 + 0.8 * (1 + np.cos(np.pi * progress)) / 2)
    np.testing.assert_allclose(rates[warmup:total], expected, rtol=1e-5)
    np.testing.assert_allclose(rates[total:], 0.2 * peak, rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(("schedule", "cooldown"), [("linear", 40), ("trapezoid", 12), ("trapezoid", 36)])
def test_lines_end_at_the_floor_with_the_run(schedule, cooldown, warmup):
    total, peak, floor = 40, 0.1 * 0.5, 0.2
    keys = {"cooldown_ratio": cooldown / total} if schedule == "trapezoid" else {}
    training = section(warmup_ratio=warmup / total, min_lr_ratio=floor, schedule=schedule, **keys)
    rates = np.array([float(make_schedule(training, total, 0.5)(k)) for k in range(total + 3)])
    k = np.arange(total + 3)
    falling = min(cooldown, total - warmup)
    left = np.clip((total - k) / falling, 0, 1)
    expected = peak * np.minimum((k + 1) / (warmup + 1), floor + (1 - floor) * left)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    # one more update would have had the floor
    assert floor * peak < rates[total - 1] < peak * (floor + 1.01 / falling)


@pytest.mark.parametrize("schedule", ["linear", "trapezoid"])
@pytest.mark.parametrize("total", [1, 2])
def test_short_runs_have_a_rate(schedule, total):
    make = make_schedule(section(warmup_ratio=0.5, schedule=schedule), total, 1.0)
    assert all(0 < float(make(k)) <= 0.1 * (1 + 1e-6) for k in range(total))


def test_length_counts_whole_and_incomplete_windows():
    standard = TrainingLength(5, 2, 3, "standard")
    assert (standard.steps, standard.updates, standard.scheduled_updates) == (10, 4, 4)
    reference = TrainingLength(5, 2, 3, "reference")
    assert (reference.steps, reference.updates, reference.scheduled_updates) == (10, 3, 4)


# 20 rows in batches of 4: 5 steps an epoch
@pytest.mark.parametrize(
    ("max_updates", "accumulation", "epochs_needed", "steps"),
    [(1, 1, 1, 1), (5, 1, 1, 5), (6, 1, 2, 6), (12, 1, 3, 12), (1, 3, 1, 3), (2, 3, 1, 5), (3, 3, 2, 9), (5, 3, 3, 15)],
)
def test_max_updates_end_a_run_and_need_enough_epochs(max_updates, accumulation, epochs_needed, steps):
    keys = {"batch_size": 4, "max_updates": max_updates, "grad_accum_steps": accumulation}
    length = training_length(section(**keys, epochs=epochs_needed), 20)
    assert (length.updates, length.scheduled_updates, length.epochs) == (max_updates, max_updates, epochs_needed)
    # where the epochs end within the last update, it has fewer steps
    assert length.steps == steps
    more = training_length(section(**keys, epochs=epochs_needed + 4), 20)
    assert (more.updates, more.steps) == (max_updates, min(max_updates * accumulation, 5 * more.epochs))
    if epochs_needed > 1:
        with pytest.raises(UserError, match=f"is not reached.* Set training.epochs to {epochs_needed} or more"):
            training_length(section(**keys, epochs=epochs_needed - 1), 20)


def test_without_max_updates_the_epochs_decide():
    assert training_length(section(batch_size=4, epochs=3), 21) == TrainingLength(6, 3, 1, "standard")


def test_the_rate_decays_to_its_floor_where_max_updates_end_the_run():
    training = section(batch_size=4, epochs=9, max_updates=7, warmup_ratio=0.3, min_lr_ratio=0.1)
    length = training_length(training, 20)
    by_epochs = make_schedule(training, TrainingLength(7, 1, 1, "standard").scheduled_updates, 1.0)
    schedule = make_schedule(training, length.scheduled_updates, 1.0)
    rates = [float(schedule(update)) for update in range(8)]
    assert rates == [float(by_epochs(update)) for update in range(8)]
    assert max(rates) == rates[2] == pytest.approx(training.learning_rate)
    assert rates[7] == pytest.approx(0.1 * training.learning_rate)


def test_the_reference_trains_whole_epochs():
    with pytest.raises(ValidationError, match="max_updates 3 cannot end a run of variant reference"):
        section(variant="reference", max_updates=3)


def test_decay_spares_biases_and_norms():
    training = section()
    decays = {
        name: group_of(tuple(name.split("/")), training).decays
        for name in (
            "encoder/embeddings/word/embedding",
            "encoder/layers_0/attention/qkv/kernel",
            "encoder/layers_0/attention/qkv/bias",
            "encoder/layers_0/mlp_norm/scale",
            "decoder_bias",
        )
    }
    assert list(decays.values()) == [True, True, False, False, False]
    assert group_of(("encoder", "layers_0", "mlp_norm", "scale"), section(variant="reference")).decays


def test_the_rate_of_each_layer_is_that_of_the_one_above_times_the_decay():
    """From Adam's first update, which is the rate: of embeddings, layers, what is above them, and the head."""
    norm = {"norm": {"scale": jnp.ones(2)}}
    params = {
        "encoder": {"embeddings": {"word": {"embedding": jnp.ones(2)}}, **norm}
        | {f"layers_{i}": {"up": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}} for i in range(12)},
        "pooler": {"kernel": jnp.ones(2)},
        "classifier": {"kernel": jnp.ones(2)},
    }
    training = section(
        layer_lr_decay=0.8,
        head_lr_mult=2.0,
        backbone_lr_mult=0.5,
        weight_decay=0.0,
        warmup_ratio=0.0,
        min_lr_ratio=1.0,
        max_grad_norm=0.0,
    )
    tx = make_optimizer(training, TrainingLength(3, 1, 1, "standard"), params)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    found = {jax.tree_util.keystr(path): -float(leaf[0]) for path, leaf in jax.tree.leaves_with_path(updates)}
    expected = {"['pooler']['kernel']": 0.2, "['classifier']['kernel']": 0.2}
    expected["['encoder']['norm']['scale']"] = 0.05
    expected["['encoder']['embeddings']['word']['embedding']"] = 0.05 * 0.8**13
    for i in range(12):
        for name in ("kernel", "bias"):
            expected[f"['encoder']['layers_{i}']['up']['{name}']"] = 0.05 * 0.8 ** (12 - i)
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_layer_decay_the_groups_are_those_of_before():
    names = ("encoder", "layers_3", "mlp", "up", "kernel")
    assert group_of(names, section()).label == "Group(decays=True, is_head=False, is_frozen_first=False)"
    label = group_of(names, section(layer_lr_decay=0.9)).label
    assert label == "Group(decays=True, is_head=False, is_frozen_first=False, layer=3)"


def adamw_in_numpy(params, grads, *, rate, decay, b1=0.9, b2=0.999, eps=1e-8):
    """AdamW with constant rate, in float64 (Loshchilov & Hutter 2019, algorithm 2)."""
    p, m, v = params.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(np.asarray(grads, np.float64), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - rate * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p)
    return p


def apply(tx, params, gradients):
    state = tx.init(params)
    for grads in gradients:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("beta2", [0.999, 0.9, 0.0])
def test_adamw_matches_float64(beta2):
    rng = np.random.default_rng(0)
    params = {"encoder": {"layers_0": {"mlp": {"up": {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)}}}}}
    gradients = [jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params) for _ in range(6)]
    training = section(warmup_ratio=0.0, min_lr_ratio=1.0, weight_decay=0.3, max_grad_norm=0.0, adam_beta2=beta2)
    tx = make_optimizer(training, TrainingLength(6, 1, 1, "standard"), params)
    after, _ = apply(tx, params, gradients)
    start, seen = np.asarray(jax.tree.leaves(params)[0]), [jax.tree.leaves(g)[0] for g in gradients]
    expected = adamw_in_numpy(start, seen, rate=0.1, decay=0.3, b2=beta2)
    np.testing.assert_allclose(jax.tree.leaves(after)[0], expected, rtol=1e-5, atol=1e-5)


def test_clipping_is_of_the_accumulated_mean():
    params = {"transform": {"kernel": jnp.zeros(2)}}
    tx = make_optimizer(section(grad_accum_steps=2, max_grad_norm=1.0), TrainingLength(4, 1, 2, "standard"), params)
    gradients = [{"transform": {"kernel": jnp.array(g)}} for g in ([30.0, 0.0], [-30.0, 0.4])]
    _, state = apply(tx, params, gradients)
    # the parts are far above the norm, their mean is below it
    assert float(optax.tree.get(state, "grad_norm")) == pytest.approx(0.2)


def kernels(*gradients):
    return [{"transform": {"kernel": jnp.array(g)}} for g in gradients]


ONES = {"transform": {"kernel": jnp.ones(3)}}
BAD = [1.0, jnp.nan, 0.0]


def test_an_update_that_is_not_finite_leaves_no_trace_but_its_number():
    """With a constant rate: the moments, and so the update after it, are as if it had not been."""
    training = section(warmup_ratio=0.0, min_lr_ratio=1.0)
    tx = make_optimizer(training, TrainingLength(3, 1, 1, "standard"), ONES)
    expected, _ = apply(tx, ONES, kernels([1.0, 2.0, 3.0], [3.0, -1.0, 0.5]))
    found, state = apply(tx, ONES, kernels([1.0, 2.0, 3.0], BAD, [3.0, -1.0, 0.5]))
    np.testing.assert_array_equal(found["transform"]["kernel"], expected["transform"]["kernel"])
    assert int(state.gradient_step) == 3
    assert float(optax.tree.get(state, "grad_norm")) == pytest.approx((9 + 1 + 0.25) ** 0.5)


def test_a_schedule_ends_at_its_floor_whatever_was_skipped():
    training = section(warmup_ratio=0.25, min_lr_ratio=0.1)
    rates = []
    for gradient in ([1.0, 1.0, 1.0], BAD):
        tx = make_optimizer(training, TrainingLength(4, 1, 1, "standard"), ONES)
        params, state = ONES, tx.init(ONES)
        for grads in kernels([1.0, 1.0, 1.0], gradient, gradient, [1.0, 1.0, 1.0]):
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        # Adam's direction is 1, and decay is 0.01 of a parameter of about 1
        rates.append(float(updates["transform"]["kernel"][0] / (1 + 0.01 * params["transform"]["kernel"][0])))
    assert rates[0] == pytest.approx(rates[1], rel=5e-3)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_micro_batch_that_is_not_finite_is_left_out_of_its_window_alone(bad):
    """The window has the mean of the others, and all later windows have their own steps."""
    good = [[1.0, 2.0, 3.0], [3.0, -1.0, 0.5], [0.5, 0.25, -4.0]]
    later = [[-2.0, 0.5, 1.0], [1.0, 1.0, 1.0], [0.0, 4.0, -2.0]]
    tx = make_optimizer(section(grad_accum_steps=3), TrainingLength(6, 1, 3, "standard"), ONES)
    rest = [g for i, g in enumerate(good) if i != bad]
    mean = list(np.mean(rest, axis=0))
    expected, _ = apply(tx, ONES, kernels(*[mean] * 3, *later))
    found, state = apply(tx, ONES, kernels(*[BAD if i == bad else g for i, g in enumerate(good)], *later))
    np.testing.assert_allclose(found["transform"]["kernel"], expected["transform"]["kernel"], rtol=1e-6)
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 2)
    assert int(state.skip_state["num_not_finite"]) == 0


@pytest.mark.parametrize("window", [[BAD] * 3, [BAD, [0.0] * 3, [0.0] * 3]], ids=["all bad", "the rest is empty"])
def test_a_window_of_which_nothing_is_left_is_no_update(window):
    tx = make_optimizer(section(grad_accum_steps=3), TrainingLength(6, 1, 3, "standard"), ONES)
    first = kernels(*[[1.0, 2.0, 3.0]] * 3)
    expected, before = apply(tx, ONES, first)
    found, after = apply(tx, ONES, [*first, *kernels(*window)])
    np.testing.assert_array_equal(found["transform"]["kernel"], expected["transform"]["kernel"])
    assert (int(after.mini_step), int(after.gradient_step)) == (0, 2)
    for name in ("mu", "nu", "grad_norm"):
        old, new = (jax.tree.leaves(optax.tree.get_all_with_path(state, name)) for state in (before, after))
        jax.tree.map(np.testing.assert_array_equal, old, new)


def test_freezing_ends_where_the_plan_says_whatever_was_skipped():
    params = {"encoder": {"layers_0": {"up": {"kernel": jnp.ones(2)}}, "layers_1": {"up": {"kernel": jnp.ones(2)}}}}
    training = section(freeze_epochs=1, freeze_n_layers=1)
    tx = make_optimizer(training, TrainingLength(3, 2, 1, "standard"), params)
    ones = jax.tree.map(jnp.ones_like, params)
    bad = jax.tree.map(lambda p: p * jnp.nan, ones)
    for gradients, learns in (([bad, bad, bad], False), ([bad, ones, bad, ones], True)):
        after, _ = apply(tx, params, gradients)
        assert (float(after["encoder"]["layers_0"]["up"]["kernel"][0]) < 1) == learns


def test_freezing_stops_updates_decay_and_moments():
    params = {
        "encoder": {"embeddings": {"word": {"embedding": jnp.ones(2)}}, "layers_1": {"up": {"kernel": jnp.ones(2)}}}
    }
    training = section(freeze_epochs=1, freeze_embeddings=True, freeze_n_layers=1, weight_decay=0.5)
    tx = make_optimizer(training, TrainingLength(3, 2, 1, "standard"), params)
    state, trail = tx.init(params), []
    for step in range(6):
        grads = zero_frozen(jax.tree.map(jnp.ones_like, params), training, jnp.int32(step), 3)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        trail.append(
            (
                float(params["encoder"]["embeddings"]["word"]["embedding"][0]),
                float(params["encoder"]["layers_1"]["up"]["kernel"][0]),
                float(optax.tree.get(state, "grad_norm")),
            )
        )
    frozen, free, norms = zip(*trail, strict=True)
    assert frozen[:3] == (1.0, 1.0, 1.0)
    assert frozen[3] < 1.0
    assert list(free) == sorted(free, reverse=True)
    # frozen gradients stay out of the norm
    assert norms == pytest.approx([2**0.5] * 3 + [2.0] * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"), train=40)


NO_DROPOUT = {"mlp_dropout": 0.0, "embedding_dropout": 0.0, "attention": {"attn_dropout": 0.0, "attn_out_dropout": 0.0}}


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_accumulation_equals_one_big_batch(data, build):
    """k micro-batches with unequal counts give the update of their union."""
    k, one_bucket = 5, {"packing": False, "num_length_buckets": 1}
    changes = {"architecture": tiny.architecture(**NO_DROPOUT), "data": one_bucket}
    if build is tiny.finetuning:
        changes["classification_head"] = {"num_labels": 3, "classifier_dropout": 0.0}
    plan = make_plan(
        build(data, training={"grad_accum_steps": k, "epochs": 1, "use_amp": False}, **changes), tiny.Path("/")
    )
    hosts = list(training_batches(plan.task, plan.train, plan.batching, plan.length, 0))
    counts = [host.arrays["weights"].sum() for host in hosts]
    assert len(hosts) == k
    if build is tiny.pretraining:
        assert len(set(counts)) > 1
    state = start = plan.initial_state(plan.draw_variables())
    step = jax.jit(functools.partial(train_step, settings=plan.settings))
    for host in hosts:
        state, _ = step(state, host.arrays)

    big = union([host.arrays for host in hosts])
    tx = make_optimizer(plan.config.training, TrainingLength(1, 1, 1, "standard"), start.params)
    single = functools.partial(train_step, settings=plan.settings._replace(tx=tx))
    one, _ = jax.jit(single)(start.replace(opt_state=tx.init(start.params)), big)
    norms = [float(optax.tree.get(s.opt_state, "grad_norm")) for s in (state, one)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    # Adam's first step is the sign of the gradient: compare the moments, which are the gradient itself
    moments = [optax.tree.get_all_with_path(s.opt_state, "mu") for s in (state, one)]
    for (_, ours), (_, theirs) in zip(*moments, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), ours, theirs)


def union(parts):
    """The batches as one, with the scale of its mean."""
    batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "scale"}
    if "positions" in batch:
        size = parts[0]["input_ids"].size
        batch["positions"] = np.concatenate([part["positions"] + i * size for i, part in enumerate(parts)])
    return batch | {"scale": np.float32(1 / batch["weights"].sum())}
