"""Rows 16 to 24: what the config, names, checkpoints, devices and tokenizers of a run may not be."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.faults.harness import REPOSITORY, Project
from textclf_jax.extras import install_line

CONFIG = "experiments/pretraining/tiny/config.yaml"


def change_config(project: Project, old: str, new: str, kind: str = "pretraining") -> None:
    path = project.run_dir(kind) / "config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- 16 and 17: the file and its values -----------------------------------------------------------------------


def test_fault_16_all_problems_come_in_one_message(project):
    change_config(project, "learning_rate:", "learning_rte:")
    change_config(project, "batch_size: 8", "batch_size: many")
    change_config(project, "mlm_head:", "mlm_haed:")
    change_config(project, "  seed: 1", "  seed: 1\n  seed: 2\n  name: *other")
    message = project.refused(CONFIG, 'Did you mean "learning_rate"?', "batch_size: expected an integer", "given twice")
    assert 'Did you mean "mlm_head"?' in message
    assert all(line.lstrip().startswith(("line ", "training.learning_rate")) for line in message.splitlines()[1:])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"just words\n", "the string"),
        (b"[" * 100_000, "deep"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "alias *a"),
        (b"a: \xff\n", "0xff"),
        (b"experiment:\n  kind: pretraining\n", "training: missing section"),
    ],
)
def test_fault_16_files_that_are_no_config(project, content, words):
    (project.root / CONFIG).write_bytes(content)
    project.refused(CONFIG, words)


def test_fault_16_1e_4_is_a_number(project):
    change_config(project, "learning_rate: 0.003", "learning_rate: 1e-4")
    project.train("pretraining", "--dry-run")


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("mlm_head.mask_p", "1.5", "at most 1"),
        ("mlm_head.mask_p", "-0.1", "at least 0"),
        ("mlm_head.random_token_p", "0.3", "mask_token_p + random_token_p = 1.1"),
        ("architecture.mlp_dropout", "1.0", "less than 1"),
        ("architecture.attention.num_heads", "3", "3 does not divide embedding_dim 16. Use 2 or 4."),
        ("architecture.attention.num_heads", "16", "rope rotates pairs"),
        ("training.warmup_ratio", "1.0", "less than 1"),
        ("training.batch_size", "0", "at least 1"),
    ],
)
def test_fault_17_impossible_values_are_refused(project, key, value, rule):
    project.refused(key.rsplit(".", 1)[0], rule, flags=("--set", f"{key}={value}"))


def test_fault_17_every_masked_token_may_be_replaced(project):
    project.train(
        "pretraining", "--set", "mlm_head.mask_token_p=1.0", "mlm_head.random_token_p=0.0", "training.epochs=1"
    )


# --- 18 and 19: names and folders -----------------------------------------------------------------------------


def generated(project: Project, *arguments: str) -> str:
    """Runs the generator of pretraining runs; it must refuse and change nothing. Returns the message."""
    before = project.contents()
    script = REPOSITORY / "experiments" / "generate_pretraining_experiment.py"
    done = subprocess.run([sys.executable, script, *arguments], cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert project.contents() == before
    return done.stderr


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\nb"])
def test_fault_18_names_stay_inside(project, name):
    assert "experiment name" in generated(project, name)
    project.refused("experiment name", name=name)


def test_fault_18_links_stay_inside(project):
    outside = project.root.parent / "outside"
    shutil.move(project.run_dir(), outside)
    project.run_dir().symlink_to(outside)
    project.refused("is a link that leads out of experiments")
    assert sorted(path.name for path in outside.iterdir()) == ["config.yaml"]


def test_fault_18_metrics_stay_inside(project):
    project.refused("logging.csv_eval_metrics_path", flags=("--set", "logging.csv_eval_metrics_path=../m.csv"))


def test_fault_19_an_existing_experiment_is_left_alone(project):
    assert "exists already" in generated(project, "tiny", "--set", "training.epochs=3")


# --- 20, 21, 24: checkpoints that do not fit ------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory) -> Path:
    """A finished pretraining run."""
    from textclf_jax.training.fit import fit

    folder = tmp_path_factory.mktemp("pretrained")
    assert fit(tiny.pretraining(data, data={"num_length_buckets": 1}, training={"epochs": 1}), folder) == 0
    return folder


@pytest.fixture
def pair(project, pretrained) -> Project:
    """A project with a finished pretraining run and a finetuning run that starts from it."""
    shutil.copytree(pretrained, project.run_dir("pretraining", "done"))
    project.add("finetuning", pretrained_experiment={"path": "experiments/pretraining/done"})
    return project


def test_fault_20_no_checkpoint(pair):
    shutil.rmtree(pair.run_dir("pretraining", "done") / "model.ckpt")
    pair.refused("experiments/pretraining/done", "there is no", "holds: checkpoints", kind="finetuning")


def test_fault_20_a_checkpoint_of_another_kind(pair):
    checkpoint = pair.run_dir("pretraining", "done") / "model.ckpt"
    shutil.rmtree(checkpoint)
    checkpoint.write_bytes(b"\x80\x04not a checkpoint")
    pair.refused("experiments/pretraining/done/model.ckpt", kind="finetuning")


def test_fault_20_no_optimizer_state_to_resume_from(pair):
    shutil.rmtree(pair.run_dir("pretraining", "done") / "checkpoints")
    pair.add("pretraining", training={"resume": {"path": "experiments/pretraining/done", "weights_only": False}})
    pair.refused("training.resume.path", "holds no optimizer state", "holds: config.resolved.yaml", "model.ckpt")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mlp_size": 48}, "architecture.mlp_size: 32 there, 48 here"),
        ({"attention": {"num_heads": 4}}, "architecture.attention.num_heads: 2 there, 4 here"),
        ({"pos_encoding": "learned"}, "architecture.pos_encoding: rope there, learned here"),
    ],
)
def test_fault_21_architectures_differ(pair, changes, words):
    experiment = {"path": "experiments/pretraining/done"}
    pair.add("finetuning", pretrained_experiment=experiment, architecture=tiny.architecture(**changes))
    pair.refused(words, "Only the heads may be new", kind="finetuning")


def test_fault_24_vocabularies_differ(pair):
    words = (pair.root / "data/vocab/vocab.txt").read_text().splitlines()
    words[-2:] = words[:-3:-1]
    (pair.root / "data/vocab/vocab.txt").write_text("\n".join(words) + "\n")
    message = pair.refused("the vocabulary (fingerprint ", "was trained with (", kind="finetuning")
    assert message.count("(") >= 2


# --- 22: devices ----------------------------------------------------------------------------------------------


def test_fault_22_cuda_without_cuda(project):
    import jax

    if jax.default_backend() == "gpu":
        pytest.skip("there is CUDA")
    project.refused(
        "training.device is cuda, but JAX finds no CUDA device",
        install_line("cuda12"),
        flags=("--set", "training.device=cuda"),
    )


def test_fault_22_flash_attention_without_cuda(project):
    import jax

    if jax.default_backend() == "gpu":
        pytest.skip("there is CUDA")
    implementation = "architecture.attention.mha.implementation"
    project.refused(
        f"{implementation} is cudnn, flash attention, but it needs a CUDA device",
        "Set it to auto",
        flags=("--set", f"{implementation}=cudnn"),
    )


# --- 23: the user's tokenizer wrapper -------------------------------------------------------------------------

WRAPPER = """
import torch

class Mine:
    vocab_size, pad_id = 60, 0

    def load(self, vocab_dir):
        pass

    def mask_input_for_mlm(self, input_ids, attention_mask, mask_p):
        chosen = (torch.rand(input_ids.shape) < mask_p) & ~attention_mask
        return torch.where(chosen, 4, input_ids), torch.where(chosen, input_ids, -100)
"""


@pytest.mark.parametrize(
    ("old", "new", "words", "traceback"),
    [
        (WRAPPER, "", ("defines no class", "load and mask_input_for_mlm"), False),
        ("def load", "def other", ("class Mine has no load",), False),
        ("def mask_input_for_mlm", "def other", ("has no mask_input_for_mlm",), False),
        ("pass", "raise ValueError('no such thing')", (".load(", "mine.py", "ValueError: no such thing"), True),
        ("chosen = ", "return input_ids[1:], input_ids\n        chosen = ", ("masked_ids of shape",), False),
        ("chosen = ", "1 / 0\n        chosen = ", ("failed in mask_input_for_mlm", "ZeroDivisionError"), True),
    ],
)
def test_fault_23_wrappers_that_do_not_serve(project, old, new, words, traceback):
    (project.root / "mine.py").write_text(WRAPPER.replace(old, new, 1))
    flags = ("--set", "tokenizer.wrapper_path=mine.py")
    project.refused_command("pretrain", "tiny", *flags, words=("mine.py", *words), traceback=traceback)


def test_fault_23_no_such_file(project):
    project.refused("tokenizer.wrapper_path", "none.py", flags=("--set", "tokenizer.wrapper_path=none.py"))


def test_fault_23_code_is_announced_before_it_runs(project):
    (project.root / "mine.py").write_text("print('it runs')" + WRAPPER)
    said = project.train("pretraining", "--set", "tokenizer.wrapper_path=mine.py", "training.epochs=1")
    assert "it runs" in said
    assert f"wrapper {project.root / 'mine.py'} (sha256 " in said
