"""Arrays of a Hugging Face folder, in one file or in several. Single files are tested in test_importing.py."""

import json
from pathlib import Path

import pytest
import torch

from tests.interop import bert
from textclf_jax.errors import UserError
from textclf_jax.interop.importing import import_huggingface


def in_parts(folder: Path, *, safe: bool = True) -> list[str]:
    """Saves a model in parts of 20 kB; returns their names."""
    model = bert.random_model("BertForMaskedLM")
    bert.save(model, folder)
    if safe:
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        return sorted(path.name for path in folder.glob("model-*.safetensors"))
    state, parts, places = torch.load(_as_bin(folder, model), weights_only=True), {}, {}
    for i, (name, value) in enumerate(state.items()):
        places[name] = f"pytorch_model-0000{i % 2 + 1}-of-00002.bin"
        parts.setdefault(places[name], {})[name] = value
    for name, part in parts.items():
        torch.save(part, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "pytorch_model.bin").unlink()
    return sorted(parts)


def _as_bin(folder: Path, model) -> Path:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_parts_are_joined_by_their_index(tmp_path, safe):
    assert len(in_parts(tmp_path / "hf", safe=safe)) > 1
    run, _ = import_huggingface(tmp_path / "hf", "new", tmp_path)
    saved = bert.load(run)
    bert.check_same_logits(bert.our_logits(saved), bert.their_logits(bert.random_model("BertForMaskedLM")))
    assert saved.metadata["imported"]["source"].endswith(".index.json")


def _rename_in_index(folder: Path, parts: list[str]) -> None:
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    first = next(name for name, part in places.items() if part == parts[0])
    index.write_text(json.dumps({"weight_map": places | {first: parts[1]}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, parts: (folder / parts[1]).unlink(), "parts are missing: model-00002-of"),
        (
            lambda folder, parts: (folder / "model-00001-of-00099.safetensors").touch(),
            "does not name model-00001-of-00099",
        ),
        (
            _rename_in_index,
            "model-0000[12]-of-.*: (holds|lacks) .*, which is not what model.safetensors.index.json says",
        ),
        (lambda folder, parts: (folder / parts[0]).write_bytes(b"x"), "model-00001-of-.*: cannot be read"),
        (
            lambda folder, parts: (folder / "model.safetensors.index.json").write_text("{}"),
            "weight_map: null, not a file",
        ),
        (
            lambda folder, parts: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}'),
            "weight_map: .* not a file of this folder",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path, change, message):
    change(tmp_path / "hf", in_parts(tmp_path / "hf"))
    with pytest.raises(UserError, match=message):
        import_huggingface(tmp_path / "hf", "new", tmp_path)


def test_which_of_two_files_is_read_is_said(tmp_path):
    folder = bert.save(bert.random_model("BertModel"), tmp_path / "hf")
    torch.save({}, folder / "pytorch_model.bin")
    _, notes = import_huggingface(folder, "new", tmp_path)
    assert notes[0] == "model.safetensors is read, not pytorch_model.bin"
