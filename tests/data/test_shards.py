"""Several files are read as one: the same rows, the same batches; what does not belong together is refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.data.test_beside import dataset
from textclf_jax.data.dataset import Dataset, load_dataset
from textclf_jax.data.shards import DataFiles, JoinedRows, data_files, missing_data, refuse_shared
from textclf_jax.data.splits import load_splits
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_wrapper
from textclf_jax.training.batches import training_batches
from textclf_jax.training.plan import make_plan

SIZES = (17, 1, 32)  # of the shards of 50 rows


def write_shards(folder: Path, *arrays: np.ndarray, sizes=SIZES) -> list[Path]:
    """Files of 7, 8, 9, ... in their names, with so many rows of the arrays each."""
    paths, start = [], 0
    folder.mkdir(exist_ok=True)
    for number, size in enumerate(sizes, start=9 - len(sizes) // 2):
        paths.append(folder / f"train-{number}.pt")
        write_tensors(paths[-1], *(array[start : start + size] for array in arrays))
        start += size
    return paths


def load(paths: list[Path], num_labels: int | None = None, **options) -> Dataset:
    files = DataFiles(paths[0].with_name("train-*.pt"), tuple(paths))
    sizes = {"vocab_size": tiny.VOCAB_SIZE, "max_length": tiny.MAX_LENGTH}
    return load_dataset(files, pad_id=0, num_labels=num_labels, **{**sizes, **options})


def refusal(function, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- which files ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    for name in ("train-10.pt", "train-9.pt", "train-100.pt", "val-1.pt", "a[1].pt"):
        (tmp_path / name).touch()
    (tmp_path / "train-5.pt").mkdir()
    return tmp_path


def names(found: DataFiles) -> list[str]:
    return [path.name for path in found.paths]


def test_a_pattern_is_in_the_order_of_its_numbers_and_a_list_as_it_stands(files):
    found = data_files(files, "train-*.pt", "key")
    assert names(found) == ["train-9.pt", "train-10.pt", "train-100.pt"]
    assert found.name == files / "train-*.pt"
    assert names(data_files(Path("/"), f"{files}/train-1*.pt", "key")) == ["train-10.pt", "train-100.pt"]
    found = data_files(files, ("val-1.pt", "train-1*.pt"), "key")
    assert names(found) == ["val-1.pt", "train-10.pt", "train-100.pt"]
    assert str(found.name) == f"{files}/val-1.pt and 2 more"
    assert data_files(files, ("train-9.pt",), "key") == data_files(files, "train-9.pt", "key")


def test_what_exists_under_a_name_is_no_pattern(files):
    (files / "a1.pt").touch()
    assert names(data_files(files, "a[1].pt", "key")) == ["a[1].pt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tain-*.pt", r"key: no file matches .*/tain-\*\.pt. In .* there are .*train-9\.pt, .*textclf prepare"),
        ("none/*/*.pt", "key: no file matches .*There is no folder .*/none"),
        (("train-9.pt", "train-8.pt"), r"key: there is no .*/train-8\.pt. In .* there are"),
        (("train-9.pt", "train-*.pt"), r"key: .*/train-9\.pt would be read twice, for it stands there twice"),
        (("train-9.pt", "link.pt"), r"link\.pt would be read twice, for .*/train-9\.pt is the same file. Take one"),
    ],
)
def test_files_that_are_missing_or_twice_there_are_refused(files, given, message):
    (files / "link.pt").symlink_to(files / "train-9.pt")
    with pytest.raises(UserError, match=message):
        data_files(files, given, "key")


def test_missing_data_is_named(files):
    assert missing_data(files, "train-*.pt") is None
    assert missing_data(files, ("train-9.pt", "val-*.pt")) is None
    assert missing_data(files, ("train-9.pt", "test-*.pt")) == files / "test-*.pt"
    assert missing_data(files, "test.pt") == files / "test.pt"


def test_a_pattern_that_takes_in_another_split_is_refused(files):
    def found(given):
        return data_files(files, given, "key")

    message = refusal(refuse_shared, {"train": found("*-*.pt"), "val": found("val-1.pt")})
    assert "data.train.dataset_path and data.val.dataset_path both have the file" in message
    assert "val-1.pt" in message
    refuse_shared({"train": found("train-*.pt"), "val": found("val-*.pt")})
    refuse_shared({"train": found("val-1.pt"), "val": found("val-*.pt")})  # on purpose, as with one file


# --- their rows -------------------------------------------------------------------------------------------------


def test_joined_rows_are_those_of_one_array():
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 1000, (50, 7)).astype(np.int32)
    joined = JoinedRows(np.split(whole, np.cumsum(SIZES)[:-1]))
    assert (joined.shape, joined.dtype, len(joined)) == (whole.shape, whole.dtype, 50)
    for rows in (rng.integers(0, 50, 20), np.array([17]), np.zeros(0, np.int64), slice(10, 40), slice(None), slice(60)):
        np.testing.assert_array_equal(joined[rows], whole[rows])
        np.testing.assert_array_equal(joined[rows, :4], whole[rows, :4])
    rows, columns = rng.integers(0, 50, 30), rng.integers(0, 7, 30)
    np.testing.assert_array_equal(joined[rows, columns], whole[rows, columns])
    np.testing.assert_array_equal(joined[49], whole[49])
    for wrong in (50, -1, np.array([0, 50])):
        with pytest.raises(IndexError, match="there are 50 rows"):
            joined[wrong]


@pytest.mark.parametrize("num_labels", [None, 3])
def test_several_files_are_as_one_with_all_rows(tmp_path, num_labels):
    ids, mask, labels = tiny.rows(50)
    arrays = (ids, mask) if num_labels is None else (ids, mask, labels)
    write_tensors(tmp_path / "one.pt", *arrays)
    one, several = load([tmp_path / "one.pt"], num_labels), load(write_shards(tmp_path, *arrays), num_labels)
    assert isinstance(several.input_ids, JoinedRows)
    assert not any(part.flags.owndata for part in several.input_ids.parts)  # but mapped from the files
    np.testing.assert_array_equal(several.input_ids[:], ids)
    np.testing.assert_array_equal(several.lengths, one.lengths)
    assert (several.columns, several.num_words, several.notes) == (one.columns, one.num_words, one.notes)
    if num_labels:
        np.testing.assert_array_equal(several.labels, labels)
        assert several.labels.dtype == one.labels.dtype
    for first, second in zip(one.first_tokens(slice(12, 30), 5), several.first_tokens(slice(12, 30), 5), strict=True):
        np.testing.assert_array_equal(first, second)


def test_values_at_fault_are_named_by_file_and_row(tmp_path):
    ids, mask, labels = tiny.rows(50)
    ids[20, 0] = 999
    assert "train-10.pt: row 2 holds the id 999" in refusal(load, write_shards(tmp_path, ids, mask))
    ids[20, 0], labels[17] = 2, 7
    assert "train-9.pt: row 0 has the label 7" in refusal(load, write_shards(tmp_path, ids, mask, labels), 3)
    mask[18:] = ~mask[18:]
    assert "train-10.pt: attention_mask seems inverted" in refusal(load, write_shards(tmp_path, ids, mask))


def test_files_of_different_kinds_are_refused(tmp_path):
    ids, mask, labels = tiny.rows(50)
    paths = write_shards(tmp_path, ids, mask)
    write_tensors(paths[2], ids, mask, labels)
    message = refusal(load, paths)
    assert f"{paths[2]}: has labels, but {paths[0]}, which is of the same split, has none" in message
    write_tensors(paths[2], ids.astype(np.int32), mask)
    assert f"{paths[2]}: input_ids is int32, but int64 in {paths[0]}" in refusal(load, paths)
    wider = np.hstack([ids, np.zeros((50, 2), np.int64)])
    write_tensors(paths[2], wider, np.hstack([mask, np.ones((50, 2), bool)]))
    message = refusal(load, paths)
    assert f"{paths[2]}: its rows have 26 columns, those of {paths[0]} have 24" in message
    assert f"Lengthen the rows of {paths[0]} to 26, with 0 ([PAD])" in message


def test_a_few_odd_rows_in_the_last_file_are_no_reason_to_refuse_it(tmp_path):
    """One file with all of the rows is sound, too; alone, the last file is none."""
    vocabulary = tiny.write_vocabulary(tmp_path / "vocab")
    ids, mask, _ = tiny.rows(30)
    ids[29, 1 : (~mask[29]).sum() - 1] = 1  # [UNK]
    write_shards(tmp_path, ids, mask, sizes=(29, 1))
    config = tiny.pretraining(tmp_path, data=splits_of(tmp_path, "train-*.pt"))
    tokenizer = load_wrapper(config.tokenizer.wrapper_path, str(vocabulary), root=tmp_path)
    (note,) = load_splits(config, tokenizer, tmp_path)["train"].notes
    assert note.startswith(f"warning: {tmp_path}/train-9.pt: 100.0% of the tokens are [UNK]")
    alone = tiny.pretraining(tmp_path, data=splits_of(tmp_path, "train-9.pt"))
    assert "100.0% of the tokens are [UNK]" in refusal(load_splits, alone, tokenizer, tmp_path)


def test_equal_rows_with_other_labels_are_found_across_files(tmp_path):
    ids, mask, labels = tiny.rows(50)
    ids[30], mask[30], labels[[16, 30]] = ids[16], mask[16], (0, 1)
    (note,) = load(write_shards(tmp_path, ids, mask, labels), 3).notes
    assert f"{tmp_path}/train-*.pt: 2 of 50 rows equal another row that has another label" in note
    assert "(row 16 of train-8.pt has 0, row 12 of train-10.pt has 1)" in note


def test_notes_on_many_files_are_few(tmp_path):
    ids, mask, _ = tiny.rows(24)
    paths = write_shards(tmp_path, ids, mask.astype(np.uint8), sizes=[2] * 12)
    data = load(paths, max_length=4)
    assert len(data.notes) == 7
    assert data.notes[5] == f"{tmp_path}/train-*.pt: 7 more notes of this kind on its files"
    assert "rows are longer than 4 tokens and are cut" in data.notes[6]


def test_the_fingerprint_follows_content_number_and_order(tmp_path):
    ids, mask, _ = tiny.rows(50)
    paths = write_shards(tmp_path, ids, mask)
    before = load(paths).fingerprint
    assert load(write_shards(tmp_path, ids, mask)).fingerprint == before
    others = [load(some).fingerprint for some in (paths[:2], paths[:1], paths[::-1], [*paths[1:], paths[0]])]
    ids[49, 1] += 1
    others.append(load(write_shards(tmp_path, ids, mask)).fingerprint)
    assert len({before, *others}) == 6


def test_too_many_open_files_are_told(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(24, os.strerror(24))

    paths = write_shards(tmp_path, *tiny.rows(50)[:2])
    monkeypatch.setattr("textclf_jax.data.torch_files.mmap.mmap", refuse)
    assert "too many files are open. Allow more (ulimit -n" in refusal(load, paths)


# --- a run on them ----------------------------------------------------------------------------------------------


def splits_of(folder: Path, train) -> dict:
    return {"train": {"dataset_path": train}, "val": {"dataset_path": None}, "test": {"dataset_path": None}}


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
@pytest.mark.parametrize("packing", [True, False])
def test_two_shards_give_the_batches_of_one_file(tmp_path, build, packing):
    """Array by array, over two epochs, for several seeds; in the pattern's order and in that of a list."""
    ids, mask, labels = tiny.rows(50)
    arrays = (ids, mask, labels) if build is tiny.finetuning else (ids, mask)
    tiny.write_vocabulary(tmp_path / "vocab")
    write_tensors(tmp_path / "one.pt", *arrays)
    write_shards(tmp_path, *arrays, sizes=(31, 19))
    for seed in (1, 2, 3):
        seen = []
        for train in ("one.pt", "train-*.pt", ["train-8.pt", "train-9.pt"]):
            data = {**splits_of(tmp_path, train), "packing": packing}
            config = build(tmp_path, data=data, experiment={"seed": seed})
            plan = make_plan(config, root=tmp_path)
            seen.append(list(training_batches(plan.task, plan.splits["train"], plan.batching, plan.length, 0)))
        for others in seen[1:]:
            assert len(others) == len(seen[0]) == 14
            for one, other in zip(seen[0], others, strict=True):
                assert one[:-1] == other[:-1]
                assert one.arrays.keys() == other.arrays.keys()
                for name, array in one.arrays.items():
                    np.testing.assert_array_equal(other.arrays[name], array, err_msg=name)


def test_a_run_on_a_pattern_knows_when_its_files_change(tmp_path):
    """What a resumed run compares; the pattern itself stays the same."""
    ids, mask, _ = tiny.rows(50)
    tiny.write_vocabulary(tmp_path / "vocab")
    config = tiny.pretraining(tmp_path, data=splits_of(tmp_path, "train-*.pt"))

    def fingerprint() -> dict:
        return make_plan(config, root=tmp_path).fingerprint()["data"]

    write_shards(tmp_path, ids, mask)
    before = fingerprint()
    assert fingerprint() == before
    write_tensors(tmp_path / "train-11.pt", ids[:3], mask[:3])
    assert fingerprint() != before
    (tmp_path / "train-11.pt").unlink()
    assert fingerprint() == before
    (tmp_path / "train-8.pt").rename(tmp_path / "train-12.pt")
    assert fingerprint() != before


def test_labels_become_those_of_the_run_by_the_names_beside_each_file(tmp_path):
    ids, mask, labels = tiny.rows(40, num_labels=2)
    for part, order in (("a", ("bad", "good")), ("b", ("good", "bad"))):
        path = dataset(tmp_path / part, order, fingerprint=None)
        rows = slice(0, 25) if part == "a" else slice(25, 40)
        write_tensors(path, ids[rows], mask[rows], labels[rows] if part == "a" else 1 - labels[rows])
    data = splits_of(tmp_path, ["a/cls/train.pt", "b/cls/train.pt"])
    config = tiny.finetuning(
        tmp_path, data=data, tokenizer={"vocab_dir": "a/vocab"}, classification_head={"num_labels": 2}
    )
    tokenizer = load_wrapper(config.tokenizer.wrapper_path, "a/vocab", root=tmp_path)
    train = load_splits(config, tokenizer, tmp_path)["train"]
    np.testing.assert_array_equal(train.labels, labels)
    assert train.class_names == ("bad", "good")
    assert "good 0 -> 1, bad 1 -> 0" in train.notes[0]
    (tmp_path / "b" / "labels.txt").write_text("good\nugly\n")
    (tmp_path / "b" / "dataset.json").unlink()
    message = refusal(load_splits, config, tokenizer, tmp_path)
    assert "b/cls/train.pt: row " in message
    assert "has the class 'ugly'" in message


def test_the_vocabulary_of_each_file_is_compared(tmp_path):
    ids, mask, _ = tiny.rows(10)
    for part in ("a", "b"):
        write_tensors(dataset(tmp_path / part, None, fingerprint=None), ids, mask)
    words = (tmp_path / "b" / "vocab" / "vocab.txt").read_text().split()
    (tmp_path / "b" / "vocab" / "vocab.txt").write_text("\n".join([*words[:5], *words[:4:-1]]) + "\n")
    config = tiny.pretraining(tmp_path, data=splits_of(tmp_path, "*/cls/train.pt"), tokenizer={"vocab_dir": "a/vocab"})
    tokenizer = load_wrapper(config.tokenizer.wrapper_path, "a/vocab", root=tmp_path)
    message = refusal(load_splits, config, tokenizer, tmp_path)
    assert message.startswith(f"{tmp_path}/b/cls/train.pt: its ids stand for the pieces of {tmp_path}/b/vocab")
