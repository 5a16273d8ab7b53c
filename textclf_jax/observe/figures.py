"""Figures for a page and for papers: SVG whose colours follow the page, and PNG and PDF beside it."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from textclf_jax.files import write_whole
from textclf_jax.observe.plots import COLOURS, give_matplotlib_a_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# colours of figures that a page sets, each by a variable of its style sheet
PAGE_COLOURS = {colour.lower(): f"var(--{name})" for name, colour in COLOURS.items()} | {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#b0b0b0": "var(--grid)",
    "#808080": "var(--muted)",
}
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
PAPER_DPI = 300
PIXELS_OF_A_POINT = 96 / 72

Bins = Sequence[tuple[float, float, int, float, float]]


def write_figure(figure: "Figure", folder: Path, name: str) -> None:
    """Writes a figure as PNG and as PDF, whose letters are letters, into a folder that is there."""
    from matplotlib import rc_context

    # without the time of writing, so that equal figures are equal files
    for ending, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        content = io.BytesIO()
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(content, format=ending, bbox_inches="tight", dpi=PAPER_DPI, metadata=metadata)
        write_whole(folder / f"{name}.{ending}", content.getvalue())


def page_svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """A figure as an `<svg>` element for a page, with a text for those who do not see it.

    Args:
      figure: its colours of `PAGE_COLOURS` become those of the page.
      name: begins all ids, which must differ on a page.
      title: what the figure is.
      description: what it shows.
    """
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(content, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(content.getvalue())
    for child in [child for child in root if _plain(child.tag) == "metadata"]:
        root.remove(child)
    for parent in root.iter():
        for child in [child for child in parent if _plain(child.tag) == "style"]:
            parent.remove(child)  # its rules would be for the whole page
    for element in root.iter():
        element.tag = _plain(element.tag)
        element.attrib = {_plain(key): _for_page(_plain(key), value, name) for key, value in element.attrib.items()}
    points = float(root.attrib["viewBox"].split()[2])
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "style": f"max-width: {PIXELS_OF_A_POINT * points:.0f}px",
        "class": "figure",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-text",
    }
    texts = [ElementTree.Element(tag, {"id": f"{name}-{end}"}) for tag, end in (("title", "title"), ("desc", "text"))]
    for i, (element, text) in enumerate(zip(texts, (title, description), strict=True)):
        element.text = text
        root.insert(i, element)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(name: str) -> str:
    """A name without its namespace, which HTML does not know."""
    return name.rpartition("}")[2]


def _for_page(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    if key in ("style", "fill", "stroke", "clip-path"):
        value = value.replace("url(#", f"url(#{name}-")
        return COLOUR.sub(lambda match: PAGE_COLOURS.get(match[0].lower(), match[0]), value)
    return value


def reliability_figure(bins: Bins, of: str, error: float) -> "Figure":
    """Draws how often answers of each probability are right, and how many there are.

    Args:
      bins: (low, high, count, mean probability, share that is right) of each; of no answers the means do not matter.
      of: what is counted, in the plural.
      error: the expected calibration error.
    """
    give_matplotlib_a_folder()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles = np.array([(low + high) / 2 for low, high, *_ in bins])
    width = 0.9 * (bins[0][1] - bins[0][0])
    shown = [(m, p, s) for m, (_, _, count, p, s) in zip(middles, bins, strict=True) if count]
    if shown:
        places, probabilities, shares = (np.array(column) for column in zip(*shown, strict=True))
        above.bar(places, shares, width, color=COLOURS["train"], alpha=0.85, label="right")
        above.plot(probabilities, shares, "o", color=COLOURS["eval"], markersize=4, label="at its mean probability")
    above.plot([0, 1], [0, 1], "--", color="#808080", linewidth=1.2, label="perfectly calibrated")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    above.set_title(f"expected calibration error {error:.4f}", loc="left", fontsize=10)
    above.legend(loc="upper left", frameon=False, fontsize=8)
    below.bar(middles, [count for _, _, count, *_ in bins], width, color=COLOURS["train"], alpha=0.85)
    below.set(xlabel="probability that the model gives", ylabel=of)
    for axes in (above, below):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
