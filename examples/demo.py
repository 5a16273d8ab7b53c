"""From raw text to a tested classifier with the public commands: `make demo`, or `python examples/demo.py`.

Docstrings of installed packages -> dataset and vocabulary -> MLM pretraining -> finetuning -> test, beside the same
encoder without pretraining and two baselines. Writes data/demo, data/demo-texts and the experiments named demo and
demo-scratch in the current folder, and replaces those of an earlier run.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docstrings import build_corpus, write_corpus

from textclf_jax.observe.progress import print_table

NAME = "demo"
TEXTS, DATA = Path("data", f"{NAME}-texts"), Path("data", NAME)
PRETRAINING, FINETUNING = (Path("experiments", kind, NAME) for kind in ("pretraining", "finetuning"))
SCRATCH = Path(f"{FINETUNING}-scratch")
GENERATORS = Path(os.path.relpath(Path(__file__).resolve().parent.parent / "experiments"))
TEXTCLF = [os.path.relpath(sys.executable), "-m", "textclf_jax"]
SAMPLE = "Return the eigenvalues of a symmetric matrix, in ascending order."


@dataclass(frozen=True)
class Size:
    """The sizes of corpus, dataset and models."""

    num_packages: int
    rows_per_package: dict[str, int]
    max_unlabelled: int
    vocab_size: int
    max_length: int
    pretraining: tuple[str, ...]
    finetuning: tuple[str, ...]

    @property
    def architecture(self) -> tuple[str, ...]:
        """The settings of the encoder."""
        return tuple(setting for setting in self.pretraining if setting.startswith("architecture."))


FULL = Size(
    num_packages=8,
    rows_per_package={"train": 1200, "val": 100, "test": 250},
    max_unlabelled=6_000,
    vocab_size=8_000,
    max_length=96,
    pretraining=(
        "architecture.embedding_dim=128",
        "architecture.mlp_size=512",
        "architecture.num_layers=2",
        "architecture.attention.num_heads=4",
        "training.batch_size=32",
        "training.epochs=3",
        "training.learning_rate=2e-3",
    ),
    finetuning=(
        "classification_head.pooling=mean",
        "training.batch_size=32",
        "training.epochs=2",
        "training.learning_rate=1e-3",
    ),
)
QUICK = Size(
    num_packages=3,
    rows_per_package={"train": 60, "val": 20, "test": 20},
    max_unlabelled=100,
    vocab_size=300,
    max_length=32,
    pretraining=(
        "architecture.embedding_dim=32",
        "architecture.mlp_size=64",
        "architecture.num_layers=1",
        "architecture.attention.num_heads=2",
        "training.epochs=1",
        "data.num_length_buckets=1",
    ),
    finetuning=("training.epochs=10", "training.learning_rate=3e-3", "data.num_length_buckets=1"),
)


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Prints the name of a stage, and notes its seconds."""
    print(f"\n=== {name}", flush=True)
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def run(*command: str | Path, capture: bool = False) -> str:
    """Prints a command and runs it; returns its output if captured. A failure ends the demo with its exit code."""
    words = [str(word) for word in command]
    print(f"$ {shlex.join(words)}", flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE if capture else None, text=True, encoding="utf-8", check=False)
    if done.returncode:
        print(f"the demo stops here: exit code {done.returncode}", file=sys.stderr)
        sys.exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
    return done.stdout or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder of Python packages (default: those of this environment)")
    parser.add_argument("--quick", action="store_true", help="a toy of some seconds, to see that everything works")
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    seconds: dict[str, float] = {}
    with timed("collect docstrings", seconds):
        collect(args.packages or Path(sysconfig.get_path("purelib")), size)
    with timed("prepare", seconds):
        prepare(size)
    with timed("pretrain", seconds):
        generate("pretraining", PRETRAINING, [], size.pretraining)
        run(*TEXTCLF, "pretrain", NAME)
    with timed("finetune and test", seconds):
        generate("finetuning", FINETUNING, [NAME], size.finetuning)
        run(*TEXTCLF, "finetune", NAME)
    with timed("the same without pretraining", seconds):
        generate("finetuning", SCRATCH, ["--from-scratch"], (*size.architecture, *size.finetuning))
        run(*TEXTCLF, "finetune", SCRATCH.name)
    with timed("baselines", seconds):
        files = "--train", TEXTS / "train.csv", "--test", TEXTS / "test.csv"
        baselines = [
            json.loads(line) for line in run(*TEXTCLF, "baseline", *files, "--json", capture=True).splitlines()
        ]
    with timed("predict", seconds):
        run(*TEXTCLF, "predict", NAME, "--text", SAMPLE)
    report(baselines, seconds)


def collect(packages: Path, size: Size) -> None:
    """Writes the corpus, and prints what is in it."""
    corpus = build_corpus(
        packages,
        num_packages=size.num_packages,
        rows_per_package=size.rows_per_package,
        max_unlabelled=size.max_unlabelled,
    )
    write_corpus(corpus, TEXTS)
    print(f"Which package is a docstring from? {', '.join(corpus.packages)}")
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in corpus.splits.items())
    print(f"{counts} and {len(corpus.unlabelled):,} unlabelled docstrings in {TEXTS}", flush=True)


def prepare(size: Size) -> None:
    """Makes vocabulary and dataset."""
    files = [word for split in ("train", "val", "test") for word in (f"--{split}", TEXTS / f"{split}.csv")]
    extra = ["--extra-text", TEXTS / "unlabelled.txt"] if (TEXTS / "unlabelled.txt").stat().st_size else []
    sizes = ["--vocab-size", str(size.vocab_size), "--max-length", str(size.max_length)]
    run(*TEXTCLF, "prepare", *files, *extra, *sizes, "--out", DATA, "--force")


def generate(kind: str, folder: Path, start: list[str], settings: tuple[str, ...]) -> None:
    """Makes the experiment; replaces that of an earlier demo. `start` is what a finetuning run starts from."""
    shutil.rmtree(folder, ignore_errors=True)
    script = GENERATORS / f"generate_{kind}_experiment.py"
    run(sys.executable, script, folder.name, *start, "--data", DATA, "--set", *settings)


def results(baselines: list[dict[str, Any]]) -> tuple[int, list[tuple[str, float, float | str]]]:
    """The number of test texts, and a row a model: name, accuracy, macro-F1 ("" where it is not known)."""
    scratch, ours = (
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))["results"]["test"]
        for folder in (SCRATCH, FINETUNING)
    )
    rows: list[tuple[str, float, float | str]] = [(s["model"], s["accuracy"], s["f1_macro"]) for s in baselines]
    rows += [
        ("linear path alone", ours["linear_accuracy"], ""),
        ("encoder alone, from scratch", scratch["encoder_accuracy"], ""),
        ("encoder alone, pretrained", ours["encoder_accuracy"], ""),
        ("from scratch, with linear path", scratch["accuracy"], scratch["f1_macro"]),
        ("pretrained, with linear path", ours["accuracy"], ours["f1_macro"]),
    ]
    return int(ours["num_examples"]), rows


def report(baselines: list[dict[str, Any]], seconds: dict[str, float]) -> None:
    """Prints results, seconds, paths, and commands to try next."""
    count, rows = results(baselines)
    print()
    print_table(f"test results, {count:,} docstrings", rows, ("model", "accuracy", "macro-F1"))
    print()
    print_table(
        "seconds", [(name, round(s)) for name, s in (*seconds.items(), ("total", sum(seconds.values())))], ("", "s")
    )
    print()
    made = {"texts": TEXTS, "dataset": DATA, "pretraining run": PRETRAINING, "finetuning run": FINETUNING}
    made["learning curves"] = FINETUNING / "learning_curves.png"
    made["classifier"] = FINETUNING / "model.ckpt"
    print_table("files", list(made.items()), ("what", "path"))
    python = shlex.join([os.path.relpath(sys.executable)])
    print(f"""
try next
  {shlex.join(TEXTCLF)} predict {NAME} --text "Plot a histogram of the data." --format json
  {python} {GENERATORS}/generate_finetuning_experiment.py longer {NAME} --data {DATA} --set training.epochs=4
  your own csv: see docs/tutorial.md""")


if __name__ == "__main__":
    main()
