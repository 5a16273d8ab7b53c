"""Writes a report: one page that needs nothing else, its figures for slides and papers, and a model card."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textclf_jax import __version__
from textclf_jax.config.file import config_of
from textclf_jax.files import write_whole
from textclf_jax.observe.confusion_picture import confusion_figure
from textclf_jax.observe.figures import page_svg, reliability_figure, write_figure
from textclf_jax.observe.plots import curves_figure
from textclf_jax.report import views
from textclf_jax.report.facts import RunFacts
from textclf_jax.report.run_files import readable_csvs
from textclf_jax.runs.record import CARD_FILE, FIGURES_FOLDER, PAGE_FILE
from textclf_jax.tokenizer.text_files import well_formed
from textclf_jax.training.report import make_folder

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_ROWS = 20  # of a table that another program made
DRAWN = CURVES, RELIABILITY, CONFUSION = "curves", "reliability", "confusion"

Drawn = Mapping[str, tuple["Figure", str, str]]  # by name: the figure, what it is, and what it shows


def write_report(run: RunFacts, folder: Path, out: Path) -> list[Path]:
    """Writes the page, the model card and the figures of a run.

    Args:
      run: the facts.
      folder: of the run, with its csv files.
      out: the folder to write to, which is made.

    Returns:
      What was written.

    Raises:
      UserError: it cannot be written.
    """
    drawn = draw(run, folder)
    figures = out / FIGURES_FOLDER
    make_folder(figures)
    for name in DRAWN:  # of an earlier report
        for path in figures.glob(f"{name}.*"):
            path.unlink()
    for name, (figure, _, _) in drawn.items():
        write_figure(figure, figures, name)
    write_whole(out / CARD_FILE, model_card(run))
    write_whole(out / PAGE_FILE, report_page(run, drawn))
    return [out / PAGE_FILE, out / CARD_FILE, figures]


def draw(run: RunFacts, folder: Path) -> Drawn:
    """Draws the figures of a run."""
    drawn = {}
    curves = curves_figure("", readable_csvs(folder, config_of(run.config), []))
    if curves is not None:
        told = "Loss, scores and learning rate over the updates of the run."
        drawn[CURVES] = curves, f"Learning curves of {run.name}", told
    answers = run.answers
    if answers:
        found = answers.reliability
        told = [f"{b.low:.2f} to {b.high:.2f}: {b.share:.2f} of {b.count}" for b in found.bins if b.count]
        title = f"Reliability of the {found.of}, {answers.split} split"
        text = f"Share that is right by probability. {'; '.join(told)}."
        drawn[RELIABILITY] = reliability_figure(found.bins, found.of, found.error), title, text
    if answers and answers.confusion:
        title = f"{answers.rows:,} rows ({answers.split})"  # in letters that the font has
        matrix = np.array(answers.confusion, np.int64)
        names = [record["label"] for record in answers.classes]
        drawn[CONFUSION] = confusion_figure(matrix, names, title), title, ""
    return drawn


def report_page(run: RunFacts, drawn: Drawn) -> str:
    """The page of a run."""
    from markupsafe import Markup

    # the confusion matrix is a table there
    shown = {name: each for name, each in drawn.items() if name != CONFUSION}
    figures = {name: Markup(page_svg(each[0], f"figure-{name}", *each[1:])) for name, each in shown.items()}
    view = views.context(run)
    sections = views.sections(view, CURVES in figures)
    return render("report.html.j2", figures=figures, sections=sections, **view)


def model_card(run: RunFacts) -> str:
    """The model card of a run, as Markdown."""
    return render("model_card.md.j2", **views.context(run))


def render(template: str, **values: Any) -> str:
    """Fills in a template: texts in HTML are escaped, whatever they hold."""
    text = environment().get_template(template).render(**values)
    return well_formed(text)


@cache
def environment() -> "Environment":
    """The templates, with the filters that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"score": views.score, "count": views.count, "plain": views.plain, "words": in_words}
    made.filters |= {"md": markdown, "columns": columns_of, "cells": cells_of}
    made.tests["tabular"] = is_table
    made.globals |= {"version": __version__, "most": SHOWN_ROWS}
    # our own, and nobody else's text
    made.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return made


def markdown(text: object) -> str:
    """A text of strangers in one line of Markdown, in which it means nothing but itself."""
    line = " ".join(views.plain(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", line)


def in_words(name: object) -> str:
    """A name of JSON in words."""
    return str(name).replace("_", " ")


def is_table(value: object) -> bool:
    """Whether a value of JSON is a list of records."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def columns_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that records have."""
    return list(dict.fromkeys(name for record in records[:SHOWN_ROWS] for name in record))


def cells_of(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each of the first records."""
    columns = columns_of(records)
    return [[views.plain(record.get(name)) for name in columns] for record in records[:SHOWN_ROWS]]
