"""The README of the PyTorch reference, followed step by step with `.pt` files and a tokenizer wrapper of its kind."""

import json
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from textclf_jax.cli import main
from textclf_jax.runtime.memory import VARIABLE
from textclf_jax.tokenizer.vocabulary import SPECIAL_TOKENS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
WORDS = {"good": ["fine", "warm", "sweet", "bright"], "bad": ["grim", "cold", "dull", "poor"]}
COMMON = ["the", "film", "was", "and", "plot", "actor"]

# every position is chosen alike, special tokens and padding too; `encode` reads files; the tokenizer is transformers'
WRAPPER = """
from pathlib import Path

import torch
from torch.utils.data import TensorDataset
from transformers import BertTokenizerFast


class WordPieceTokenizerWrapper:
    def __init__(self):
        self.tokenizer = None

    def load(self, tokenizer_dir: str = "./BERT_original") -> None:
        self.tokenizer = BertTokenizerFast.from_pretrained(str(Path(tokenizer_dir)))

    def encode(self, input, max_length, labels=None):
        paths = [input] if isinstance(input, str) else input
        texts = [line.strip() for path in paths for line in Path(path).read_text(encoding="utf-8").splitlines()]
        options = {"padding": "max_length", "truncation": True, "max_length": max_length}
        encoded = self.tokenizer(texts, return_tensors="pt", **options)
        tensors = [encoded["input_ids"], encoded["attention_mask"] == 0]
        return TensorDataset(*tensors, *([] if labels is None else [torch.tensor(labels)]))

    def mask_input_for_mlm(self, input_ids, mask_p=0.15, mask_token_p=0.8, random_token_p=0.1):
        selected = torch.bernoulli(torch.full(input_ids.shape, mask_p, device=input_ids.device)).bool()
        hidden = torch.bernoulli(torch.full(input_ids.shape, mask_token_p)).bool() & selected
        swapped = torch.bernoulli(torch.full(input_ids.shape, random_token_p)).bool() & selected & ~hidden
        masked = input_ids.clone()
        masked[hidden] = self.tokenizer.mask_token_id
        masked[swapped] = torch.randint(self.tokenizer.vocab_size, input_ids.shape)[swapped]
        labels = input_ids.clone()
        labels[~selected] = -100
        return masked, labels
"""


def texts_of(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts in which the words of their class stand among common ones."""
    generator = torch.Generator().manual_seed(seed)

    def choose(words: list[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    labels = [i % 2 for i in range(count)]
    return [" ".join(choose([*COMMON, *list(WORDS.values())[label] * 3]) for _ in range(7)) for label in labels], labels


def edit(config: Path, values: Mapping[str, object]) -> None:
    """Changes the values of keys in the text of a config, as one does in an editor; each key stands there once."""
    text = config.read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"^( *{key}: )\S+", rf"\g<1>{value}", text, flags=re.MULTILINE)
        assert count == 1, key
    config.write_text(text, encoding="utf-8")


def set_paths(config: Path, train: str, val: str, test: str) -> None:
    text = config.read_text(encoding="utf-8")
    for split, path in {"train": train, "val": val, "test": test}.items():
        text = re.sub(rf"(  {split}:\n    dataset_path: )\S+", rf"\g<1>{path}", text)
    config.write_text(text, encoding="utf-8")


@pytest.fixture
def python(tmp_path, monkeypatch, capsys):
    """Runs `python SCRIPT ARGUMENTS` in this process, in an empty folder; returns what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")  # a training command would start itself once more, in place of this process

    def run(script: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
        said = capsys.readouterr()
        assert ended.value.code == 0, said
        return said.out + said.err

    return run


def prepare_data(root: Path) -> None:
    """Writes the wrapper, a vocabulary, and `.pt` files that the wrapper encodes: torch.save of a TensorDataset."""
    (root / "my_wrapper.py").write_text(WRAPPER, encoding="utf-8")
    (root / "BERT_original").mkdir()
    vocabulary = [*SPECIAL_TOKENS, *COMMON, *WORDS["good"], *WORDS["bad"]]
    (root / "BERT_original" / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    wrapper = runpy.run_path(str(root / "my_wrapper.py"))["WordPieceTokenizerWrapper"]()
    wrapper.load(str(root / "BERT_original"))
    (root / "data").mkdir()
    for seed, (split, count) in enumerate({"train": 96, "val": 24, "test": 24}.items()):
        texts, labels = texts_of(count, seed)
        (root / f"{split}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        torch.save(wrapper.encode(str(root / f"{split}.txt"), 16), root / f"data/mlm_{split}.pt")
        torch.save(wrapper.encode(str(root / f"{split}.txt"), 16, labels), root / f"data/cls_{split}.pt")


TRAINING = {"device": "cpu", "batch_size": 16, "learning_rate": "3.0e-03", "num_length_buckets": 1}


def test_from_the_first_step_to_the_last(python, tmp_path, capsys):
    prepare_data(tmp_path)

    assert "next: textclf pretrain pre_v1" in python("experiments/generate_pretraining_experiment.py", "pre_v1")
    pretraining = tmp_path / "experiments/pretraining/pre_v1"
    set_paths(pretraining / "config.yaml", "data/mlm_train.pt", "data/mlm_val.pt", "null")
    sizes = {"max_sequence_length": 16, "embedding_dim": 16, "num_layers": 1, "mlp_size": 32, "num_heads": 2}
    tokenizer = {"wrapper_path": "my_wrapper.py", "vocab_dir": "BERT_original"}
    edit(pretraining / "config.yaml", {**sizes, **tokenizer, **TRAINING, "epochs": 2, "mask_p": 0.3})
    said = python("pretrain.py", "pre_v1")
    assert "chose or changed special tokens or padding" in said
    assert (pretraining / "metrics/train/metrics.csv").is_file()
    assert (pretraining / "model.ckpt").is_dir()

    python("experiments/generate_finetuning_experiment.py", "ft_v1", "pre_v1")
    finetuning = tmp_path / "experiments/finetuning/ft_v1"
    set_paths(finetuning / "config.yaml", "data/cls_train.pt", "data/cls_val.pt", "data/cls_test.pt")
    edit(finetuning / "config.yaml", {"num_labels": 2, **TRAINING, "epochs": 6})
    assert "loaded" in python("finetune.py", "ft_v1")
    for path in ("metrics/train/metrics.csv", "metrics/eval/metrics.csv", "metrics/test/metrics.csv"):
        assert (finetuning / path).is_file()
    kept = {path.name for path in (finetuning / "model.ckpt/vocab").iterdir()}
    assert kept == {"vocab.txt", "my_wrapper.py"}
    results = json.loads((finetuning / "summary.json").read_text(encoding="utf-8"))["results"]
    assert results["test"]["accuracy"] > 0.9

    assert main(["predict", "ft_v1", "--text", "the film was grim and cold", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "1"
