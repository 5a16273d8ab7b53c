"""Tiny runs to report on, and pages read as a browser does."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests import several_labels, tiny
from tests.trained import run
from textclf_jax.config.file import dump_config
from textclf_jax.config.schema import RunConfig
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.files import json_text
from textclf_jax.runs.checkpoint import save_model
from textclf_jax.tasks.thresholds import Thresholds
from textclf_jax.training.plan import make_plan

NAMES = ["<script>alert('x')</script>", 'sport | "games" & more', "नमस्ते"]
MARKUP = "<script>alert(1)</script>"  # a token of the vocabulary
FLIPPED = (0, 1)  # rows of the test split whose labels are wrong
VOID = {"meta", "link", "br", "img", "input", "hr"}


def write_single(folder: Path) -> Path:
    """`vocab/`, `labels.txt` and `cls/`: a row's words are those of its class, but two test rows have another label."""
    tiny.write_data(folder, train=120, val=24, test=30)
    vocabulary = (folder / "vocab/vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary[len(tiny.SPECIALS)] = MARKUP
    (folder / "vocab/vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    ids, mask, labels = tiny.rows(30, seed=2)
    labels[list(FLIPPED)] = (labels[list(FLIPPED)] + 1) % 3
    write_tensors(folder / "cls/test.pt", ids, mask, labels)
    return folder


def _begin(config: RunConfig) -> Path:
    folder = Path(config.experiment.output_dir)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    return folder


def finetune(name: str) -> Path:
    """A run of the current folder with a linear path, whose data is in `single/`."""
    head = {"num_labels": 3, "linear": {"enabled": True, "max_features": 2000}}
    training = {"learning_rate": 3e-3, "batch_size": 16, "epochs": 3}
    sections = {"classification_head": head, "training": training, "data": {"num_length_buckets": 1}}
    config = tiny.finetuning(Path("single"), name, architecture=tiny.architecture(num_layers=1), **sections)
    return run(config, _begin(config))


def untrained(config: RunConfig, results: dict[str, dict[str, float]], **metadata: Any) -> Path:
    """The files of a run of the current folder whose model was drawn and not trained."""
    folder, plan = _begin(config), make_plan(config, Path())
    (folder / "config.resolved.yaml").write_text(dump_config(plan.config), encoding="utf-8")
    record, place = plan.record(), {"step": 1, "update": 1, "epoch": 1, "which": "last", "metric": None, "score": None}
    (folder / "record.json").write_text(json_text(record), encoding="utf-8")
    (folder / "summary.json").write_text(json_text({"model": "last", "metric": None, "results": results}))
    save_model(folder, plan.draw_variables(), record | place | metadata, plan.tokenizer.save)
    return folder


def untrained_several(name: str) -> Path:
    """One of several labels a text, whose data is in `several/`."""
    thresholds = Thresholds([0.5, 0.4, 0.6, 0.45], []).stored()
    return untrained(several_labels.finetuning(Path("several"), name), {}, **thresholds)


def write_finished(
    root: Path, name: str, results: dict[str, float], *, seed: int, data: str = "d", **changes: Any
) -> Path:
    """The files of a finished run that was never trained: configuration, record and summary."""
    experiment = {"seed": seed}
    config = tiny.finetuning(Path("data"), name, experiment=experiment, **changes)
    folder = root / "experiments/finetuning" / name
    folder.mkdir(parents=True)
    for file in ("config.yaml", "config.resolved.yaml"):
        (folder / file).write_text(dump_config(config), encoding="utf-8")
    splits = {
        split: {"path": f"{split}.pt", "fingerprint": f"{split}-{data}", "columns": 9} for split in ("train", "test")
    }
    record = {"labels": ["a", "b", "c"], "vocabulary": "v", "data": splits, "versions": {}, "git_commit": None}
    (folder / "record.json").write_text(json_text(record), encoding="utf-8")
    summary = {"model": "best", "metric": "loss", "score": 1.0, "results": {"test": results}}
    (folder / "summary.json").write_text(json_text(summary), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """A page as a browser reads it.

    Attributes:
      elements: tag and attributes of each, in their order.
      text: all text that is shown.
      headings: levels and texts.
      faults: tags that are not closed in their order.
    """

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self._parts: list[str] = []
        self.feed(html)
        self.close()
        self.text = "".join(self._parts)
        self.faults += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data):
        if "style" in self._open:
            return
        self._parts.append(data)
        if self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, text = self.headings[-1]
            self.headings[-1] = level, text + data
