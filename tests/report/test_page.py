"""The page of made-up facts: parsed as a browser does, whatever strangers have written into them."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests import tiny
from tests.report.cases import Page
from textclf_jax.cli import main
from textclf_jax.evaluation.calibration import Bin
from textclf_jax.report.facts import (
    Answers,
    Cost,
    DataCard,
    Figure,
    Missing,
    Mistake,
    Part,
    Parts,
    Reliability,
    RunFacts,
    SplitData,
    Word,
)
from textclf_jax.report.gathering import read_check
from textclf_jax.report.page import TEMPLATES, draw, markdown, model_card, render, report_page, write_report

EVIL = '<script>alert("x")</script><img src=http://evil.example/a.png onerror=alert(1)>'
NAMES = ("sport & games", EVIL, "नमस्ते")
LONG = "word " * 2000  # 10,000 characters
NAN = float("nan")


def answers(**changes):
    words = (Word(EVIL, 1.5), Word(" quiet", 0.0), Word(f" {LONG.strip()}", -0.5), Word(" unknown", None))
    records = [
        {"class": i, "label": name, "support": 10, "predicted": 9, "precision": 0.5, "recall": None, "f1": 0.25}
        for i, name in enumerate(NAMES)
    ]
    bins = (Bin(0.0, 0.5, 0, NAN, NAN), Bin(0.5, 1.0, 30, 0.75, 0.5))
    parts = (Part("encoder", 0.4, 0.7, 0.8, 0.25), Part("linear path", 0.6, 0.75, 0.7, 0.75))
    values = {
        "split": "test",
        "rows": 30,
        "figures": (Figure("accuracy", 0.8, 0.7, 0.9), Figure("loss", 0.5)),
        "draws": 1000,
        "classes": records,
        "remarks": (f"remark on {EVIL}",),
        "confusion": [[8, 1, 1], [2, 8, 0], [1, 1, 8]],
        "reliability": Reliability("answers", 0.25, 30, bins),
        "parts": Parts(
            "accuracy", parts, 0.8, 0.5, {"both": 20, "encoder only": 1, "linear path only": 3, "neither": 6}
        ),
        "mistakes": (Mistake(3, EVIL, "sport & games", 0.9, 0.05, words, 4000, 2000, {"encoder": 1.0}),),
        "wrong": 6,
    }
    return Answers(**{**values, **changes})


def facts(**changes):
    config = tiny.finetuning(Path("data"), "news")
    values = {
        "name": "news<b>",
        "kind": "finetuning",
        "state": "finished",
        "which": "best",
        "place": {"step": 8, "update": 8, "epoch": 1},
        "chosen_by": "loss",
        "labels": NAMES,
        "multi_label": False,
        "results": {"val": {"accuracy": 0.7, "loss": None}, "test": {"accuracy": 0.8, "loss": 0.5}},
        "answers": answers(),
        "data": DataCard(
            (SplitData("test", "data/<i>.pt", "abc", 30, 300, (10, 10, 10)),),
            ({"role": "train", "path": EVIL},),
            {"rows": "9"},
        ),
        "check": {"suspects": [{"text": EVIL, "label": "a", "p": 0.01}], "odd": {"deep": [[1, EVIL], {"x": [EVIL]}]}},
        "config": config.model_dump(mode="json"),
        "config_text": f"name: {EVIL}",
        "environment": {"device": "cpu", "git_commit": "abc-dirty"},
        "cost": Cost(1.5, 1000.0, None, 8, 1234),
        "starts_from": "experiments/pretraining/start/model.ckpt",
        "commands": ("textclf finetune 'news<b>' --fresh",),
        "remarks": (f"remark {EVIL}",),
        "missing": (Missing("something", f"since {EVIL}"),),
    }
    return RunFacts(**{**values, **changes})


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    run, folder = facts(), tmp_path_factory.mktemp("run")
    path = folder / "metrics/train/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("step,update,epoch,train/loss,train/lr\n1,1,1,2.0,0.1\n8,8,1,1.0,0.05\n", encoding="utf-8")
    return report_page(run, draw(run, folder))


def test_what_strangers_write_is_text(html):
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "b", "i"}
    assert page.faults == []
    assert page.text.count(EVIL) >= 8
    assert html.count("&lt;script&gt;") == page.text.count("<script>") + sum(
        each.count("<script>") for _, attributes in page.elements for each in attributes.values()
    )


def test_a_text_of_ten_thousand_characters_is_shown_whole(html):
    assert LONG.strip() in Page(html).text


def test_nothing_is_asked_of_a_network(html):
    page = Page(html)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "srcset", "data", "action", "xlink:href") or "url(" in value:
                assert value.startswith("#") or re.fullmatch(
                    r"[^:]*url\(#[^)]*\)[^:]*", value.split("url")[0] + value
                ), value
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_figures_have_words_and_ids_of_their_own(html):
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) == 2
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert set(attributes["aria-labelledby"].split()) <= set(ids)
        assert "width" not in attributes
    for _, attributes in page.elements:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert "currentColor" in html
    assert "var(--train)" in html
    assert not re.search(r"(stroke|fill): #0{6}", html)


def test_headings_go_down_step_by_step_and_the_sections_are_those_of_the_navigation(html):
    page = Page(html)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    linked = [a["href"][1:] for tag, a in page.elements if tag == "a" and a["href"] != "#main"]
    sections = [a["id"] for tag, a in page.elements if tag == "h2"]
    assert linked == sections


def test_what_scrolls_can_be_reached_by_keyboard(html):
    for tag, attributes in Page(html).elements:
        if attributes.get("class") in ("scroll", "text"):
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
        if tag == "pre":
            assert attributes["tabindex"] == "0"


def test_the_page_tells_the_facts(html):
    text = " ".join(Page(html).text.split())
    for told in (
        "95%: 0.7000 to 0.9000",
        "6 of 30 answers are wrong",
        "expected calibration error is the mean distance from that: 0.2500",
        "25% from the encoder and 75% from the linear path",
        "the model reads 2,000 of the 4,000 tokens",
        "peak memory not recorded",
        "1.5 minutes",
        "textclf finetune 'news<b>' --fresh",
        "had changes that were not committed",
        "starts from experiments/pretraining/start/model.ckpt",
        "Label suspects",
    ):
        assert told in text, told


def test_several_labels_and_nothing_wrong_and_words_that_are_not_known():
    mistake = replace(answers().mistakes[0], predicted="not given", words=(), threshold=0.25)
    view = answers(confusion=None, parts=None, mistakes=(mistake,), unexplained="no tokens")
    text = Page(report_page(facts(answers=view, multi_label=True), {})).text
    assert "Confusion matrix" not in text
    assert "is not given" in text
    assert "threshold of the class 0.2500" in text
    assert "The words are not shown: no tokens." in text
    perfect = answers(mistakes=(), wrong=0)
    assert "There are none on the test split." in Page(report_page(facts(answers=perfect), {})).text


def test_many_classes_are_shown_in_part():
    names = tuple(f"class{i}" for i in range(300))
    record = {"class": 0, "label": "", "support": 1, "predicted": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    records = [record | {"class": i, "label": name, "f1": i / 300} for i, name in enumerate(names)]
    confusion = [[int(i == j) for j in range(300)] for i in range(300)]
    run = facts(labels=names, answers=answers(classes=records, confusion=confusion))
    text = Page(report_page(run, {})).text
    assert "270 others" in text
    assert "The 200 of lowest F1, of 300" in text


def test_what_textclf_check_has_found_is_shown(tmp_path):
    """All of its facts, however deep they lie."""
    rows = [f"{text} {i},{label}" for i in range(15) for text, label in (("the goal of a match", "a"), ("a film", "b"))]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    found = tmp_path / "facts.json"
    assert main(["check", str(tmp_path / "texts.csv"), "--json", str(found)]) == 0
    content = read_check(found)
    text = Page(report_page(facts(check=content), {})).text
    counts = content["classes"]["by_split"]["train"]
    assert set(counts) == {"a", "b"}
    assert ", ".join(f"{name}: {count}" for name, count in counts.items()) in text
    assert all(each["what"] in text for each in content["findings"])


def test_a_pretraining_run_has_no_classes():
    config = tiny.pretraining(Path("data"))
    results = {"val": {"loss": 2.0, "perplexity": 7.4, "accuracy": 0.4, "num_tokens": 100.0}}
    run = facts(kind="pretraining", labels=(), answers=None, results=results, check=None)
    run = replace(run, config=config.model_dump(mode="json"))
    text = Page(report_page(run, {})).text
    assert "masked language model" in text
    assert "7.4000" in text
    assert "Classes" not in text
    assert model_card(run).startswith("# news&lt;b&gt;\n")


def test_the_model_card_holds_no_markup_of_strangers():
    card = model_card(facts())
    assert "<" not in card.replace("textclf finetune 'news<b>' --fresh", "")
    assert "| accuracy | 0.8000 | 0.7000 to 0.9000 |" in card
    assert f"Made from:\n\n| role | path |\n| --- | --- |\n| train | {markdown(EVIL)} |\n" in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in tables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b\nc", r"a\|b c"), ("<i>&", "&lt;i&gt;&amp;"), ("[x](y) `z` *s*", r"\[x\](y) \`z\` \*s\*"), (None, "–")],
)
def test_texts_in_markdown_mean_themselves(text, expected):
    assert markdown(text) == expected


def test_lone_halves_of_characters_do_not_break_the_page():
    page = report_page(facts(remarks=("broken \ud800 text",)), {})
    assert page.encode("utf-8")
    assert "broken \ufffd text" in page


def test_figures_are_files_for_slides_and_papers(tmp_path):
    written = write_report(facts(), tmp_path, tmp_path / "out")
    assert [path.name for path in written] == ["report.html", "MODEL_CARD.md", "report_figures"]
    names = sorted(path.name for path in written[2].iterdir())
    assert names == ["confusion.pdf", "confusion.png", "reliability.pdf", "reliability.png"]
    assert (written[2] / "confusion.pdf").read_bytes().startswith(b"%PDF")
    assert (written[2] / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_name_in_a_template_is_no_empty_text():
    with pytest.raises(Exception, match="undefined"):
        render("compare.html.j2")
