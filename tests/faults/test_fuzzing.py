"""Inputs that nobody thought of: no traceback, no hang, no wrong answer. TEXTCLF_FUZZ sets the inputs of each test."""

import functools
import io
import os
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.trained import assert_same, run
from textclf_jax.cli import main
from textclf_jax.config.file import parse_config
from textclf_jax.config.schema import RunConfig
from textclf_jax.data.dataset import load_dataset
from textclf_jax.data.torch_files import read_tensors, write_tensors
from textclf_jax.errors import UserError
from textclf_jax.evaluation.prediction import Predictor
from textclf_jax.tokenizer.wordpiece_tokenizer_wrapper import WordPieceTokenizerWrapper

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
many = settings(
    deadline=None,
    max_examples=int(os.environ.get("TEXTCLF_FUZZ", "60")),
    suppress_health_check=list(HealthCheck),
)

# --- configs --------------------------------------------------------------------------------------------------

ODD = st.sampled_from([*"'\":{[#\n\t\0é", "- ", "  ", "&a ", "*a", "!!int ", "---\n"])
NUMBERS = st.one_of(st.integers(), st.floats()).map(str)


@st.composite
def damaged_templates(draw) -> str:
    """A template in which some lines were dropped, doubled, moved, or had pieces put in."""
    lines = (CONFIGS / f"{draw(st.sampled_from(['pretraining', 'finetuning']))}.yaml").read_text().splitlines(True)
    for _ in range(draw(st.integers(1, 4))):
        at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        place, piece = draw(st.integers(0, len(lines[at]))), draw(ODD | NUMBERS | st.text(max_size=4))
        match draw(st.integers(0, 3)):
            case 0:
                lines.pop(at)
            case 1:
                lines.insert(to, lines[at])
            case 2:
                lines[at] = lines[at][:place] + piece + lines[at][place:]
            case 3:
                lines[at] = lines[at].split(":")[0] + ": " + piece + "\n"
    return "".join(lines)


@many
@given(damaged_templates())
def test_damaged_configs(text):
    try:
        assert isinstance(parse_config(text.encode("utf-8", "surrogatepass"), "x").config, RunConfig)
    except UserError as error:
        assert str(error).startswith("config error in x\n")  # noqa: PT017


# --- data files -----------------------------------------------------------------------------------------------


@functools.cache
def sound_file() -> tuple[bytes, list[np.ndarray]]:
    with tempfile.TemporaryDirectory() as folder:
        arrays = list(tiny.rows(6))
        write_tensors(Path(folder) / "x.pt", *arrays)
        return (Path(folder) / "x.pt").read_bytes(), arrays


@functools.cache
def sound_records() -> dict[str, bytes]:
    """The records of the sound file by name."""
    with zipfile.ZipFile(io.BytesIO(sound_file()[0])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@st.composite
def damaged(draw, sound: bytes) -> bytes:
    """Bytes of which some were changed, cut out, put in or moved."""
    raw = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(raw))), draw(st.integers(1, 64))
        match draw(st.integers(0, 3)):
            case 0:
                raw[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case 1:
                del raw[at : at + length]
            case 2:
                raw[at:at] = draw(st.binary(max_size=length))
            case 3:
                to = draw(st.integers(0, len(raw)))
                raw[to : to + length] = raw[at : at + length]
    return bytes(raw)


@many
@given(st.deferred(lambda: damaged(sound_file()[0])))
def test_damaged_data_files(raw):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(raw)
        try:
            found = read_tensors(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
        assert_same(found, sound_file()[1])


def read_by_torch(path: Path) -> list[np.ndarray] | None:
    """The tensors of a file as torch itself finds them, or None."""
    import torch
    from torch.utils.data import TensorDataset

    with suppress(Exception), torch.serialization.safe_globals([TensorDataset]):
        loaded = torch.load(path, weights_only=True)
        return [tensor.numpy() for tensor in getattr(loaded, "tensors", loaded)]
    return None


@many
@given(st.deferred(lambda: damaged(sound_records()["archive/data.pkl"])))
def test_damaged_descriptions(pickle):
    """Under sound checksums; what torch reads too is the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name, record in sound_records().items():
                archive.writestr(name, pickle if name == "archive/data.pkl" else record)
        try:
            found = read_tensors(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
        expected = read_by_torch(path)
        if expected is not None:
            assert_same(found, expected)


DTYPES = ["int64", "int32", "int16", "uint8", "bool", "float32", "float64"]


@st.composite
def tensors(draw):
    import torch

    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = int(np.prod(shape))
    values = draw(st.lists(st.sampled_from([0, 1, 2, 59, 60, -1, -100, 127]), min_size=size, max_size=size))
    dtype = draw(st.sampled_from(DTYPES))
    return torch.tensor(values).reshape(shape).to(getattr(torch, dtype))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
OBJECTS = st.recursive(
    tensors() | SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.sampled_from(["input_ids", "attention_mask", "labels", "x"]), inner, max_size=4)
    ),
    max_leaves=5,
)


@many
@given(st.lists(tensors(), min_size=2, max_size=3) | OBJECTS, st.sampled_from([None, 3]))
def test_any_object_in_a_data_file(thing, num_labels):
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        torch.save(thing, path)
        try:
            data = load_dataset(path, vocab_size=60, pad_id=0, max_length=3, num_labels=num_labels)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            return
        ids = thing["input_ids"] if isinstance(thing, dict) else thing[0]
        np.testing.assert_array_equal(data.input_ids, ids.numpy())
        assert 0 <= data.input_ids.min() <= data.input_ids.max() < 60
        assert len(data.lengths) == len(ids)
        assert data.lengths.max() <= 3
        if num_labels is not None:
            assert data.labels is not None
            assert 0 <= data.labels.min() <= data.labels.max() < 3


# --- text -----------------------------------------------------------------------------------------------------

# all of Unicode, lone surrogates too, and what tokenizers trip over: joiners, marks, other scripts, special pieces
PIECES = ["word1", "[MASK]", "[CLS]", "##x", "\u200d", "e\u0301", "ﷺ", "漢字", "\ufeff", "\r\n", "\0", "\ud800", " "]
TEXTS = st.text(st.characters(), max_size=60) | st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A trained classifier."""
    data = tiny.write_data(tmp_path_factory.mktemp("data"))
    return run(tiny.finetuning(data, training={"epochs": 1}), tmp_path_factory.mktemp("run"))


@many
@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(3, 9))
def test_any_text_is_encoded(folder, texts, max_length):
    tokenizer = WordPieceTokenizerWrapper().load(folder / "model.ckpt" / "vocab")
    encoded = tokenizer.encode(texts, max_length=max_length)
    ids, mask = encoded.input_ids, encoded.attention_mask
    assert ids.shape == mask.shape == (len(texts), max_length)
    assert 0 <= ids.min() <= ids.max() < tiny.VOCAB_SIZE
    assert (ids[:, 0] == 2).all()
    np.testing.assert_array_equal(mask, ids == 0)


@pytest.fixture(scope="module")
def predictor(folder) -> Predictor:
    return Predictor(folder / "model.ckpt")


@many
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_any_text_is_classified(predictor, texts):
    for text, prediction in zip(texts, predictor(texts), strict=True):
        assert prediction.text == text
        assert prediction.probabilities.sum() == pytest.approx(1.0)
        assert prediction.label in predictor.labels


def test_an_argument_that_is_not_utf_8_is_classified(folder, capfd):
    """Found by the test above: tokenizers raised a TypeError, and printing the text another error."""
    assert main(["predict", str(folder / "model.ckpt"), "--text", os.fsdecode(b"word1 \xff"), "--format", "json"]) == 0
    assert '"text": "word1 \ufffd"' in capfd.readouterr().out


@pytest.mark.parametrize("text", ["", "word1 " * 180_000, "x" * 1_000_000, "漢" * 350_000])
def test_empty_and_megabyte_texts_are_classified(predictor, text):
    (prediction,) = predictor([text])
    assert np.isfinite(prediction.probabilities).all()
