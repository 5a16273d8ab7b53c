"""Writes trained models as ONNX: all that `predict` computes after the tokenizer, linear path and temperature too."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textclf_jax.config.schema import Architecture, ClassificationHead, FinetuningConfig
from textclf_jax.constants import LINEAR, LINEAR_PATH
from textclf_jax.data.ngrams import ngrams_of_keys, restored_keys, tokens_read
from textclf_jax.errors import UserError
from textclf_jax.extras import require
from textclf_jax.interop.layout import differing
from textclf_jax.interop.onnx_graph import FLOAT, OPSET, EncoderGraph, Graph, linear_path, mixed
from textclf_jax.interop.targets import model_of, new_folder, refuse, require_new, write_json
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.tasks.confidence import Abstention, temperature_of
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.loading import kept_wrapper, load_kept

MODEL, QUANTISED, FACTS = "model.onnx", "model.int8.onnx", "model.json"
IR_VERSION = 10  # of the file: that of the first release with this set of operators
INT64 = 7  # of TensorProto
IDS, MASK, WHOLE_IDS = "input_ids", "attention_mask", "whole_input_ids"
LOGITS, PROBABILITIES = "logits", "probabilities"
PRODUCER = "textclf-jax"


class Value(NamedTuple):
    """An input or output of the graph: its name, the number of its type, and its shape."""

    name: str
    type: int
    shape: tuple[str | int, ...]


def missing_in_onnx(config: Architecture) -> list[str]:
    """Lists the keys, with their values, that are not written as ONNX."""
    return differing({"architecture.attention.kind": (config.attention.kind, "mha")})


def export_onnx(saved: SavedModel, out: Path, *, int8: bool = False) -> list[str]:
    """Writes a folder with the model, the tokenizer, and `model.json`, which says how to use them.

    Inputs are int64: `input_ids` [B, L] and `attention_mask` [B, L], 1 at real tokens; where the linear path reads more
    tokens than the encoder, also `whole_input_ids` [B, W], 0 at padding. Outputs are float32: of a classifier `logits`,
    divided by the temperature, and `probabilities`, both [B, C]; of a masked language model `logits` [B, L, V].

    Args:
      saved: the model.
      out: the folder to make.
      int8: also write the model with 8-bit weights, of dynamic quantisation.

    Returns:
      Notes on what the graph does not do.

    Raises:
      UserError: the model has what is not written (its keys are listed), or `out` exists or cannot be written.
    """
    require("onnx", "export --format onnx")
    if int8:
        require("onnxruntime", "export --int8")
    import onnx

    config, _ = model_of(saved)
    refuse(saved, "this export to ONNX", missing_in_onnx(config.architecture))
    require_new(out)
    graph, inputs, outputs = _graph_of(saved)
    model = _model_proto(graph, inputs, outputs)
    onnx.checker.check_model(model)
    with new_folder(out) as folder:
        onnx.save(model, folder / MODEL)
        if int8:
            _quantise(folder / MODEL, folder / QUANTISED, graph)
        load_kept(saved.vocab_dir, config.tokenizer).save(folder)
        write_json(folder / FACTS, _facts(saved, inputs))
    return _notes(saved, out)


def _graph_of(saved: SavedModel) -> tuple[Graph, list[Value], list[Value]]:
    """The graph of a model, its inputs and its outputs."""
    config, head = model_of(saved)
    graph = Graph()
    encoder = EncoderGraph(graph, config.architecture, IDS, MASK)
    inputs = [Value(name, INT64, ("batch", "length")) for name in (IDS, MASK)]
    params = saved.variables["params"]
    if not isinstance(head, ClassificationHead):
        graph.add("Identity", encoder.token_logits(params, head), name=LOGITS)
        return graph, inputs, [Value(LOGITS, FLOAT, ("batch", "length", saved.metadata["vocab_size"]))]
    logits = encoder.class_logits(params, head)
    if head.linear.enabled:
        whole = IDS if _columns(saved) is None else WHOLE_IDS
        if whole == WHOLE_IDS:
            inputs.append(Value(WHOLE_IDS, INT64, ("batch", "whole_length")))
        read = graph.first(whole, graph.integers(tokens_read(head.linear)), axis=1)
        variables = saved.variables[LINEAR][LINEAR_PATH]
        beside = linear_path(graph, read, variables, _ngrams(saved, head))
        weights = [float(weight) for weight in variables["weights"]]
        logits = mixed(graph, [logits, beside], weights, multi_label=head.multi_label)
    logits = graph.add("Div", logits, graph.constant(temperature_of(saved.metadata)), name=LOGITS)
    if head.multi_label:
        graph.add("Sigmoid", logits, name=PROBABILITIES)
    else:
        graph.add("Softmax", logits, name=PROBABILITIES, axis=-1)
    return graph, inputs, [Value(name, FLOAT, ("batch", head.num_labels)) for name in (LOGITS, PROBABILITIES)]


def _ngrams(saved: SavedModel, head: ClassificationHead) -> Sequence[tuple[int, tuple[int, ...]]]:
    """The place of each n-gram of the linear path, and its tokens.

    Raises:
      UserError: some cannot be told from their keys: their beginnings have no key.
    """
    variables = saved.variables[LINEAR][LINEAR_PATH]
    places = np.flatnonzero(np.asarray(variables["idf"]) > 0)
    keys = restored_keys(np.asarray(variables["keys"])[places])
    found = ngrams_of_keys(keys, saved.metadata["vocab_size"], max_n=head.linear.max_n)
    if len(found) < len(places):
        raise UserError(
            f"{saved.folder} cannot be exported: {len(places) - len(found)} n-grams of its linear path cannot be told "
            f"from their keys. classification_head.linear.max_n: 2 has none of these."
        )
    return [(int(places[place]), tokens) for place, tokens in sorted(found.items())]


def _columns(saved: SavedModel) -> int | None:
    """Tokens of the rows that the linear path reads, where those are not the encoder's; None where they are."""
    config, head = model_of(saved)
    if not (isinstance(config, FinetuningConfig) and isinstance(head, ClassificationHead) and head.linear.enabled):
        return None
    columns = saved.metadata["data"]["train"]["columns"]
    return None if columns == config.architecture.max_sequence_length else columns


def _model_proto(graph: Graph, inputs: Sequence[Value], outputs: Sequence[Value]) -> Any:
    from onnx import helper, numpy_helper

    takes, gives = ([helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs))
    constants = [numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    made = helper.make_graph(graph.nodes, PRODUCER, takes, gives, constants)
    operators = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=operators, ir_version=IR_VERSION, producer_name=PRODUCER)


def _quantise(source: Path, target: Path, graph: Graph) -> None:
    """Writes the model with 8-bit weights of its matrix products: the encoder's, which are most of the arithmetic."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # of preprocessing, which a graph of constant weights does not need
    kinds: dict[str, Any] = {"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul"]}
    try:
        quantize_dynamic(source, target, per_channel=True, nodes_to_exclude=graph.exact, **kinds)
    finally:
        logging.disable(logging.NOTSET)


def _facts(saved: SavedModel, inputs: Sequence[Value]) -> dict[str, Any]:
    """What a program that uses the graph needs to know."""
    config, head = model_of(saved)
    facts: dict[str, Any] = {
        "opset": OPSET,
        "inputs": [value.name for value in inputs],
        "max_length": config.architecture.max_sequence_length,
    }
    if columns := _columns(saved):
        facts["whole_max_length"] = columns
    if isinstance(head, ClassificationHead):
        facts |= {"labels": saved.metadata["labels"], "multi_label": head.multi_label}
    if thresholds := Thresholds.of_model(saved.metadata):
        facts["thresholds"] = thresholds.values
    if limit := Abstention.of_model(saved.metadata):
        facts["no_label_up_to"] = limit.threshold
    return facts


def _notes(saved: SavedModel, out: Path) -> list[str]:
    config, _ = model_of(saved)
    notes = []
    if Abstention.of_model(saved.metadata):
        notes.append(f"the limit on errors is not part of the graph: see no_label_up_to in {out / FACTS}")
    if Thresholds.of_model(saved.metadata):
        notes.append(f"the thresholds of the labels are not part of the graph: see {out / FACTS}")
    if kept_wrapper(saved.vocab_dir, config.tokenizer):
        notes.append("the graph takes ids: your own tokenizer's files lie beside it, its class does not")
    return notes
