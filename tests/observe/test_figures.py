"""Figures for a page and for papers."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from textclf_jax.observe.figures import page_svg, reliability_figure, write_figure

NAN = float("nan")
BINS = [(0.0, 0.5, 0, NAN, NAN), (0.5, 1.0, 4, 0.75, 0.25)]


def test_bars_are_the_shares_and_the_counts():
    figure = reliability_figure(BINS, "answers", 0.5)
    above, below = figure.axes
    assert [patch.get_height() for patch in above.patches] == [0.25]
    assert [patch.get_height() for patch in below.patches] == [0, 4]
    assert above.lines[0].get_xydata().tolist() == [[0.75, 0.25]]
    assert below.get_ylabel() == "answers"
    assert above.get_title("left") == "expected calibration error 0.5000"


def test_without_answers_there_is_still_a_figure():
    assert reliability_figure([(0.0, 1.0, 0, NAN, NAN)], "answers", float("nan")).axes


@pytest.fixture
def svg():
    return page_svg(reliability_figure(BINS, "<b>answers</b>", 0.5), "one", "A <title>", "what it shows & more")


def test_an_element_for_a_page_has_no_rules_for_others_and_words_for_all(svg):
    root = ElementTree.fromstring(svg)
    tags = [element.tag for element in root.iter()]
    assert not {"style", "metadata", "script"} & set(tags)
    assert all(":" not in tag and "{" not in tag for tag in tags)
    assert (root.findtext("title"), root.findtext("desc")) == ("A <title>", "what it shows & more")
    assert "&lt;b&gt;answers" in svg
    assert all(element.get("id", "one-").startswith("one-") for element in root.iter())
    for target in re.findall(r'(?:url\(|href=")#([^)"]+)', svg):
        assert f'id="{target}"' in svg


def test_colours_are_those_of_the_page(svg):
    assert {"var(--train)", "var(--eval)", "var(--muted)", "currentColor"} <= set(
        re.findall(r"var\(--\w+\)|currentColor", svg)
    )
    assert "#0072b2" not in svg.lower()


def test_equal_figures_are_equal_files(tmp_path):
    figure = Figure()
    figure.subplots().plot(np.arange(3))
    for name in ("one", "two"):
        write_figure(figure, tmp_path, name)
    for ending in ("png", "pdf"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
