"""The methods of a study, their runs, and what no study can be."""

from pathlib import Path

import pytest

from tests.study.cases import design
from textclf_jax.errors import UserError
from textclf_jax.prepare.options import PrepareOptions
from textclf_jax.study.design import ENCODER_ALONE, LINEAR, LINEAR_KEY, check_design


def data(**changes) -> PrepareOptions:
    return PrepareOptions(Path("studies/toy/data"), **changes)


FILE = (Path("a.csv"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minutes": 0.0}, "--minutes 0 must be above 0"),
        ({"minutes": float("nan")}, "--minutes nan must be above 0"),
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"finetuning_share": 1.0}, "--finetuning-share 1 must be above 0 and below 1"),
        ({"methods": ("tfidf", "magic")}, "--methods magic: there are majority, tfidf"),
        ({"data": data(train=FILE)}, "there would be no test split, and a study needs one: give --test FILE"),
        ({"data": data(inputs=FILE, test_fraction=0.0)}, "there would be no test split"),
        ({"data": data(train=FILE, test=FILE, val_fraction=0.0)}, "there would be no val split"),
        ({"out": Path("studies/.toy")}, 'begins with "."'),
        ({"finetuning_keys": ("training.max_updates=3",)}, "--set-finetuning training.max_updates=3: a study chooses"),
        ({"pretraining_keys": ("training.epochs=3",)}, "--set-pretraining training.epochs=3: a study chooses this key"),
        ({"finetuning_keys": ("classification_head.linear.enabled=true",)}, "a study chooses this key"),
        ({"finetuning_keys": ("experiment.seed=3",)}, "--set-finetuning experiment.seed=3: a study chooses this key"),
    ],
)
def test_no_study_can_have(changes, words):
    with pytest.raises(UserError) as error:
        check_design(design(**changes))
    assert words in str(error.value)


def test_studies_that_can_be():
    check_design(design())
    check_design(design(data=data(inputs=FILE)))
    check_design(design(data=data(train=FILE, test=FILE)))


def test_the_time_of_every_method_is_the_whole():
    """Pretraining and finetuning together, or both runs from scratch."""
    made = design(finetuning_share=0.3)
    for method in ("scratch", "pretrained", LINEAR):
        assert sum(part.share for part in made.parts(method)) == pytest.approx(1.0)
    assert made.parts("majority") == made.parts("tfidf") == ()


def test_the_linear_path_is_the_same_finetuning_with_its_key():
    made = design(finetuning_keys=("training.batch_size=8",), pretraining_keys=("mlm_head.mask_p=0.3",))
    plain, linear = made.parts("pretrained"), made.parts(LINEAR)
    assert plain[0] == linear[0]
    assert plain[0].keys == ("mlm_head.mask_p=0.3", "data.test.dataset_path=null")
    assert linear[1].keys == ("training.batch_size=8", LINEAR_KEY)
    for part in (plain[1], *made.parts("scratch")):  # the template has a linear path
        assert part.keys == ("training.batch_size=8", ENCODER_ALONE)
    assert linear[1].share == plain[1].share
