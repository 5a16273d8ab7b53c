"""One text a row or several: by what attention can do on the device, and by what programs and padding cost."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests import tiny
from textclf_jax.data.collate import Bucketed, padding_waste
from textclf_jax.data.joining import Joined, candidate_joinings
from textclf_jax.data.packing import Packed
from textclf_jax.evaluation.evaluator import Evaluator
from textclf_jax.kernels import backend
from textclf_jax.kernels.spans import attend_within_spans_reference, row_lengths
from textclf_jax.model.attention import softmax
from textclf_jax.runtime.programs import Programs, shapes_of
from textclf_jax.tasks import make_task
from textclf_jax.tokenizer.loading import load_wrapper
from textclf_jax.training import batching
from textclf_jax.training.batches import training_batches
from textclf_jax.training.batching import choose_batching, padding_note
from textclf_jax.training.plan import make_plan

LENGTHS = np.random.default_rng(0).integers(1, tiny.MAX_LENGTH + 1, 200)
NO_DROPOUT = {"architecture": tiny.architecture(attention={"attn_dropout": 0.0})}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def gpu(monkeypatch):
    """Makes JAX find a GPU of a compute capability, and all that attention needs besides."""

    def found(capability: str) -> None:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(compute_capability=capability)])
        monkeypatch.setattr(backend, "why_jax_has_no_spans", lambda: None)

    return found


def task_of(config):
    return make_task(
        config, load_wrapper(config.tokenizer.wrapper_path, config.tokenizer.vocab_dir, root=tiny.Path("/"))
    )


def test_full_rows_are_not_packed(data):
    chosen = choose_batching(task_of(tiny.pretraining(data)), np.full(100, tiny.MAX_LENGTH), 4, train=True)
    assert chosen == Bucketed(8, (tiny.MAX_LENGTH,))


@pytest.mark.parametrize(("cost", "num_programs"), [(-0.3, 3), (0.3, 1)])
def test_further_programs_count(data, monkeypatch, cost, num_programs):
    monkeypatch.setattr(batching, "COST_OF_A_PROGRAM", cost)
    chosen = choose_batching(task_of(tiny.pretraining(data)), LENGTHS, 4, train=True)
    assert len(chosen.shapes) == num_programs


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
@pytest.mark.parametrize("capability", ["9.0", "10.3"])
def test_from_hopper_on_texts_are_joined(data, gpu, build, capability):
    gpu(capability)
    config = build(data, **NO_DROPOUT)
    assert isinstance(choose_batching(task_of(config), LENGTHS, 4, train=True), Joined)
    assert padding_note(config) == []


def test_texts_of_64_by_512_have_under_3_percent_padding_and_one_program(data, gpu):
    """The ragged row of the roofline: log-normal, median 220."""
    gpu("9.0")
    sizes = {"max_sequence_length": 512}
    config = tiny.pretraining(data, architecture=NO_DROPOUT["architecture"] | sizes, training={"batch_size": 64})
    lengths = np.random.default_rng(0).lognormal(np.log(220), 0.65, 20_000).astype(int).clip(8, 512)
    chosen = choose_batching(task_of(config), lengths, 4, train=True)
    for epoch in range(3):
        batches = chosen.epoch(lengths, seed=0, epoch=epoch, shuffle=True)
        assert {batch.shape for batch in batches} == {chosen.shapes[0]}
        assert padding_waste(lengths, batches) < 0.02


@pytest.mark.parametrize(
    ("capability", "changes", "reason"),
    [
        ("8.0", {}, "it needs compute capability 9.0"),
        ("9.0", {"training": {"use_amp": False}}, "it computes in bfloat16, and this run in float32"),
        ("9.0", {"architecture": tiny.architecture()}, "it cannot drop attention weights"),
        (
            "9.0",
            {"architecture": tiny.architecture(attention={"attn_dropout": 0.0, "mha": {"implementation": "xla"}})},
            "architecture.attention.mha.implementation is xla",
        ),
    ],
)
def test_elsewhere_on_gpus_texts_have_rows_of_their_own_and_the_run_says_why(data, gpu, capability, changes, reason):
    gpu(capability)
    config = tiny.pretraining(data, **(NO_DROPOUT | changes))
    assert isinstance(choose_batching(task_of(config), LENGTHS, 4, train=True), Bucketed)
    (note,) = padding_note(config)
    assert (
        note
        == f"note: training gives each text a row of its own, padded: flash attention tells no texts apart: {reason}"
    )


def test_a_jax_without_spans_is_named(data, gpu, monkeypatch):
    gpu("9.0")
    monkeypatch.setattr(backend, "why_jax_has_no_spans", lambda: "JAX 99 does not have it")
    config = tiny.pretraining(data, **NO_DROPOUT)
    assert isinstance(choose_batching(task_of(config), LENGTHS, 4, train=True), Bucketed)
    assert "JAX 99 does not have it" in padding_note(config)[0]


def test_evaluation_drops_no_weights_and_so_joins(data, gpu):
    gpu("9.0")
    task = task_of(tiny.finetuning(data))
    assert isinstance(choose_batching(task, LENGTHS, 2, train=True), Bucketed)
    assert isinstance(choose_batching(task, LENGTHS, 2, train=False), Joined)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"packing": False}},
        {"architecture": tiny.architecture(attention={"kind": "local"})},
        {"training": {"variant": "reference"}},
    ],
)
def test_where_texts_are_not_to_share_rows_there_is_nothing_to_say(data, gpu, changes):
    gpu("9.0")
    config = tiny.pretraining(data, **(NO_DROPOUT | changes))
    assert isinstance(choose_batching(task_of(config), LENGTHS, 4, train=True), Bucketed)
    assert padding_note(config) == []


def test_on_a_cpu_texts_are_packed_without_a_note(data):
    config = tiny.pretraining(data)
    assert isinstance(choose_batching(task_of(config), LENGTHS, 4, train=True), Packed)
    assert padding_note(config) == []


def on_cpu(config):
    """A plan whose batches are those of a GPU; what they lead to is computed here by the plain function."""
    plan = make_plan(config, tiny.Path("/"))
    lengths = plan.train.lengths
    (joined, *_) = candidate_joinings(lengths, lengths, config.training.batch_size, row_lengths(tiny.MAX_LENGTH))
    assert joined.shape[0] > 1
    return replace(plan, batching=joined, eval_batching=joined)


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_arrays_of_all_batches_have_the_shapes_that_are_compiled_for(data, build):
    plan = on_cpu(build(data, training={"grad_accum_steps": 4}))
    (shape,) = plan.batching.shapes
    compiled_for = shapes_of(plan.task.batch(None, plan.batching.empty(shape), (0,)))
    batches = list(training_batches(plan.task, plan.train, plan.batching, plan.length, 0))
    assert batches[-1].tokens == 0
    for batch in batches:
        arrays = {name: array for name, array in batch.arrays.items() if name != "scale"}
        assert shapes_of(arrays) == compiled_for
    assert sum(batch.tokens for batch in batches) == plan.length.epochs * plan.train.lengths.sum()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_texts_end_to_end_are_evaluated_as_those_in_rows_of_their_own(data, monkeypatch, pooling):
    monkeypatch.setattr(softmax, "attend_within_spans", attend_within_spans_reference)
    head = {"num_labels": 3, "pooling": pooling}
    plan = on_cpu(tiny.finetuning(data, classification_head=head, training={"use_amp": False}))
    variables = plan.draw_variables()

    def scores(plan):
        evaluator = Evaluator(plan.task, Programs("evaluation", plan.evaluation_program), plan.eval_batching)
        return evaluator.scores(variables, plan.train)

    sums, logits = scores(plan)
    expected_sums, expected = scores(replace(plan, eval_batching=Bucketed(8, (tiny.MAX_LENGTH,))))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert sums == pytest.approx(expected_sums, rel=1e-5)


def test_a_gpu_compiles_another_program_where_it_pays(data, gpu, monkeypatch):
    """Seconds of compiling against seconds of running: few texts get one length, many get all that may be."""
    gpu("8.0")
    task = task_of(tiny.pretraining(data, **NO_DROPOUT))
    longest = Bucketed(8, (tiny.MAX_LENGTH,))
    flops = task.flops(longest.shapes[0], train=True) * len(LENGTHS) / 8
    found = []
    for seconds in (0.01, 10.0, 100.0, 1e5):  # that so many passes take in the longest rows
        monkeypatch.setattr(batching, "GPU_SPEED", batching.PASSES * flops / seconds)
        found.append(len(choose_batching(task, LENGTHS, 4, train=True).shapes))
    assert found[0] == 1
    assert found == sorted(found)
    assert found[1] < found[-1] <= 4
