"""How texts become batches is chosen by the run: by what its attention can do, and by arithmetic."""

import pytest

from tests import tiny
from textclf_jax.data.collate import Bucketed
from textclf_jax.data.packing import Packed
from textclf_jax.errors import UserError
from textclf_jax.training.plan import make_plan


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def batching_of(config):
    return make_plan(config, root=tiny.Path("/")).batching


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_ragged_texts_are_packed(data, build):
    plan = make_plan(build(data), root=tiny.Path("/"))
    assert isinstance(plan.batching, Packed)
    assert isinstance(plan.eval_batching, Packed)
    assert plan.batching.shape[0] < plan.batching.batch_size == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"packing": False}},
        {"architecture": tiny.architecture(attention={"kind": "local"})},
        {"training": {"variant": "reference"}},
    ],
)
def test_texts_have_rows_of_their_own_where_packing_is_not_wanted_or_not_possible(data, changes):
    assert isinstance(batching_of(tiny.pretraining(data, **changes)), Bucketed)


def test_the_order_of_a_file_is_kept(data):
    train = {"dataset_path": str(data / "mlm" / "train.pt"), "shuffle": False}
    assert isinstance(batching_of(tiny.pretraining(data, data={"train": train})), Bucketed)


@pytest.mark.parametrize("build", [tiny.pretraining, tiny.finetuning])
def test_pad_must_have_the_id_0(data, tmp_path, build):
    """With another id, the word that has the id 0 would never learn. Done what the message says, all is sound."""
    words = (tiny.write_vocabulary(tmp_path / "vocab") / "vocab.txt").read_text().split()
    (tmp_path / "vocab" / "vocab.txt").write_text("\n".join([words[5], *words[1:5], words[0], *words[6:]]) + "\n")
    config = build(data, tokenizer={"vocab_dir": str(tmp_path / "vocab")})
    with pytest.raises(UserError, match=r"vocab: the id of \[PAD\] is 5; it must be 0\. Make \[PAD\] the first line"):
        make_plan(config, root=tiny.Path("/"))
    (tmp_path / "vocab" / "vocab.txt").write_text("\n".join(words) + "\n")
    assert make_plan(config, root=tiny.Path("/")).tokenizer.pad_id == 0
