"""What is read from traces and programs."""

import pytest

from textclf_jax.observe.trace import Operation, own_times, place_of, places_of, waiting_share


@pytest.mark.parametrize(
    ("op_name", "place"),
    [
        ("jit(step)/jvp(Model)/encoder/layers_3/mlp/mlp.linear/up/dot_general", ("layers/mlp/up", "forward")),
        ("jit(step)/transpose(jvp(Model))/encoder/layers_0/attention/exp", ("layers/attention", "backward")),
        ("jit(step)/jvp(Model)/Model.decode/transform/norm/mul", ("decode/transform/norm", "forward")),
        ("jit(step)/jvp(Model)/encoder/embeddings/word/jit(_take)/gather", ("embeddings/word", "forward")),
        ("jit(step)/jvp(Model)/encoder/layers_1/mlp/checkpoint/down/down/dot_general", ("layers/mlp/down", "forward")),
        (
            "jit(step)/transpose(jvp(Model))/encoder/layers_1/mlp/jvp(Model)/encoder/layers_1/mlp/checkpoint/"
            "rematted_computation/down/down/mul",
            ("layers/mlp/down", "backward"),
        ),
        ("jit(step)/transpose(jvp(loss))/neg", ("loss", "backward")),
        ("jit(step)/jvp(Model.losses)/Model/encoder/layers_3/mlp/up/dot_general", ("layers/mlp/up", "forward")),
        (
            "jit(step)/transpose(jvp(Model.losses))/Model/Model.decode/transform/norm/mul",
            ("decode/transform/norm", "backward"),
        ),
        ("jit(step)/jvp(Model.losses)/jit(log_softmax)/neg", ("loss", "forward")),
        ("jit(step)/optimizer/jit(clip)/min", ("optimizer", "")),
        ("jit(step)/jvp(Model)/encoder/embeddings/while/body/closed_call/or", ("embeddings", "forward")),
        (
            "jit(steps)/while/body/closed_call/jit(step)/jvp(Model)/encoder/layers_3/mlp/up/dot_general",
            ("layers/mlp/up", "forward"),
        ),
        (
            "jit(step)/eval_jaxpr/jvp(Model.losses)/Model/encoder/layers_3/mlp/up/dot_general",
            ("layers/mlp/up", "forward"),
        ),
        ("jit(step)/transpose(jvp(Model))/encoder/layers_0/attention/eval_jaxpr/exp", ("layers/attention", "backward")),
        ("jit(step)/jvp(Model)/eval_jaxpr/encoder/embeddings/while/body/eval_jaxpr/or", ("embeddings", "forward")),
        ("jit(step)/eval_jaxpr/add", None),
        ("jit(step)/while/body/add", None),
        ("jit(step)/add", None),
        ("state.params['encoder']", None),
    ],
)
def test_places(op_name, place):
    assert place_of(op_name) == place


def test_an_instruction_without_metadata_takes_that_of_what_it_calls():
    text = """HloModule jit_step, is_scheduled=true

%fused (p: f32[2]) -> f32[2] {
  %a = f32[2]{0} add(%p, %p), metadata={op_name="jit(step)/optimizer/add"}
  ROOT %b = f32[2]{0} multiply(%a, %a), metadata={op_name="jit(step)/optimizer/mul"}
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %x = f32[2]{0} parameter(0), metadata={op_name="x"}
  %fusion.1 = f32[2]{0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %copy = f32[2]{0} copy(%fusion.1)
}
"""
    optimizer = ("optimizer", "")
    assert places_of(text) == {"a": optimizer, "b": optimizer, "fusion.1": optimizer}


def test_a_loop_holds_its_body():
    thread = [
        Operation("m", "while", 0, 100),
        Operation("m", "body.1", 10, 40),
        Operation("m", "body.2", 40, 90),
        Operation("m", "inner", 50, 60),
        Operation("m", "after", 100, 130),
    ]
    assert {operation.name: own for operation, own in own_times(thread)} == {
        "while": 20,
        "body.1": 30,
        "body.2": 40,
        "inner": 10,
        "after": 30,
    }


def test_the_device_waits_where_no_thread_works():
    operations = [Operation("m", "a", 0, 40), Operation("m", "b", 20, 50), Operation("n", "c", 75, 100)]
    assert waiting_share(operations) == pytest.approx(0.25)
    assert waiting_share([]) == 0.0
