"""From raw text to a tested classifier with the public commands: `make demo`, or `python examples/demo.py`.

Docstrings of installed packages -> dataset and vocabulary -> MLM pretraining -> finetuning -> test, beside two
baselines. Writes data/demo, data/demo-texts and the experiments named demo in the current folder, and replaces those
of an earlier run.
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
        "training.epochs=1",
        "training.learning_rate=1e-3",
    ),
    finetuning=(
        "classification_head.pooling=mean",
        "training.batch_size=32",
        "training.epochs=1",
        "training.learning_rate=5e-4",
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
        generate("pretraining", PRETRAINING, size.pretraining)
        run(*TEXTCLF, "pretrain", NAME)
    with timed("finetune and test", seconds):
        generate("finetuning", FINETUNING, size.finetuning)
        run(*TEXTCLF, "finetune", NAME)
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


def generate(kind: str, folder: Path, settings: tuple[str, ...]) -> None:
    """Makes the experiment; replaces that of an earlier demo."""
    shutil.rmtree(folder, ignore_errors=True)
    script = GENERATORS / f"generate_{kind}_experiment.py"
    names = [NAME] if kind == "pretraining" else [NAME, NAME]
    run(sys.executable, script, *names, "--data", DATA, "--set", *settings)


def report(baselines: list[dict[str, Any]], seconds: dict[str, float]) -> None:
    """Prints results, seconds, paths, and commands to try next."""
    test = json.loads((FINETUNING / "summary.json").read_text(encoding="utf-8"))["results"]["test"]
    rows = [(score["model"], score["accuracy"], score["f1_macro"]) for score in baselines]
    rows.append(("pretrained and finetuned here", test["accuracy"], test["f1_macro"]))
    print()
    print_table(f"test results, {test['num_examples']:,.0f} docstrings", rows, ("model", "accuracy", "macro-F1"))
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
  {python} {GENERATORS}/generate_finetuning_experiment.py scratch --from-scratch --data {DATA}  # without pretraining
  your own csv: see README.md""")


if __name__ == "__main__":
    main()
