"""Configs of the PyTorch reference load unchanged, and every change of a key is said."""

import pytest

from textclf_jax.config.file import load_config, parse_config
from textclf_jax.config.migration import resume_path
from textclf_jax.config.schema import FinetuningConfig
from textclf_jax.errors import UserError

PRETRAINING = """\
experiment: {name: x, kind: pretraining, output_dir: experiments/pretraining/x}
tokenizer: {vocab_dir: vocab}
architecture:
  max_sequence_length: 16
  embedding_dim: 8
  num_layers: 2
  mlp_size: 16
  attention: {num_heads: 2}
training: {learning_rate: 1e-4, batch_size: 4, epochs: 1}
data: {train: {dataset_path: train.pt}}
"""
FINETUNING = PRETRAINING.replace("pretraining", "finetuning") + "classification_head: {num_labels: 2}\n"


def load(text: str, old: str = "", new: str = ""):
    assert old in text
    return parse_config(text.replace(old, new).encode(), "config.yaml")


def refused(text: str, old: str, new: str) -> str:
    with pytest.raises(UserError) as caught:
        load(text, old, new)
    return str(caught.value)


@pytest.mark.golden
def test_configs_of_every_generation_give_the_recorded_model(golden):
    entries = golden.entries("configs")
    assert len(entries) >= 6
    for entry in entries:
        loaded = load_config(golden.path / entry["file"])
        architecture, expected = loaded.config.architecture, entry["expected"]["model_kwargs"]
        attention = architecture.attention
        for key in ("max_sequence_length", "embedding_dim", "num_layers", "mlp_size", "mlp_dropout"):
            assert getattr(architecture, key) == expected[key]
        assert architecture.embedding_dropout == expected["embedding_dropout"]
        assert architecture.pos_encoding == expected["pos_encoding"]
        rope = architecture.rope.model_dump(include=set(expected["pos_encoding_params"]))
        assert rope == expected["pos_encoding_params"]
        assert attention.kind == expected["attention_kind"]
        assert attention.num_heads == expected["num_heads"]
        assert attention.attn_dropout == expected["attn_dropout"]
        assert attention.attn_out_dropout == expected["attn_out_dropout"]
        assert attention.projection_bias == expected["attn_projection_bias"]
        assert attention.attention_embedding_dim == expected["attention_embedding_dim"]
        parameters = {k: v for k, v in expected["attention_params"].items() if k != "use_native_sdpa"}
        assert getattr(attention, attention.kind).model_dump(include=set(parameters)) == parameters
        if "learning_rate" in entry["expected"]:
            assert loaded.config.training.learning_rate == entry["expected"]["learning_rate"]
        assert loaded.config.data.train.shuffle is True
        assert loaded.notes


@pytest.mark.golden
def test_freezing_is_kept_where_it_was_on(golden):
    config = load_config(golden.path / "configs/current_finetuning.yaml").config
    assert (config.training.freeze_n_layers, config.training.freeze_embeddings) == (1, True)


def test_a_wandb_export_is_unwrapped_and_keeps_its_lines():
    text = "_wandb:\n  value: {m: []}\nwandb_version: 1\n"
    for line in PRETRAINING.splitlines():
        text += line.replace(":", ":\n  value:", 1) + "\n" if not line.startswith(" ") else f"  {line}\n"
    loaded = load(text)
    assert loaded.config == load(PRETRAINING).config
    assert loaded.notes == ("exported by W&B: the value of every section was unwrapped",)
    assert "line 12  architecture.num_layers: expected an integer" in refused(text, "num_layers: 2", "num_layers: x")


def test_max_length_moves_and_errors_name_it_as_the_file_does():
    text = PRETRAINING.replace("  max_sequence_length: 16\n", "").replace("vocab}", "vocab, max_length: 32}")
    loaded = load(text)
    assert loaded.config.architecture.max_sequence_length == 32
    assert loaded.notes == ("tokenizer.max_length is now architecture.max_sequence_length",)
    assert "line 2  tokenizer.max_length: expected an integer" in refused(text, "32", "x")


def test_of_two_lengths_the_architectures_counts():
    loaded = load(PRETRAINING, "vocab}", "vocab, max_length: 32}")
    assert loaded.config.architecture.max_sequence_length == 16
    assert loaded.notes == ("tokenizer.max_length 32 is ignored: architecture.max_sequence_length 16 counts",)


def test_options_of_the_chosen_kind_move_up():
    old = (
        "{kind: mha, mha: {num_heads: 4, mha_out_dropout: 0.2, projection_bias: false}, reformer: {}, performer: null}"
    )
    attention = load(PRETRAINING, "{num_heads: 2}", old).config.architecture.attention
    assert (attention.num_heads, attention.attn_out_dropout, attention.projection_bias) == (4, 0.2, False)


def test_forward_sections_merge_into_the_kind():
    old = "{num_heads: 2, kind: lsh, lsh: null, forward_lsh: {mask_within_chunks: true}, forward_mha: {x: 1}}"
    loaded = load(PRETRAINING, "{num_heads: 2}", old)
    assert loaded.config.architecture.attention.lsh.mask_within_chunks is True
    message = refused(PRETRAINING, "{num_heads: 2}", "{num_heads: 2, kind: lsh, forward_lsh: {mask: 1}}")
    assert "line 8  architecture.attention.forward_lsh.mask: unknown key" in message


def test_two_different_values_for_one_key_are_refused():
    message = refused(PRETRAINING, "{num_heads: 2}", "{num_heads: 2, mha: {num_heads: 4}}")
    assert "line 8  architecture.attention.mha.num_heads: the integer 4, but" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs: 1", "epochs: 1, loss: focal", "training.loss: only cross_entropy is supported"),
        ("mlp_size: 16", "mlp_size: 16\n  pad_token_id: 1", "line 8  architecture.pad_token_id: only 0 is supported"),
        ("epochs: 1", "epochs: 1, freeze: 1", "training.freeze: expected true or false"),
        ("epochs: 1", "epochs: 1, resume: {is_resume: 'yes'}", "is_resume: expected true or false"),
        ("epochs: 1", "epochs: 1, resume: {is_resume: true}", "nothing says from where"),
    ],
)
def test_what_cannot_be_mapped_is_refused(old, new, words):
    assert words in refused(PRETRAINING, old, new)


def test_freeze_false_switches_freezing_off():
    keys = "freeze_n_layers: 1, freeze_epochs: 1, freeze_embeddings: true"
    off = load(PRETRAINING, "epochs: 1", f"epochs: 1, freeze: false, {keys}").config.training
    on = load(PRETRAINING, "epochs: 1", f"epochs: 1, freeze: true, {keys}").config.training
    assert (off.freeze_n_layers, off.freeze_epochs, off.freeze_embeddings) == (0, 0, False)
    assert (on.freeze_n_layers, on.freeze_epochs, on.freeze_embeddings) == (1, 1, True)


@pytest.mark.parametrize("name_key", ["resume_pretrainig_name", "resume_pretraining_name"])
def test_resume_becomes_a_path(name_key):
    old = f"resume: {{is_resume: true, {name_key}: old, checkpoint_path: ../old/checkpoints/model.ckpt, strict: false, "
    loaded = load(PRETRAINING, "epochs: 1", f"epochs: 1, {old} load_only_model_state: false}}")
    assert loaded.config.training.resume.path == "experiments/pretraining/old/checkpoints/model.ckpt"
    assert loaded.config.training.resume.weights_only is False
    assert "ignored training.resume.strict: loading is always strict" in loaded.notes


def test_resume_switched_off_is_dropped():
    old = "resume: {is_resume: false, resume_pretrainig_name: null, checkpoint_path: ../x/model.ckpt, strict: true}"
    assert load(PRETRAINING, "epochs: 1", f"epochs: 1, {old}").config.training.resume.path is None


@pytest.mark.parametrize(
    ("name", "checkpoint", "path"),
    [
        ("old", "../old/checkpoints/m.ckpt", "experiments/pretraining/old/checkpoints/m.ckpt"),
        ("old", "checkpoints/m.ckpt", "experiments/pretraining/old/checkpoints/m.ckpt"),
        ("old", "experiments/pretraining/old/m.ckpt", "experiments/pretraining/old/m.ckpt"),
        ("old", None, "experiments/pretraining/old"),
        ("old", "/big/disk/m.ckpt", "/big/disk/m.ckpt"),
        (None, "../other/m.ckpt", "experiments/pretraining/other/m.ckpt"),
        (None, "some/m.ckpt", "some/m.ckpt"),
        (None, None, None),
    ],
)
def test_resume_paths(name, checkpoint, path):
    assert resume_path(name, checkpoint, "experiments/pretraining/new") == path


@pytest.mark.parametrize("stride", [4, 512])
def test_sep_pooling_is_strided_mean(stride):
    config = load(FINETUNING, "num_labels: 2", f"num_labels: 2, pooling: sep_{stride}").config
    assert isinstance(config, FinetuningConfig)
    head = config.classification_head
    assert (head.pooling, head.pooling_stride) == ("strided_mean", stride)


def test_a_pretrained_name_becomes_a_path():
    config = load(FINETUNING + "pretrained_experiment: {name: old, inherit: [tokenizer]}\n").config
    assert isinstance(config, FinetuningConfig)
    assert config.pretrained_experiment.path == "experiments/pretraining/old"


def test_ignored_keys_are_named():
    loaded = load(PRETRAINING + "logging: {log_train_loss: true, log_metrics_csv: false}\n")
    assert any("logging.log_train_loss, logging.log_metrics_csv" in note for note in loaded.notes)


def test_variants_stay_standard():
    """Old configs train with the mended behaviour; the reference's numbers are asked for by name."""
    loaded = load(PRETRAINING, "epochs: 1", "epochs: 1, loss: cross_entropy")
    assert loaded.config.architecture.rope.variant == "standard"
    assert loaded.config.training.variant == "standard"
