"""`textclf predict` against the pipeline of `transformers`, from one csv to another: BERT-mini on short texts.

    python -m benchmarks.predicting --texts 1000000 --out predicting.json

Each side is a process of its own, loads its model, and does the whole file; they alternate, round by round, and the
result is the ratio of the medians of texts a second, without and with `--batched`. The pipeline computes in bfloat16,
gets the texts sorted by length, and the batch size with which it was fastest on the first texts. Both models are drawn
at random: that costs the same as trained ones.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import NUM_LABELS, SIZES, VOCAB_SIZE
from benchmarks.synthetic import SPECIALS, ZIPF_SHIFT
from benchmarks.worker import REPOSITORY

MAX_LENGTH = 128
MEDIAN_WORDS, SPREAD = 12, 0.6
BATCH_SIZES = (8, 32, 128, 512, 2048)
TRIAL_TEXTS = 2048
SEED = 0


def write_texts(path: Path, count: int) -> None:
    """Writes ids and texts of log-normal length, words by Zipf's law."""
    rng = np.random.default_rng(SEED)
    sizes = np.clip(MEDIAN_WORDS * np.exp(SPREAD * rng.standard_normal(count)), 2, MAX_LENGTH - 2).astype(np.int64)
    frequencies = 1.0 / (np.arange(VOCAB_SIZE - len(SPECIALS)) + ZIPF_SHIFT)
    cumulative = np.cumsum(frequencies / frequencies.sum())[:-1]
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text\n")
        for number, size in enumerate(sizes.tolist()):
            words = " ".join(f"w{i}" for i in np.searchsorted(cumulative, rng.random(size)))
            file.write(f"{number},{words}\n")


def write_model(folder: Path) -> Path:
    """Our model, as it is before training."""
    import jax
    import jax.numpy as jnp

    from textclf_jax.config.schema import DEFAULT_WRAPPER, FinetuningConfig
    from textclf_jax.kernels.precision import FULL
    from textclf_jax.runs.checkpoint import save_model
    from textclf_jax.tasks import ClassificationTask
    from textclf_jax.tokenizer.loading import load_wrapper

    (folder / "vocab").mkdir()
    words = (f"w{i}" for i in range(VOCAB_SIZE - len(SPECIALS)))
    (folder / "vocab" / "vocab.txt").write_text("\n".join([*SPECIALS, *words]) + "\n", encoding="utf-8")
    size = SIZES["mini"]
    sections: dict[str, Any] = {
        "experiment": {"kind": "finetuning", "name": "mini", "output_dir": str(folder)},
        "tokenizer": {"wrapper_path": DEFAULT_WRAPPER, "vocab_dir": str(folder / "vocab")},
        "architecture": {
            "max_sequence_length": MAX_LENGTH,
            "embedding_dim": size.embedding_dim,
            "num_layers": size.num_layers,
            "mlp_size": size.mlp_size,
            "attention": {"num_heads": size.num_heads},
        },
        "classification_head": {"num_labels": NUM_LABELS},
        "data": {"train": {"dataset_path": "none.pt"}},
        "training": {"learning_rate": 1e-3, "batch_size": 32, "epochs": 1},
    }
    config = FinetuningConfig.model_validate(sections)
    tokenizer = load_wrapper(DEFAULT_WRAPPER, str(folder / "vocab"), root=Path())
    module = ClassificationTask(config, tokenizer).module(FULL)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32), jnp.ones(1, jnp.int32))
    metadata = {"config": config.model_dump(mode="json"), "labels": [f"class {i}" for i in range(NUM_LABELS)]}
    return save_model(folder, variables, metadata, tokenizer.save)


class Pipeline:
    """The pipeline of `transformers` on the same vocabulary."""

    def __init__(self, folder: Path):
        import torch
        from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, pipeline

        size = SIZES["mini"]
        settings: dict[str, Any] = {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": size.embedding_dim,
            "num_hidden_layers": size.num_layers,
            "num_attention_heads": size.num_heads,
            "intermediate_size": size.mlp_size,
            "max_position_embeddings": MAX_LENGTH,
            "num_labels": NUM_LABELS,
            "attn_implementation": "sdpa",
        }
        torch.manual_seed(SEED)
        model: Any = torch.nn.Module.to(BertForSequenceClassification(BertConfig(**settings)), torch.bfloat16)
        tokenizer = BertTokenizer(vocab=str(folder / "vocab" / "vocab.txt"))
        device = 0 if torch.cuda.is_available() else -1
        self._pipeline: Any = pipeline(
            "text-classification", model=model.eval(), tokenizer=tokenizer, device=device, top_k=None
        )

    def __call__(self, texts: list[str], batch_size: int) -> list[list[dict[str, Any]]]:
        """The probabilities of all classes for each text, in order."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        limits: dict[str, Any] = {"truncation": True, "max_length": MAX_LENGTH, "padding": True}
        found = self._pipeline([texts[i] for i in order], batch_size=batch_size, **limits)
        answers: list[list[dict[str, Any]]] = [[]] * len(texts)
        for i, answer in zip(order, found, strict=True):
            answers[i] = answer
        return answers

    def best_batch_size(self, texts: list[str]) -> int:
        """That with which the first texts take the least time, once each has been tried."""

        def seconds(size: int) -> float:
            self(texts[:size], size)
            before = time.perf_counter()
            self(texts[:TRIAL_TEXTS], size)
            return time.perf_counter() - before

        return min(BATCH_SIZES, key=seconds)


def run_pipeline(folder: Path, out: Path, batch_size: int) -> None:
    """What `textclf predict` does, by the pipeline; with a batch size of 0 it only prints the best one."""
    with (folder / "texts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    texts, pipeline = [text for _, text in rows], Pipeline(folder)
    if not batch_size:
        print(pipeline.best_batch_size(texts))
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label", *(f"p({i})" for i in range(NUM_LABELS))])
        for row, answer in zip(rows, pipeline(texts, batch_size), strict=True):
            scores = sorted((each["label"], each["score"]) for each in answer)
            writer.writerow([*row, answer[0]["label"], *(f"{score:.6f}" for _, score in scores)])


def process(*arguments: str | Path) -> str:
    """Runs Python in the repository; returns what it prints."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True, text=True
    ).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--pipeline", nargs=3, metavar=("FOLDER", "OUT", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pipeline:
        run_pipeline(Path(args.pipeline[0]), Path(args.pipeline[1]), int(args.pipeline[2]))
        return
    with tempfile.TemporaryDirectory(prefix="textclf-predicting-") as name:
        folder = Path(name)
        write_texts(folder / "texts.csv", args.texts)
        model, theirs = write_model(folder), ("benchmarks.predicting", "--pipeline", folder, folder / "theirs.csv")
        size = process(*theirs, "0").strip().splitlines()[-1]
        ours = ("textclf_jax", "predict", model, "--file", folder / "texts.csv", "--out", folder / "ours.csv")
        sides = {"ours": ours, "batched": (*ours, "--batched"), "pipeline": (*theirs, size)}
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(args.rounds + 1):  # the first of ours compiles, and does not count
            for side, command in sides.items():
                if not number and side == "pipeline":
                    continue
                before = time.perf_counter()
                process(*command)
                if number:
                    seconds[side].append(time.perf_counter() - before)
                    print(f"round {number}  {side:8}  {args.texts / seconds[side][-1]:,.0f} texts/s", flush=True)
        speeds = {side: args.texts / statistics.median(found) for side, found in seconds.items()}
    figures = {"texts": args.texts, "pipeline_batch_size": int(size), "seconds": seconds, "texts_per_second": speeds}
    figures["ratios"] = {side: speed / speeds["pipeline"] for side, speed in speeds.items() if side != "pipeline"}
    told = ", ".join(f"{side} {ratio:.2f}" for side, ratio in figures["ratios"].items())
    print(f"times the speed of the pipeline with batches of {size}: {told}")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
