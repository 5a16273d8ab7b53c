"""Runs made of other people's weights: they compute the same, and everything else starts from them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import yaml

from tests import tiny
from tests.conftest import Golden
from tests.golden import adapters
from tests.interop import bert
from textclf_jax.cli import main
from textclf_jax.config.schema import PretrainingConfig
from textclf_jax.errors import UserError
from textclf_jax.experiments.generate import generate_finetuning
from textclf_jax.interop.importing import import_huggingface, import_reference
from textclf_jax.interop.reference import state_dict_from_variables, variables_from_state_dict
from textclf_jax.kernels.cross_entropy import cross_entropy
from textclf_jax.model.heads import MaskedLanguageModel

UNTIED = {"tie_word_embeddings": False}


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("BertForMaskedLM", {}),
        ("BertForMaskedLM", UNTIED),
        ("BertForPreTraining", {"type_vocab_size": 1}),
        ("BertForSequenceClassification", {"num_labels": 3}),
    ],
)
def test_huggingface_models_compute_the_same(tmp_path, kind, changes, safe):
    model = bert.random_model(kind, **changes)
    folder, _ = import_huggingface(bert.save(model, tmp_path / "hf", safe=safe), "new", tmp_path)
    saved = bert.load(folder)
    is_classifier = kind == "BertForSequenceClassification"
    assert folder == tmp_path / "experiments" / ("finetuning" if is_classifier else "pretraining") / "new"
    if kind == "BertForPreTraining":
        model = _mlm_part(model)
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    head = "classification_head" if is_classifier else "mlm_head"
    expected = {"num_labels": 3} if is_classifier else {"decoder_bias": True, "tie_mlm_weights": changes != UNTIED}
    assert expected.items() <= saved.metadata["config"][head].items()


def _mlm_part(model):
    import transformers

    mlm = transformers.BertForMaskedLM(model.config).eval()
    mlm.load_state_dict(model.state_dict(), strict=False)
    return mlm


def test_a_bare_encoder_and_what_is_said_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = bert.random_model("BertModel")
    bert.save(model, tmp_path / "hf")
    assert main(["import", "--hf", "hf", "--name", "new"]) == 0
    shown = capsys.readouterr().out
    assert "not used: bert.pooler.dense.bias, bert.pooler.dense.weight" in shown
    assert "generate_finetuning_experiment.py NEW new" in shown
    run = Path("experiments/pretraining/new")
    saved = bert.load(run)
    assert set(saved.variables["params"]) == {"encoder"}
    origin = saved.metadata["imported"]
    assert (origin["origin"], origin["source"]) == ("Hugging Face", str(tmp_path / "hf/model.safetensors"))
    # nothing trains over it by accident
    assert json.loads((run / "summary.json").read_text())["model"] == "imported"


def test_labels_come_along_and_the_classifier_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    model = bert.random_model("BertForSequenceClassification", **names)
    bert.save(model, tmp_path / "hf")
    assert main(["import", "--hf", "hf", "--name", "new"]) == 0
    assert main(["predict", "new", "--format", "json", "--text", "word3 word4"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    with torch.no_grad():
        logits = model(torch.tensor([[2, 8, 9, 3]])).logits
    expected = torch.softmax(logits, -1)[0].tolist()
    np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=1e-5)
    assert list(row["probabilities"]) == ["bad", "good"]


def test_finetuning_starts_from_an_imported_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = tiny.write_data(tmp_path / "data")
    (data / "labels.txt").write_text("a\nb\nc\n")
    bert.save(bert.random_model("BertForMaskedLM"), tmp_path / "hf")
    run, _ = import_huggingface(tmp_path / "hf", "old")
    (data / "vocab/vocab.txt").write_bytes((run / "vocab/vocab.txt").read_bytes())
    generate_finetuning("new", "old", data="data")
    assert main(["finetune", "new", "--dry-run"]) == 0
    assert "dry run of new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "there is no such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds: config.json, vocab.txt"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"{}"), "model.safetensors: cannot be read"),
        (lambda folder: tiny.write_vocabulary(folder, 50), "embeddings for 60 words, but the vocabulary has 50"),
        (lambda folder: _change_config(folder, hidden_act="relu"), "hidden_act: relu, not gelu"),
        (lambda folder: _change_config(folder, num_hidden_layers=3), r"missing: bert\.encoder\.layer\.2\.attention"),
        (lambda folder: _change_config(folder, intermediate_size=41), r"mlp/up/kernel: \(16, 40\) in the checkpoint"),
        (lambda folder: _write_tokenizer_config(folder, strip_accents=True), "strip_accents: True needs a tokenizer"),
    ],
)
def test_refused_folders_leave_nothing_behind(tmp_path, change, message):
    folder = bert.save(bert.random_model("BertForMaskedLM"), tmp_path / "hf")
    change(folder)
    with pytest.raises(UserError, match=message):
        import_huggingface(folder, "new", tmp_path)
    assert not (tmp_path / "experiments").exists()


def _change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _write_tokenizer_config(folder: Path, **settings) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_lower_casing_follows_tokenizer_config(tmp_path):
    folder = bert.save(bert.random_model("BertModel"), tmp_path / "hf")
    _write_tokenizer_config(folder, do_lower_case=False)
    run, _ = import_huggingface(folder, "new", tmp_path)
    assert '"lowercase":false' in (run / "vocab/tokenizer.json").read_text().replace(" ", "")


def test_a_run_of_that_name_stays_as_it_is(tmp_path):
    folder = bert.save(bert.random_model("BertModel"), tmp_path / "hf")
    run, _ = import_huggingface(folder, "new", tmp_path)
    before = (run / "model.ckpt/metadata.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        import_huggingface(folder, "new", tmp_path)
    assert (run / "model.ckpt/metadata.json").read_bytes() == before


# --- the PyTorch reference ------------------------------------------------------------------------------------


def reference_config(entry, folder: Path) -> Path:
    """A config of the reference's current generation for a manifest entry."""
    config = tiny.pretraining(folder).model_dump(mode="json")
    config["architecture"] = adapters.architecture(entry["config"]["model"]).model_dump(mode="json")
    config["tokenizer"]["vocab_dir"] = str(tiny.write_vocabulary(folder, entry["config"]["model"]["vocab_size"]))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.golden
def test_the_reference_s_best_model_has_its_recorded_loss(golden, tmp_path):
    check_best_model(golden, tmp_path)


def check_best_model(golden: Golden, tmp_path: Path) -> None:
    """Imports the recorded best model; on the masked inputs of the evaluation that found it it has its loss."""
    entry = next(e for e in golden.entries("torch_files") if e["file"].endswith("best-model.ckpt"))
    config = reference_config(entry, tmp_path)
    run, _ = import_reference(golden.path / entry["file"], config, "new", root=tmp_path)
    (trajectory,) = (e for e in golden.entries("trajectory") if e["file"] == "optim/traj_00_mlm_accum1.npz")
    # each evaluation has masks of its own
    best = [evaluation["step"] for evaluation in trajectory["expected"]["eval"]].index(entry["expected"]["step"])
    recorded, (module, variables) = golden.load(trajectory), _module_of(run)
    total = count = 0.0
    for key in (key for key in recorded if key.startswith(f"in/val_{best:02d}_") and key.endswith("input_ids")):
        mask, labels = (recorded[key.replace("input_ids", name)] for name in ("attention_mask", "labels"))
        ids, lengths = recorded[key].astype(np.int32), adapters.lengths(mask)
        targets: Any = labels[labels >= 0]
        losses, _ = cross_entropy(jax.jit(module.apply)(variables, ids, lengths)[labels >= 0], targets)
        total, count = total + float(losses.sum()), count + len(losses)
    np.testing.assert_allclose(total / count, entry["expected"]["val_loss"], rtol=1e-5)


def test_a_recording_whose_best_evaluation_is_a_later_one(tmp_path):
    """Made up: a random model, and three evaluations that differ in nothing but their masks."""
    sizes = {"vocab_size": 40, "max_sequence_length": 16, "embedding_dim": 8, "num_layers": 1, "mlp_size": 8}
    model = {**sizes, "num_heads": 2, "attention_kind": "mha", "pos_encoding": "learned"}
    config = PretrainingConfig.model_validate(
        tiny.pretraining(tmp_path).model_dump() | {"architecture": adapters.architecture(model).model_dump()}
    )
    (tmp_path / "optim").mkdir()
    torch.save({"model_state": (state := state_of(config, vocab_size=40))}, tmp_path / "best-model.ckpt")
    arrays, losses, rng = {}, [], np.random.default_rng(0)
    module = MaskedLanguageModel(config.architecture, config.mlm_head, 40)
    variables = variables_from_state_dict(
        {name: value.numpy() for name, value in state.items()}, config.architecture, config.mlm_head
    )
    for i in range(3):
        ids, mask = rng.integers(5, 40, (3, 9)), np.arange(9) >= np.array([[9], [7], [4]])
        labels = np.where((np.arange(9) == i) & ~mask, ids, -100)
        masked = np.where(labels >= 0, 4, ids)
        scores = jax.jit(module.apply)(variables, masked.astype(np.int32), adapters.lengths(mask))
        chosen = torch.from_numpy(np.array(scores)[labels >= 0]), torch.from_numpy(labels[labels >= 0])
        losses.append(float(torch.nn.functional.cross_entropy(*chosen)))
        arrays |= {f"in/val_{i:02d}_00/input_ids": masked, f"in/val_{i:02d}_00/labels": labels}
        arrays |= {f"in/val_{i:02d}_00/attention_mask": mask}
    assert len({f"{loss:.3f}" for loss in losses}) == 3
    np.savez(tmp_path / "optim/traj_00_mlm_accum1.npz", **arrays)
    evaluations = [{"step": 4 * (i + 1)} for i in range(3)]
    expected = {"step": 8, "val_loss": losses[1]}
    entries = [
        {"family": "trajectory", "file": "optim/traj_00_mlm_accum1.npz", "expected": {"eval": evaluations}},
        {"family": "torch_files", "file": "best-model.ckpt", "config": {"model": model}, "expected": expected},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"entries": entries}))
    check_best_model(Golden(tmp_path), tmp_path)


def _module_of(run: Path):
    from textclf_jax.interop.exporting import model_of

    saved = bert.load(run)
    config, _ = model_of(saved)
    assert isinstance(config, PretrainingConfig)
    return MaskedLanguageModel(config.architecture, config.mlm_head, saved.metadata["vocab_size"]), saved.variables


def state_of(config, vocab_size: int = tiny.VOCAB_SIZE) -> dict[str, torch.Tensor]:
    """A random state dict of the reference for a config."""
    from tests.model.cases import random_variables

    module = MaskedLanguageModel(config.architecture, config.mlm_head, vocab_size)
    variables = random_variables(module, bert.IDS, bert.LENGTHS)
    arrays = state_dict_from_variables(variables, config.architecture, config.mlm_head)
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


@pytest.fixture
def from_reference(tmp_path, monkeypatch):
    """`model.ckpt` and `config.yaml` of a reference run with rope, and data."""
    monkeypatch.chdir(tmp_path)
    config = tiny.pretraining(tiny.write_data(tmp_path / "data"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    torch.save({"model_state": state_of(config)}, tmp_path / "model.ckpt")
    return tmp_path


def test_importing_the_reference_switches_its_variants_on(from_reference, capsys):
    command = ["import", "--reference", "model.ckpt", "--config", "config.yaml", "--name", "new"]
    assert main(command) == 0
    assert "note: architecture.rope.variant is reference" in capsys.readouterr().out
    saved = bert.load(Path("experiments/pretraining/new"))
    assert saved.metadata["config"]["architecture"]["rope"]["variant"] == "reference"
    assert saved.metadata["imported"]["origin"] == "PyTorch reference"
    assert main(command) == 2
    generate_finetuning("fine", "new", data=None)
    assert "variant: reference" in Path("experiments/finetuning/fine/config.yaml").read_text()


def test_importing_the_reference_without_its_vocabulary(from_reference):
    config = from_reference / "config.yaml"
    config.write_text(config.read_text().replace(str(from_reference / "data" / "vocab"), "elsewhere"))
    with pytest.raises(UserError, match="Name its folder with --vocab"):
        import_reference(from_reference / "model.ckpt", config, "new")
    import_reference(from_reference / "model.ckpt", config, "new", vocab=from_reference / "data" / "vocab")
