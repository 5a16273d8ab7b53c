"""JSON that strict readers take: of single values, and of all files that a run leaves."""

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.trained import interrupted, run
from textclf_jax.files import json_text
from textclf_jax.runs.resuming import Position
from textclf_jax.tasks.mlm import MlmTask


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def strict(text):
    return json.loads(text, parse_constant=refuse)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(VALUES)
def test_strangers_of_all_kinds_are_json_and_come_back(value):
    def expected(value):
        if isinstance(value, dict):
            return {key: expected(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [expected(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    assert strict(json_text(value)) == expected(value)
    assert strict(json_text(value, indent=None)) == expected(value)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.text(st.characters(categories=["Cs"]) | st.sampled_from('\\u"8é中\u2028\N{GRINNING FACE}\n'), max_size=6))
def test_strangers_among_texts_are_utf8_in_json_and_come_back(text):
    """Halves of surrogate pairs are escaped, all else is readable."""
    raw = json_text({text: [text]}).encode("utf-8")
    whole = json.loads(json.dumps(text))  # two halves that belong together become one character
    assert json.loads(raw) == {whole: [whole]}
    assert "é中".encode() in json_text(["é中"]).encode()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.builds(Position, st.integers(0), *[st.floats()] * 4, st.integers(0), st.integers(0), st.booleans()))
def test_strangers_among_positions_come_back_from_json(position):
    found = Position.restored(strict(json.dumps(position.stored(), allow_nan=False)))
    assert repr(found) == repr(position)


def json_files(folder):
    texts = {path: path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file()}
    return {path: text for path, text in texts.items() if path.suffix == ".json" or text.startswith("{")}


def test_every_json_file_of_a_run_is_strict(tmp_path, monkeypatch):
    """One that is stopped before its first evaluation, whose best score is infinite; and metrics without an end."""
    data = tiny.write_data(tmp_path / "data")
    config = tiny.pretraining(data, training={"epochs": 1}, data={"num_length_buckets": 1})
    folder = interrupted(config, tmp_path / "run", monkeypatch, at_update=2)
    names = {path.name for path in json_files(folder)}
    assert "record.json" in names
    assert any("checkpoints" in path.parts and "position" in path.parts for path in json_files(folder))
    for text in json_files(folder).values():
        strict(text)
    original = MlmTask.metrics
    strange = {"perplexity": math.inf, "accuracy": math.nan}
    monkeypatch.setattr(MlmTask, "metrics", lambda *arguments: original(*arguments) | strange)
    run(config, folder)
    for text in json_files(folder).values():
        strict(text)
    found = strict((folder / "summary.json").read_text())["results"]["test"]
    assert (found["perplexity"], found["accuracy"], found["loss"] > 0) == (None, None, True)
