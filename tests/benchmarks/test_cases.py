import dataclasses

import numpy as np
import pytest

from benchmarks.cases import CASES, NUM_LABELS, VOCAB_SIZE, chosen
from benchmarks.synthetic import draw_rows, draw_texts, write_data
from textclf_jax.data.dataset import load_dataset
from textclf_jax.errors import UserError
from textclf_jax.tokenizer.loading import load_wrapper


def test_names_are_unique_and_what_they_refer_to_exists():
    names = [case.row for case in CASES]
    assert len(set(names)) == len(names)
    for i, case in enumerate(CASES):
        for other in filter(None, (case.peer_of, case.trains_as)):
            assert other in names[:i]


def test_rows_are_chosen_by_name_and_platform():
    assert [case.row for case in chosen("long-4096-lsh, mlm-small-4x512", "cpu", quickly=True)] == [
        "long-4096-lsh",
        "mlm-small-4x512",
    ]
    assert {case.rounds for case in chosen(None, "cpu", quickly=True)} == {1, 2}
    assert {case.trial_steps for case in chosen(None, "cpu", quickly=True)} == {1}
    with pytest.raises(UserError, match="there is no row 'mlm-base-64x512' on a cpu"):
        chosen("mlm-base-64x512", "cpu", quickly=False)


def test_a_cpu_measures_all_its_rows():
    whole = [case.row for case in CASES if "cpu" in case.platforms]
    for quickly in (False, True):
        assert [case.row for case in chosen(None, "cpu", quickly=quickly)] == whole


def test_a_gpu_measures_the_most_important_rows_first():
    whole, quick = ([case.row for case in chosen(None, "gpu", quickly=quickly)] for quickly in (False, True))
    assert quick == whole[:3] == ["mlm-base-64x512", "mlm-small-64x512", "prediction-1m-texts"]
    assert len(set(whole)) == len(whole)
    by_name = {case.row: case for case in CASES}
    for i, row in enumerate(whole):
        for other in filter(None, (by_name[row].peer_of, by_name[row].trains_as)):
            assert other in whole[:i]
    # the others can be asked for
    assert [case.row for case in chosen("mlm-base-256x128", "gpu", quickly=False)] == ["mlm-base-256x128"]


def test_a_million_texts_are_a_million():
    (case,) = chosen("prediction-1m-texts", "gpu", quickly=True)
    assert case.texts * (case.repetitions or 0) == 1_000_000
    assert case.rounds == 1


@pytest.mark.parametrize(("row", "median"), [("cls-agnews-like", 50), ("cls-imdb-like", 220)])
def test_data_is_as_long_as_its_model_and_valid(row, median, tmp_path):
    (case,) = chosen(row, "cpu", quickly=False)
    write_data(case, tmp_path / "data")
    train, val = (
        load_dataset(
            tmp_path / "data" / f"{split}.pt",
            vocab_size=VOCAB_SIZE,
            pad_id=0,
            max_length=case.max_length,
            num_labels=NUM_LABELS,
        )
        for split in ("train", "val")
    )
    assert (len(train), len(val)) == (case.rows, case.rows // 8)
    assert abs(np.median(train.lengths) - median) < 0.1 * median
    assert train.notes == ()


def test_data_is_a_function_of_the_case():
    (case,) = chosen("mlm-small-16x128", "cpu", quickly=False)
    one, two = (draw_rows(case, 50, np.random.default_rng(3)) for _ in range(2))
    for array, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(array, other)
    assert not one[1].any()


def test_texts_are_the_tokens_they_say(tmp_path):
    (case,) = chosen("prediction-agnews-like", "cpu", quickly=False)
    write_data(dataclasses.replace(case, rows=64), tmp_path / "data")
    texts, tokens = draw_texts(case)
    _, mask = load_wrapper(
        "textclf_jax/tokenizer/wordpiece_tokenizer_wrapper.py", "vocab", root=tmp_path / "data"
    ).encode_texts(texts, case.max_length)
    assert (~mask).sum() == tokens
