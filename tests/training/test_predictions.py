"""What the figures of a run will rest on is known before it starts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from textclf_jax.data.torch_files import write_tensors
from textclf_jax.errors import UserError
from textclf_jax.tasks.task import EVALUATION_MASKS
from textclf_jax.training import predictions
from textclf_jax.training.plan import make_plan
from textclf_jax.training.predictions import (
    PredictionCount,
    count_predictions,
    prediction_facts,
    prediction_warnings,
    require_training_predictions,
    require_validation_predictions,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def write_rows(path, lengths):
    """Rows of so many tokens, of which all but [CLS] and [SEP] can be masked."""
    places, lengths = np.arange(tiny.MAX_LENGTH), np.asarray(lengths)[:, None]
    ids = np.where(places < lengths - 1, 7, np.where(places < lengths, 3, 0))
    ids[:, 0] = 2
    write_tensors(path, ids.astype(np.int64), places >= lengths)
    return {"dataset_path": str(path)}


def drawn(plan, split):
    """The masked tokens of an evaluation, as it draws them."""
    task, rows = plan.task, plan.splits[split]
    seeds = ((plan.config.experiment.seed, EVALUATION_MASKS, i) for i in range(10**6))
    batches = plan.eval_batching.evaluation(rows.lengths)
    return sum(task.batch(rows, b, seed)["weights"].sum() for b, seed in zip(batches, seeds, strict=False))


@settings(deadline=None, derandomize=True, max_examples=12)
@given(
    st.lists(st.integers(2, 6), min_size=1, max_size=20).filter(lambda lengths: max(lengths) > 2),
    st.integers(0, 99),
    st.booleans(),
)
def test_strangers_small_splits_are_counted_to_the_token_and_told(data, lengths, seed, packing):
    split = write_rows(data / "small.pt", lengths)
    sections = {"val": split, "num_length_buckets": 1, "packing": packing}
    config = tiny.pretraining(data, data=sections, mlm_head={"mask_p": 0.3})
    config = config.model_copy(update={"experiment": config.experiment.model_copy(update={"seed": seed})})
    plan = make_plan(config, tiny.Path("/"))
    counts = count_predictions(plan)
    assert counts["val"] == (drawn(plan, "val"), True)
    facts = dict(prediction_facts(plan, counts))
    assert facts["val predictions"] == f"{counts['val']} masked tokens, the same in each evaluation"
    (line,) = (line for line in prediction_warnings(plan, counts) if "validation split" in line)
    expected = f"rest on {counts['val']} masked tokens" if counts["val"].count else "too small: none of its"
    assert expected in line
    assert str(data / "small.pt") in line


def test_large_splits_are_estimated_from_a_part(data, monkeypatch):
    monkeypatch.setattr(predictions, "ENOUGH", 200)
    split = write_rows(data / "large.pt", np.random.default_rng(0).integers(3, tiny.MAX_LENGTH + 1, 2000))
    plan = make_plan(tiny.pretraining(data, data={"val": split, "num_length_buckets": 1}), tiny.Path("/"))
    counts = count_predictions(plan)
    assert not counts["val"].is_exact
    assert counts["val"].count == pytest.approx(drawn(plan, "val"), rel=0.25)
    assert not any("validation" in line for line in prediction_warnings(plan, counts))
    assert [str(PredictionCount(n, is_exact=False)) for n in (4321, 98_765)] == ["about 4,300", "about 99,000"]


def test_rows_of_classifiers_count_and_training_without_a_masked_token_is_told(data):
    plan = make_plan(tiny.finetuning(data), tiny.Path("/"))
    counts = count_predictions(plan)
    assert counts == {"train": (50, True), "val": (12, True), "test": (12, True)}
    assert prediction_facts(plan, counts) == []
    told = list(prediction_warnings(plan, counts))
    assert told == [
        f"warning: the {name} split is small: its figures rest on 12 rows, and so on chance. Put more text into {path}."
        for name, path in {"validation": data / "cls/val.pt", "test": data / "cls/test.pt"}.items()
    ]
    few = write_rows(data / "few.pt", [2] * 30 + [3])
    plan = make_plan(tiny.pretraining(data, data={"train": few}, training={"epochs": 100}), tiny.Path("/"))
    counts = count_predictions(plan)
    require_training_predictions(plan, counts)  # in a later epoch there are some
    first = next(iter(prediction_warnings(plan, counts)))
    assert "the training split is too small: none of its 63 tokens is masked in the first epoch" in first


def test_training_that_predicts_nothing_in_any_epoch_is_refused(data):
    few = write_rows(data / "few.pt", [2] * 30 + [3])
    plan = make_plan(tiny.pretraining(data, data={"train": few}, training={"epochs": 2}), tiny.Path("/"))
    with pytest.raises(
        UserError, match=r"few\.pt: none of its 63 tokens is masked in any epoch.* Put more text into it"
    ):
        require_training_predictions(plan, count_predictions(plan))


def test_patience_without_a_masked_token_in_validation_is_refused(data):
    few = write_rows(data / "few.pt", [3])

    def plan(patience):
        training = {"early_stopping": {"patience": patience}}
        return make_plan(tiny.pretraining(data, data={"val": few}, training=training), tiny.Path("/"))

    require_validation_predictions(plan(0), {"val": PredictionCount(0, is_exact=True)})
    refused = plan(2)
    with pytest.raises(UserError, match=r"none of its 3 tokens is masked, so there is no score .*patience 2"):
        require_validation_predictions(refused, count_predictions(refused))


def test_a_function_that_chooses_nothing_is_named_as_the_cause(data, tmp_path):
    wrapper = tmp_path / "mine.py"
    wrapper.write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    def load(self, folder):\n"
        "        self.vocab_size, self.pad_id, self.special_ids = 60, 0, [0, 1, 2, 3, 4]\n"
        "    def mask_input_for_mlm(self, input_ids, rng, mask_p, mask_token_p, random_token_p):\n"
        "        return input_ids, np.full_like(input_ids, -100)\n"
    )
    sections = {"wrapper_path": str(wrapper), "vocab_dir": str(data / "vocab")}
    plan = make_plan(tiny.pretraining(data, tokenizer=sections), tiny.Path("/"))
    counts, words = count_predictions(plan), plan.train.num_words
    assert words == int(plan.train.lengths.sum()) - 2 * len(plan.train)
    expected = (
        f"mine.py: mask_input_for_mlm chooses none of them to predict, where about {0.15 * words:,.0f} are expected"
    )
    with pytest.raises(UserError) as refused:
        require_training_predictions(plan, counts)
    assert expected in str(refused.value)
    told = [line for line in prediction_warnings(plan, counts) if "validation split" in line]
    assert "mask_input_for_mlm chooses none" in told[0] or plan.splits["val"].num_words * 0.15 < 20
