"""The flags that say how files are read."""

import argparse

import pytest

from textclf_jax.cli import baseline, predict, prepare
from textclf_jax.cli.reading import reading_options
from textclf_jax.errors import UserError
from textclf_jax.prepare.texts import ReadOptions

FLAGS = "--text-column t --no-quotes --delimiter tab --encoding cp1252 --text-unit document"
NEEDED = {prepare: ["--out", "o"], predict: ["name"], baseline: ["--train", "a", "--test", "b"]}


def parse(command, *flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args([command.__name__.rpartition(".")[2], *NEEDED[command], *flags])


@pytest.mark.parametrize("command", list(NEEDED))
def test_every_command_has_them(command):
    assert reading_options(parse(command)) == ReadOptions()
    assert reading_options(parse(command, *FLAGS.split())) == ReadOptions("t", None, "off", "\t", "cp1252", "document")
    assert reading_options(parse(command, "--quoting", "on")).quoting == "on"


@pytest.mark.parametrize("command", [prepare, baseline])
def test_labels_have_a_column_where_they_are_used(command):
    assert reading_options(parse(command, "--label-column", "l")) == ReadOptions(label_column="l")


@pytest.mark.parametrize("flag", ["--label-column", "--label-separator"])
def test_predict_has_no_use_for_labels(capsys, flag):
    with pytest.raises(SystemExit):
        parse(predict, flag, "l")
    assert f"unrecognized arguments: {flag} l" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("|", "|"),
        (", ", ","),
        ("pipe", "|"),
        ("JSON", "json"),
        ("\\t", "\t"),
        (" ", " "),
        (" and ", " and "),
        ("||", "||"),
    ],
)
def test_label_separators(given, meant):
    for command in (prepare, baseline):
        assert reading_options(parse(command, "--label-separator", given)) == ReadOptions(label_separator=meant)


@pytest.mark.parametrize("given", ["", "x", "list"])
def test_what_cannot_separate_labels_is_refused(given):
    with pytest.raises(
        UserError, match=r"--label-separator '.*': must be what stands between labels, such as '\|', or"
    ):
        reading_options(parse(prepare, "--label-separator", given))


@pytest.mark.parametrize(("given", "meant"), [("Semicolon", ";"), ("\\t", "\t"), ("^", "^"), ("pipe", "|")])
def test_delimiters(given, meant):
    assert reading_options(parse(predict, "--delimiter", given)).delimiter == meant


@pytest.mark.parametrize("given", ["", "ab", '"', "\n"])
def test_what_cannot_delimit_is_refused(given):
    with pytest.raises(UserError, match="must be comma, tab, semicolon, pipe or another single character"):
        reading_options(parse(predict, "--delimiter", given))
