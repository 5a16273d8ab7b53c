"""Runs made of other people's weights: they compute the same, and everything else starts from them."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

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
    assert "textclf new finetuning NEW new --data data/NEW" in shown
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
    assert main(["predict", "new", "--full-precision", "--format", "json", "--text", "word3 word4"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    with torch.no_grad():
        logits = model(torch.tensor([[2, 8, 9, 3]])).logits
    expected = torch.softmax(logits, -1)[0].tolist()
    np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=1e-5)
    assert list(row["probabilities"]) == ["bad", "good"]


def test_several_labels_a_text_come_along(tmp_path, monkeypatch, capsys):
    """By the sigmoid of each logit, as transformers' pipeline for this problem type; its threshold is 0.5 here."""
    monkeypatch.chdir(tmp_path)
    model = bert.random_model("BertForSequenceClassification", num_labels=3, problem_type="multi_label_classification")
    bert.save(model, tmp_path / "hf")
    assert main(["import", "--hf", "hf", "--name", "new"]) == 0
    assert main(["predict", "new", "--full-precision", "--format", "json", "--text", "word3 word4"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    with torch.no_grad():
        expected = torch.sigmoid(model(torch.tensor([[2, 8, 9, 3]])).logits)[0].tolist()
    np.testing.assert_allclose(list(row["probabilities"].values()), expected, atol=1e-5)
    assert row["labels"] == [f"LABEL_{i}" for i, p in enumerate(expected) if p >= 0.5]


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
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text('{"a": 1, "a": 2}'), "the key 'a' stands there twice"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds: config.json, vocab.txt"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"{}"), "model.safetensors: cannot be read"),
        (lambda folder: tiny.write_vocabulary(folder, 61), "embeddings for 60 words, but the vocabulary has 61"),
        (lambda folder: tiny.write_vocabulary(folder, 29), "embeddings for 60 words, but the vocabulary has 29. Are"),
        (lambda folder: _change_config(folder, hidden_act="relu"), 'hidden_act: "relu", not "gelu"'),
        (
            lambda folder: _change_config(folder, num_hidden_layers=3),
            "num_hidden_layers: 3, but .*model.safetensors has 2",
        ),
        (
            lambda folder: _change_config(folder, intermediate_size=41),
            "intermediate_size: 41, but .*model.safetensors has 40",
        ),
        (lambda folder: _write_tokenizer_config(folder, do_lower_case=None), "do_lower_case: null, not true or false"),
        (lambda folder: _change_array(folder, lambda a: a.fill_(torch.nan)), "NaN or infinity"),
        (lambda folder: _change_array(folder, lambda a: a.to(torch.int8)), "uint8, not floats: quantised"),
        (lambda folder: _change_array(folder, lambda a: a.to(torch.float8_e4m3fn)), "uint8, not floats: quantised"),
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


def _change_array(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    arrays = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    save_file(arrays | {name: change(arrays[name])}, folder / "model.safetensors")


def _write_tokenizer_config(folder: Path, **settings) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_the_model_s_normalisation_goes_with_it(tmp_path, monkeypatch, capsys):
    """What the model was trained with survives in the run, in prepared data, in predictions and in what is exported."""
    monkeypatch.chdir(tmp_path)
    model = bert.random_model("BertForSequenceClassification", num_labels=2, vocab_size=8)
    model.save_pretrained("hf")
    pieces = [*tiny.SPECIALS, "W\u00f6rd", "word", "w\u00f6rd"]
    Path("hf/vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    texts, expected = ["W\u00f6rd w\u00f6rd WORD"], [2, 5, 7, 1, 3]
    _write_tokenizer_config(Path("hf"), do_lower_case=False)
    run, _ = import_huggingface(Path("hf"), "new")
    assert '"lowercase":false' in (run / "vocab/tokenizer.json").read_text().replace(" ", "")
    for folder in (run / "vocab", run / "model.ckpt/vocab"):
        encoded = WordPieceTokenizerWrapper().load(folder).encode(texts, max_length=5)
        assert encoded.input_ids.tolist() == [expected]
    assert main(["predict", "new", "--full-precision", "--format", "json", "--text", texts[0]]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    with torch.no_grad():
        probabilities = torch.softmax(model(torch.tensor([expected])).logits, -1)[0].tolist()
    np.testing.assert_allclose(list(row["probabilities"].values()), probabilities, atol=1e-5)
    assert main(["export", "new", "--format", "hf", "--out", "back"]) == 0
    assert transformers.AutoTokenizer.from_pretrained("back")(texts)["input_ids"] == [expected]
    lines = "".join(f"W\u00f6rd w\u00f6rd WORD {'word ' * i},{i % 2}\n" for i in range(20))
    Path("texts.csv").write_text("text,label\n" + lines, encoding="utf-8")
    assert main(["prepare", "texts.csv", "--vocab", "hf", "--out", "data", "--max-length", "24"]) == 0
    assert (load_dataset_ids("data/mlm/train.pt")[:, 1:4] == expected[1:4]).all()


def load_dataset_ids(path: str) -> np.ndarray:
    from textclf_jax.data.torch_files import read_tensors

    return np.asarray(read_tensors(Path(path))[0])


def test_where_files_differ_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = bert.save(bert.random_model("BertModel"), tmp_path / "hf")
    WordPieceTokenizerWrapper().load(folder / "vocab.txt").save(folder)
    _write_tokenizer_config(folder, do_lower_case=False)
    assert main(["import", "--hf", "hf", "--name", "new"]) == 0
    assert "note: tokenizer_config.json: do_lower_case: false, but tokenizer.json: normalizer.lowercase: true" in (
        capsys.readouterr().out
    )


# --- folders as other tools write them ------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, UNTIED])
def test_padded_embeddings_lose_the_rows_that_no_text_has(tmp_path, changes):
    model = bert.random_model("BertForMaskedLM", vocab_size=64, **changes)
    run, notes = import_huggingface(bert.save(model, tmp_path / "hf"), "new", tmp_path)
    assert notes[0].startswith("the embeddings have 64 rows, the vocabulary has 60 words: the last 4 rows")
    saved = bert.load(run)
    assert saved.metadata["vocab_size"] == 60
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model)[..., :60])


def test_added_tokens_come_along(tmp_path):
    model = bert.random_model("BertForMaskedLM", vocab_size=61)
    folder = bert.save(model, tmp_path / "hf")
    (folder / "added_tokens.json").write_text(json.dumps({"covid19": 60}))
    run, _ = import_huggingface(folder, "new", tmp_path)
    bert.check_same_logits(bert.our_logits(bert.load(run)), bert.their_logits(model))
    wrapper = WordPieceTokenizerWrapper().load(run / "vocab")
    assert wrapper.encode(["word3 covid19"], max_length=4).input_ids.tolist() == [[2, 8, 60, 3]]
    # as save_pretrained writes them: vocab.txt without the token, tokenizer.json with it
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "both")
    (tmp_path / "both/vocab.txt").write_bytes((folder / "vocab.txt").read_bytes())
    both = WordPieceTokenizerWrapper().load(tmp_path / "both")
    assert both.fingerprint == wrapper.fingerprint


# --- attacks --------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, "", "16", "gelu", -1, 0, 1, 2, 3, 4, 10**12, 10**400, 0.0, 0.5, 1.0, 1e-12, 16.0]
    ),
    st.sampled_from(
        [float("nan"), float("inf"), [], [1], ["BertForMaskedLM"], {}, {"0": "a"}, {"0": "a", "1": "b", "2": "c"}]
    ),
    st.sampled_from([{"a": 0, "b": 1, "c": 2}, {"0": "a", "1": "a", "2": "b"}, {"0": None, "1": "b", "2": "c"}]),
)
KEYS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"),
    *("vocab_size", "type_vocab_size", "hidden_act", "layer_norm_eps", "hidden_dropout_prob", "classifier_dropout"),
    *("attention_probs_dropout_prob", "pad_token_id", "is_decoder", "architectures", "problem_type", "model_type"),
    *("id2label", "label2id", "num_labels", "tie_word_embeddings", "tokenizer_class", "dtype", "quantization_config"),
)


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory):
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    model = bert.random_model("BertForSequenceClassification", **names)
    return bert.save(model, tmp_path_factory.mktemp("attack") / "hf")


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=2), st.sets(st.sampled_from(KEYS), max_size=1)
)
def test_strangers_configs_give_transformers_logits_or_are_refused(
    classifier_folder, tmp_path_factory, changes, dropped
):
    work = tmp_path_factory.mktemp("strange")
    shutil.copytree(classifier_folder, work / "hf")
    path = work / "hf/config.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if key not in dropped}
    path.write_text(json.dumps(content | changes))
    try:
        run, _ = import_huggingface(work / "hf", "new", work)
    except UserError as error:
        message = str(error)
    else:
        message = ""
        saved = bert.load(run)
        if saved.metadata["labels"]:
            theirs = transformers.AutoModelForSequenceClassification.from_pretrained(work / "hf").eval()
            bert.check_same_logits(bert.our_logits(saved), bert.their_logits(theirs))
            assert [str(theirs.config.id2label[i]) for i in range(3)] == saved.metadata["labels"]
    if message:
        assert "hf" in message
        assert not (work / "experiments").exists()


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
    from textclf_jax.interop.targets import model_of

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


def test_where_files_of_the_references_vocabulary_differ_is_said(from_reference):
    vocab = from_reference / "data" / "vocab"
    WordPieceTokenizerWrapper().load(vocab).save(vocab)
    _write_tokenizer_config(vocab, do_lower_case=False)
    _, notes = import_reference(from_reference / "model.ckpt", from_reference / "config.yaml", "new")
    assert any("do_lower_case: false, but tokenizer.json" in note for note in notes)


def test_importing_the_reference_without_its_vocabulary(from_reference):
    config = from_reference / "config.yaml"
    config.write_text(config.read_text().replace(str(from_reference / "data" / "vocab"), "elsewhere"))
    with pytest.raises(UserError, match="Name its folder with --vocab"):
        import_reference(from_reference / "model.ckpt", config, "new")
    import_reference(from_reference / "model.ckpt", config, "new", vocab=from_reference / "data" / "vocab")
