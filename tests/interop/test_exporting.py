"""Exported models: transformers and the PyTorch reference load them as they are, and they compute the same."""

import json
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers

from tests import tiny
from tests.golden import adapters
from tests.interop import bert
from tests.model.cases import random_variables
from tests.tokenizer.texts import texts, vocabulary
from textclf_jax.errors import UserError
from textclf_jax.interop.exporting import export_huggingface, export_reference, formats_told
from textclf_jax.interop.importing import import_huggingface
from textclf_jax.interop.reference import variables_from_state_dict
from textclf_jax.interop.torch_checkpoint import read_state
from textclf_jax.model.heads import MaskedLanguageModel, SequenceClassifier
from textclf_jax.runs.checkpoint import SavedModel
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

AUTO = {
    "BertForMaskedLM": "AutoModelForMaskedLM",
    "BertForSequenceClassification": "AutoModelForSequenceClassification",
}
LEARNED = {"architecture": tiny.architecture(pos_encoding="learned")}


def saved_model(folder, run_config: Any, head: Any, *, labels: list[str] | None = None) -> SavedModel:
    """A model of random weights, as if it had been trained."""
    kind: Any = SequenceClassifier if labels else MaskedLanguageModel
    variables = random_variables(kind(run_config.architecture, head, tiny.VOCAB_SIZE), bert.IDS, bert.LENGTHS)
    tiny.write_vocabulary(folder / "vocab")
    metadata = {"config": run_config.model_dump(mode="json"), "vocab_size": tiny.VOCAB_SIZE, "labels": labels}
    return SavedModel(folder, variables, metadata)


def mlm(folder, **changes: Any) -> SavedModel:
    run_config = tiny.pretraining(folder, **{**LEARNED, **changes})
    return saved_model(folder, run_config, run_config.mlm_head)


def classifier(folder, **changes: Any) -> SavedModel:
    run_config = tiny.finetuning(folder, **{**LEARNED, **changes})
    return saved_model(folder, run_config, run_config.classification_head, labels=["bad", "so so", "good"])


def loaded_by_transformers(folder, kind: str) -> Any:
    """The model that the Auto class makes of a folder, all of whose arrays it takes and needs."""
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


# --- Hugging Face ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("BertForMaskedLM", {}),
        ("BertForMaskedLM", {"tie_word_embeddings": False, "type_vocab_size": 3}),
        ("BertForSequenceClassification", {"num_labels": 3}),
    ],
)
def test_a_bert_goes_round(tmp_path, kind, changes):
    model = bert.random_model(kind, **changes)
    run, _ = import_huggingface(bert.save(model, tmp_path / "hf"), "new", tmp_path)
    export_huggingface(bert.load(run), tmp_path / "back")
    back = loaded_by_transformers(tmp_path / "back", AUTO[kind])
    bert.check_same_logits(bert.their_logits(back), bert.their_logits(model), atol=0)
    before, after = model.state_dict(), back.state_dict()
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    "head", [{}, {"decoder_bias": True}, {"tie_mlm_weights": False}, {"tie_mlm_weights": False, "decoder_bias": True}]
)
def test_a_masked_language_model_of_ours(tmp_path, head):
    saved = mlm(tmp_path, mlm_head=head)
    export_huggingface(saved, tmp_path / "out")
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForMaskedLM")
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    assert bool(model.cls.predictions.decoder.bias.any()) == head.get("decoder_bias", False)


@pytest.mark.parametrize("types", [0, 2])
def test_a_classifier_of_ours(tmp_path, types):
    saved = classifier(tmp_path, architecture=tiny.architecture(pos_encoding="learned", type_vocab_size=types))
    export_huggingface(saved, tmp_path / "out")
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForSequenceClassification")
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    assert model.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    assert model.config.label2id["so so"] == 1
    assert model.config.type_vocab_size == max(types, 1)


ROTARY = [{}, {"rope_base": 500.0}, {"rope_scale": 0.25}, {"rope_base": 500.0, "rope_scale": 3.0}]


@pytest.mark.parametrize("rope", ROTARY)
@pytest.mark.parametrize("head", [{}, {"tie_mlm_weights": False, "decoder_bias": True}])
def test_a_masked_language_model_with_rotary_positions(tmp_path, rope, head):
    saved = mlm(tmp_path, architecture=tiny.architecture(rope=rope), mlm_head=head)
    export_huggingface(saved, tmp_path / "out")
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForMaskedLM")
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    assert bool(model.lm_head.decoder.bias.any()) == head.get("decoder_bias", False)


@pytest.mark.parametrize("types", [0, 2])
@pytest.mark.parametrize("pooler", ["bert", "roberta"])
def test_a_classifier_with_rotary_positions(tmp_path, types, pooler):
    head = {"num_labels": 3, "pooler_type": pooler}
    saved = classifier(tmp_path, architecture=tiny.architecture(type_vocab_size=types), classification_head=head)
    export_huggingface(saved, tmp_path / "out")
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForSequenceClassification")
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    assert model.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    pipeline: Any = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    assert pipeline("word1 word2 word3")[0]["label"] in ("bad", "so so", "good")


def test_sinusoidal_positions_become_learned_ones(tmp_path):
    head = {"num_labels": 3, "pooler_type": "roberta"}
    saved = classifier(tmp_path, architecture=tiny.architecture(pos_encoding="sinusoidal"), classification_head=head)
    export_huggingface(saved, tmp_path / "out")
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForSequenceClassification")
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))


def test_several_labels_a_text_go_round_with_their_thresholds(tmp_path):
    head = {"num_labels": 3, "multi_label": True}
    saved = classifier(tmp_path, classification_head=head)
    thresholds = Thresholds([0.1 + 0.2, 0.5, 1 / 3], [2])
    saved.metadata.update(thresholds.stored())
    (note,) = export_huggingface(saved, tmp_path / "out")
    assert "transformers does not apply them" in note
    model = loaded_by_transformers(tmp_path / "out", "AutoModelForSequenceClassification")
    assert model.config.problem_type == "multi_label_classification"
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(model))
    run, _ = import_huggingface(tmp_path / "out", "back", tmp_path)
    metadata = bert.load(run).metadata
    assert metadata["config"]["classification_head"]["multi_label"] is True
    assert Thresholds.of_model(metadata) == Thresholds(thresholds.values, [])
    # of another length it would be another model's
    path = tmp_path / "out/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"textclf_thresholds": [0.5]}))
    with pytest.raises(UserError, match="textclf_thresholds: 1 numbers, but there are 3 classes"):
        import_huggingface(tmp_path / "out", "again", tmp_path)


def test_the_reference_has_no_several_labels_a_text(tmp_path):
    saved = classifier(tmp_path, classification_head={"num_labels": 3, "multi_label": True})
    with pytest.raises(UserError, match=r"classification_head\.multi_label: true"):
        export_reference(saved, tmp_path / "out")


@pytest.mark.golden
@pytest.mark.parametrize("length", [16, 32])
def test_the_exported_tokenizer_gives_the_same_ids(golden, tmp_path, length):
    texts = json.loads((golden.path / "tokenizer/texts.json").read_text())
    saved = mlm(tmp_path)
    ours = WordPieceTokenizerWrapper().load(golden.path / "tokenizer/vocab")
    (tmp_path / "vocab/vocab.txt").unlink()
    ours.save(tmp_path / "vocab")
    export_huggingface(saved, tmp_path / "out")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = theirs(texts, truncation=True, max_length=length, padding="max_length", return_tensors="np")
    expected = ours.encode(texts, max_length=length)
    np.testing.assert_array_equal(encoded["input_ids"], expected.input_ids)
    np.testing.assert_array_equal(encoded["attention_mask"] == 0, expected.attention_mask)
    assert not encoded["token_type_ids"].any()
    assert (theirs.mask_token_id, theirs.model_max_length) == (ours.mask_id, tiny.MAX_LENGTH)


def test_the_exported_tokenizer_keeps_accents_and_long_words(tmp_path):
    saved = mlm(tmp_path)
    texts = ["ก่อน กอน cafe\u0301 CAFÉ " + "qz" * 60, "qz" * 60 + "q मैल 漢字 한국어"]
    vocab = tmp_path / "vocab"
    (vocab / "vocab.txt").unlink()
    ours = WordPieceTokenizerWrapper().train(texts=texts, strip_accents=False, max_word_length=120, out_dir=vocab)
    export_huggingface(saved, tmp_path / "out")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    expected = ours.encode(texts, max_length=24)
    encoded = theirs(texts, truncation=True, max_length=24, padding="max_length", return_tensors="np")
    np.testing.assert_array_equal(encoded["input_ids"], expected.input_ids)
    assert (expected.input_ids == ours.unk_id).sum(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda tokenizer: None,
        lambda tokenizer: tokenizer["normalizer"].update(lowercase=False),
        lambda tokenizer: tokenizer["normalizer"].update(strip_accents=False, handle_chinese_chars=False),
        lambda tokenizer: tokenizer["model"].update(max_input_chars_per_word=4),
    ],
    ids=["uncased", "cased", "accents", "long words"],
)
def test_ids_go_round(tmp_path, change):
    """Here, in transformers after the export, and here again after the import."""
    saved, given = mlm(tmp_path), texts(1000)
    wrapper = WordPieceTokenizerWrapper().load(write_pieces(tmp_path / "vocab", change))
    export_huggingface(saved, tmp_path / "out")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = theirs(given, truncation=True, max_length=24, padding="max_length", return_tensors="np")
    for ours in (wrapper, WordPieceTokenizerWrapper().load(tmp_path / "out")):
        np.testing.assert_array_equal(encoded["input_ids"], ours.encode(given, max_length=24).input_ids)


def write_pieces(folder, change):
    """A vocabulary that knows characters of every script, and whose tokenizer.json is changed."""
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in vocabulary(cased=True)), encoding="utf-8")
    WordPieceTokenizerWrapper().load(folder, lowercase=True).save(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def test_an_exported_pipeline_classifies(tmp_path):
    """The folder is enough for the shortest way to use it."""
    saved = classifier(tmp_path)
    export_huggingface(saved, tmp_path / "out")
    pipeline: Any = transformers.pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    (result,) = pipeline("word1 word2 word3")
    assert result["label"] in ("bad", "so so", "good")


@pytest.mark.parametrize(
    ("make", "changes", "theirs", "message"),
    [
        (classifier, {"classification_head": {"num_labels": 3, "pooling": "mean"}}, "BERT", "pooling: mean, not cls"),
        (
            classifier,
            {"classification_head": {"num_labels": 3, "pooler_type": None}},
            "BERT",
            "pooler_type: None, not bert or roberta",
        ),
        (
            mlm,
            {"architecture": tiny.architecture(rope={"variant": "reference"})},
            "JinaEmbeddingsV3",
            "architecture.rope.variant: reference, not standard",
        ),
        (
            mlm,
            {"architecture": tiny.architecture(attention={"kind": "local"})},
            "JinaEmbeddingsV3",
            "architecture.attention.kind: local, not mha",
        ),
    ],
)
def test_what_transformers_lacks_is_named_and_nothing_written(tmp_path, make, changes, theirs, message):
    with pytest.raises(UserError, match=f"transformers' {theirs} has nothing for\n.*{message}"):
        export_huggingface(make(tmp_path, **changes), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vocab"]


def test_the_formats_of_a_config_are_told_before_training(tmp_path):
    told = formats_told(tiny.finetuning(tmp_path, classification_head={"num_labels": 3, "pooling": "mean"}))
    assert told[:2] == [
        "can be exported as onnx, stablehlo",
        "not as hf, for classification_head.pooling: mean, not cls",
    ]
    assert told[2].startswith("not as reference, for architecture.rope.variant: standard")
    told = formats_told(tiny.pretraining(tmp_path, architecture=tiny.architecture(attention={"kind": "local"})))
    assert told[0] == "can be exported as stablehlo"
    assert "not as onnx, for architecture.attention.kind: local, not mha" in told


def test_the_formats_told_heed_a_tokenizer_of_one_s_own(tmp_path):
    """As the export itself does; configs of the reference name a file of this project's that is not there."""
    (tmp_path / "wrapper.py").touch()
    own = formats_told(tiny.pretraining(tmp_path, tokenizer={"wrapper_path": f"{tmp_path}/wrapper.py"}))
    assert own[:2] == [
        "can be exported as onnx, stablehlo",
        f"not as hf, for tokenizer.wrapper_path: {tmp_path}/wrapper.py, a tokenizer of your own",
    ]
    missing = {"wrapper_path": "elsewhere/tokenizer/wordpiece_tokenizer_wrapper.py"}
    assert formats_told(tiny.pretraining(tmp_path, tokenizer=missing))[0] == "can be exported as hf, onnx, stablehlo"


@pytest.mark.parametrize(("max_n", "warns"), [(2, False), (3, True)])
def test_a_linear_path_that_may_not_become_onnx_is_told(tmp_path, max_n, warns):
    head = {"num_labels": 3, "linear": {"enabled": True, "max_n": max_n}}
    told = formats_told(tiny.finetuning(tmp_path, classification_head=head))
    assert told[0] == "can be exported as hf, onnx, stablehlo"
    assert told[-1].startswith("perhaps not as onnx, for classification_head.linear.max_n: 3") == warns


def test_a_tokenizer_of_one_s_own_is_named(tmp_path):
    saved = mlm(tmp_path, tokenizer={"wrapper_path": "mine/wrapper.py"})
    (saved.vocab_dir / "wrapper.py").touch()
    with pytest.raises(UserError, match=r"tokenizer\.wrapper_path: mine/wrapper\.py"):
        export_huggingface(saved, tmp_path / "out")


@pytest.mark.parametrize("export", [export_huggingface, export_reference])
def test_what_is_there_is_not_overwritten(tmp_path, export):
    saved = mlm(tmp_path)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        export(saved, tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        export(saved, tmp_path / "missing" / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_encoder_alone_is_refused(tmp_path):
    run, _ = import_huggingface(bert.save(bert.random_model("BertModel"), tmp_path / "hf"), "new", tmp_path)
    with pytest.raises(UserError, match="an encoder without its MLM head"):
        export_huggingface(bert.load(run), tmp_path / "out")


# --- the PyTorch reference ------------------------------------------------------------------------------------


def recorded_models(golden):
    """(name, config, state dict) of every recorded model, those in torch's own files among them."""
    for entry in golden.entries("models"):
        yield entry["file"], entry["config"], adapters.state_dict(golden.load(entry))
    for entry in golden.entries("torch_files"):
        if entry["file"].endswith(".ckpt"):
            yield entry["file"], entry["config"], read_state(golden.path / entry["file"])


@pytest.mark.golden
def test_what_came_from_the_reference_goes_back_bit_by_bit(golden, tmp_path, subtests):
    """The same names, shapes, dtypes and values: a strict load there succeeds, and gives the recorded logits."""
    for number, (name, config, state) in enumerate(recorded_models(golden)):
        with subtests.test(name):
            architecture, head = adapters.architecture(config["model"]), adapters.head(config)
            is_mlm = config["task"] == "mlm"
            run_config = (tiny.pretraining if is_mlm else tiny.finetuning)(tmp_path)
            changed = {"architecture": architecture, "mlm_head" if is_mlm else "classification_head": head}
            metadata = {"config": run_config.model_copy(update=changed).model_dump(mode="json")}
            variables = variables_from_state_dict(state, architecture, head)
            export_reference(SavedModel(tmp_path, variables, metadata), tmp_path / f"{number}.ckpt")
            written = torch.load(tmp_path / f"{number}.ckpt", weights_only=True)
            assert list(written) == ["model_state"]
            check_same_state(written["model_state"], state)
            if config.get("tie_mlm_weights"):
                words, decoder = (
                    written["model_state"][key] for key in ("embeddings.word_embeddings.weight", "mlm.decoder.weight")
                )
                assert words.data_ptr() == decoder.data_ptr()


def check_same_state(written: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert set(written) == set(expected)
    for name, value in expected.items():
        assert written[name].numpy().dtype == value.dtype, name
        np.testing.assert_array_equal(written[name].numpy(), value, err_msg=name)


def test_a_model_of_ours_comes_back_from_the_reference_s_file(tmp_path):
    architecture = tiny.architecture(
        rope={"variant": "reference"}, attention={"kind": "favor", "favor": {"nb_features": 8, "phi": "elu"}}
    )
    saved = mlm(tmp_path, architecture=architecture)
    export_reference(saved, tmp_path / "model.ckpt")
    run_config = tiny.pretraining(tmp_path, architecture=architecture)
    back = variables_from_state_dict(read_state(tmp_path / "model.ckpt"), run_config.architecture, run_config.mlm_head)
    jax.tree.map(np.testing.assert_array_equal, back, saved.variables)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": tiny.architecture()}, r"architecture\.rope\.variant: standard"),
        (
            {"architecture": tiny.architecture(pos_encoding="learned", attention={"kind": "lsh"})},
            r"architecture\.attention\.lsh\.variant: standard",
        ),
        (
            {"architecture": tiny.architecture(pos_encoding="learned", attention={"kind": "local"})},
            r"architecture\.attention\.kind: local",
        ),
        ({"mlm_head": {"decoder_bias": True}}, r"mlm_head\.decoder_bias: true"),
    ],
)
def test_what_the_reference_lacks_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"the PyTorch reference has nothing for\n  {message}"):
        export_reference(mlm(tmp_path, **changes), tmp_path / "model.ckpt")
    assert not (tmp_path / "model.ckpt").exists()
