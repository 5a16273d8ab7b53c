"""Loading, overriding and dumping config files, and the one message that names all problems."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.config.file import MODELS, Kind, dump_config, format_value, load_config, parse_config
from textclf_jax.config.problems import key_paths, section_at
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig, RunConfig
from textclf_jax.config.yaml_reader import read_document, read_value
from textclf_jax.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
KINDS: tuple[Kind, ...] = ("pretraining", "finetuning")

MINIMAL = """\
experiment:
  name: x
  kind: pretraining
  output_dir: experiments/pretraining/x
tokenizer:
  vocab_dir: vocab
architecture:
  max_sequence_length: 16
  embedding_dim: 8
  num_layers: 2
  mlp_size: 16
  attention:
    num_heads: 2
training:
  learning_rate: 1e-4
  batch_size: 4
  epochs: 1
data:
  train:
    dataset_path: train.pt
"""


def problems_of(text: str, *overrides: str, kind: Kind | None = None) -> list[str]:
    """The lines below the headline of the error message."""
    with pytest.raises(UserError) as caught:
        parse_config(text.encode(), "some/config.yaml", overrides, kind)
    headline, *lines = str(caught.value).splitlines()
    assert headline == "config error in some/config.yaml"
    return lines


def test_a_minimal_config_loads():
    loaded = parse_config(MINIMAL.encode(), "x")
    assert isinstance(loaded.config, PretrainingConfig)
    assert loaded.config.training.learning_rate == 1e-4
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size", "bath_size", 'line 16  training.bath_size: unknown key. Did you mean "batch_size"?'),
        (
            "  epochs: 1",
            "  epochs: 1\n  mask_p: 0.1",
            "line 18  training.mask_p: unknown key here. It belongs under mlm_head.",
        ),
        ("  num_layers", "  num_hashes: 2\n  num_layers", "It belongs under architecture.attention.lsh."),
        ("training:", "classification_head: {}\ntraining:", "line 14  classification_head: only finetuning runs"),
        ("epochs: 1", "epochs: abc", "line 17  training.epochs: expected an integer, got the string 'abc'"),
        ("epochs: 1", "epochs: '1'", "got the string '1'. Remove the quotes."),
        ("epochs: 1", "epochs: 1.5", "expected an integer, got the number 1.5"),
        ("epochs: 1", "epochs: [1]", "expected an integer, got a list of 1"),
        ("epochs: 1", "epochs:", "line 17  training.epochs: expected an integer, got nothing (null)"),
        ("epochs: 1", "epochs: 0", "line 17  training.epochs: 0 is out of range: it must be at least 1"),
        ("epochs: 1", "epochs: 1\n  warmup_ratio: 1.0", "warmup_ratio: 1.0 is out of range: it must be less than 1"),
        ("epochs: 1", "epochs: 1\n  use_amp: yes", "expected true or false, got the string 'yes'"),
        (
            "epochs: 1",
            "epochs: 1\n  device: gpu",
            "expected 'auto', 'cpu' or 'cuda', got the string 'gpu'. Did you mean \"cuda\"?",
        ),
        ("epochs: 1", "epochs: 1\n  device: tpu", "expected 'auto', 'cpu' or 'cuda', got the string 'tpu'"),
        ("1e-4", ".nan", "line 15  training.learning_rate:"),
        ("1e-4", "1e999", "expected a finite number"),
        ("  epochs: 1\n", "", 'line 14  training.epochs: missing. Add "epochs: <integer>" under training'),
        ("    dataset_path: train.pt\n", "    shuffle: true\n", 'missing. Add "dataset_path: <text>" under data.train'),
        ("kind: pretraining", "kind: pretrain", 'Did you mean "pretraining"?'),
        ("vocab_dir: vocab", "vocab_dir: ''", "line 6  tokenizer.vocab_dir: expected a string that is not empty"),
        ("vocab_dir: vocab", "vocab_dir: FILL_VOCAB", "still the placeholder FILL_VOCAB"),
        (
            "num_heads: 2",
            "num_heads: 3",
            "line 13  architecture.attention.num_heads: 3 does not divide embedding_dim 8. Use 2 or 4.",
        ),
        (
            "epochs: 1",
            "epochs: 1\n  freeze_n_layers: 5",
            "line 18  training.freeze_n_layers: 5 is more than the 2 layers there are",
        ),
        (
            "experiment:\n",
            "experiment:\n  name: y\n",
            "line 3  experiment.name: given twice (first on line 2): keep one",
        ),
    ],
)
def test_messages(old, new, expected):
    assert old in MINIMAL
    assert any(expected in line for line in problems_of(MINIMAL.replace(old, new)))


def test_a_missing_section_says_what_it_needs():
    text = MINIMAL[: MINIMAL.index("training:")] + MINIMAL[MINIMAL.index("data:") :]
    expected = "  training: missing section. Add it, with at least learning_rate, batch_size, epochs"
    assert problems_of(text) == [expected]


def test_an_empty_section_is_refused():
    text = MINIMAL.replace("tokenizer:\n  vocab_dir: vocab", "tokenizer:")
    assert problems_of(text) == ["  line 5  tokenizer: expected a section with keys, got nothing (null)"]


def test_all_problems_come_in_one_message_by_line():
    text = MINIMAL.replace("batch_size: 4", "batch_size: 0").replace("num_layers: 2", "num_layers: two")
    text = text.replace("  vocab_dir: vocab", "  vocab_dir: *v").replace("data:", "dta: 1\ndata:")
    lines = problems_of(text, "training.epochs=abc", "nonsense")
    assert [line.split("  ")[1] for line in lines] == [
        "line 6",
        "line 10",
        "line 16",
        "line 18",
        "--set nonsense",
        "--set training.epochs=abc",
    ]
    assert lines[0].endswith("alias *v is not allowed: write the value out")
    assert lines[-1] == "  --set training.epochs=abc  expected an integer, got the string 'abc'"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epochs", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("training..epochs=3", "expected section.key=value"),
        ("training.epochs.deep=3", "training.epochs is a value, not a section"),
        ("training.epoch=3", 'unknown key. Did you mean "epochs"?'),
        ("training.epochs=[1", "not valid YAML"),
        ("architecture.attention.num_heads=3", "3 does not divide embedding_dim 8. Use 2 or 4."),
        ("architecture.attention={}", 'architecture.attention.num_heads: missing. Add "num_heads: <integer>"'),
    ],
)
def test_wrong_overrides_are_shown_as_typed(override, expected):
    (line,) = problems_of(MINIMAL, override)
    assert line.startswith(f"  --set {override}  {expected}")


def test_overrides_are_typed_values():
    overrides = [
        "training.learning_rate=2e-5",
        "training.use_amp=false",
        "logging.wandb.entity=on",
        "data.val.dataset_path=a=b.pt",
        "training.resume.path=",
        "architecture.attention={kind: local, num_heads: 4, local: {window: 7}}",
    ]
    config = parse_config(MINIMAL.encode(), "x", overrides).config
    assert config.training.learning_rate == 2e-5
    assert config.training.use_amp is False
    assert config.logging.wandb.entity == "on"
    assert config.data.val.dataset_path == "a=b.pt"
    assert config.training.resume.path is None
    assert (config.architecture.attention.kind, config.architecture.attention.local.window) == ("local", 7)


def test_data_may_be_in_several_files():
    text = MINIMAL.replace("train.pt", "\n      - a/train-*.pt\n      - b.pt")
    config = parse_config(
        text.encode(), "x", ["data.val.dataset_path=val-?.pt", "data.test.dataset_path=[t.pt]"]
    ).config
    paths = [getattr(config.data, split).dataset_path for split in ("train", "val", "test")]
    assert paths == [("a/train-*.pt", "b.pt"), "val-?.pt", ("t.pt",)]
    assert hash(config) is not None
    assert parse_config(dump_config(config).encode(), "x").config == config


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[]", "got an empty list"),
        ("5", "got 5"),
        ("null", "got nothing (null)"),
        ("''", "got an empty string"),
        ("[a.pt, 5]", "5 in the list is no path"),
        ("[a.pt, ['b.pt']]", "['b.pt'] in the list is no path"),
    ],
)
def test_other_values_are_no_data(value, told):
    (line,) = problems_of(MINIMAL.replace("train.pt", value))
    assert line.startswith("  line 20  data.train.dataset_path: ")
    assert told in line
    assert "a path, a pattern such as data/mlm/train-*.pt, or a list of these" in line


def test_the_wrong_kind_of_run_is_refused():
    expected = "  line 3  experiment.kind: this is a pretraining run, not a finetuning run"
    assert problems_of(MINIMAL, kind="finetuning") == [expected]


def test_dropout_without_effect_is_noted():
    overrides = ["architecture.attention.kind=favor", "architecture.attention.attn_dropout=0.1"]
    (note,) = parse_config(MINIMAL.encode(), "x", overrides).notes
    assert "attn_dropout 0.1 has no effect" in note


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_no_file_a_folder_and_an_empty_file_are_refused(tmp_path, make):
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(UserError, match=r"cannot read the config|config error in"):
        load_config(path)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_config_or_a_user_error(content):
    with pytest.raises(UserError):
        parse_config(content, "x")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["mha", "FILL_X"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["value", "kind", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([path for kind in KINDS for path in key_paths(MODELS[kind])]), VALUES)
def test_any_value_anywhere_gives_a_config_or_a_plain_message(path, value):
    data = node = yaml.safe_load(MINIMAL)
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = value
    message = ""
    try:
        parse_config(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "replace"), "x")
    except UserError as error:
        message = str(error)
    assert not any(words in message for words in ("pydantic", "Input should", "another value"))


# --- dumping --------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12) | st.sampled_from(
    ["1e-4", "010", "on", "~", "null", "0o17", "1_0", "a: b", "# x", "- x", " x ", "'", "=", "<<", "2020-01-01"]
)
PATHS = TEXTS | st.lists(TEXTS, min_size=1, max_size=3)
SHARES = st.floats(0.0, 0.5)
POSITIVES = st.floats(1e-12, 1e12)


@st.composite
def configs(draw) -> RunConfig:
    """Configs with random values in keys of every type."""
    kind = draw(st.sampled_from(KINDS))
    head_dim, heads = 2 * draw(st.integers(1, 64)), draw(st.integers(1, 16))
    chosen = draw(st.sampled_from(["mha", "lsh", "favor", "local"]))
    data: dict[str, Any] = {
        "experiment": {"name": draw(TEXTS), "kind": kind, "output_dir": draw(TEXTS), "seed": draw(st.integers(0, 9))},
        "logging": {"use_wandb": draw(st.booleans()), "wandb": {"entity": draw(st.none() | TEXTS)}},
        "tokenizer": {"vocab_dir": draw(TEXTS)},
        "architecture": {
            "max_sequence_length": draw(st.integers(1, 2**40)),
            "embedding_dim": head_dim * heads,
            "num_layers": draw(st.integers(1, 99)),
            "mlp_size": draw(st.integers(1, 9999)),
            "mlp_dropout": draw(SHARES),
            "rope": {"rope_base": draw(POSITIVES), "rope_scale": draw(st.integers(1, 9))},
            "attention": {"kind": chosen, "num_heads": heads, "favor": {"eps": draw(POSITIVES)}},
        },
        "training": {"learning_rate": draw(POSITIVES), "batch_size": 1, "epochs": 1, "weight_decay": draw(SHARES)},
        "data": {"train": {"dataset_path": draw(PATHS)}, "val": {"dataset_path": draw(st.none() | PATHS)}},
    }
    if kind == "finetuning":
        data["classification_head"] = {"num_labels": 2, "pooler_type": draw(st.sampled_from([None, "bert"]))}
    return MODELS[kind].model_validate(data)


@settings(deadline=None, max_examples=50)
@given(configs())
def test_a_dump_loads_to_an_equal_config(config):
    loaded = parse_config(dump_config(config).encode(), "dump")
    assert loaded.config == config
    assert all("has no effect" in note for note in loaded.notes)


@settings(deadline=None, max_examples=50)
@given(configs())
def test_readers_of_yaml_1_1_see_the_same_values(config):
    assert yaml.safe_load(dump_config(config)) == config.model_dump(mode="json")


def test_small_floats_have_a_dot():
    assert format_value(1e-4) == "0.0001"
    assert format_value(3e-5) == "3.0e-05"


@settings(deadline=None)
@given(st.none() | st.booleans() | st.integers(-99, 99) | POSITIVES | TEXTS)
def test_a_formatted_value_reads_back(value):
    assert read_value(format_value(value)) == value


def test_a_dump_has_every_key():
    document = read_document(dump_config(parse_config(MINIMAL.encode(), "x").config).encode())
    assert set(document.lines) == set(key_paths(PretrainingConfig))


# --- templates and presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_has_every_key_with_defaults_where_there_are_any(kind):
    path = CONFIGS / f"{kind}.yaml"
    loaded = load_config(path, kind=kind)
    assert loaded.notes == ()
    assert set(read_document(path.read_bytes()).lines) == set(key_paths(MODELS[kind]))
    tuned = {("experiment", "seed"), ("data", "val", "dataset_path"), ("data", "test", "dataset_path")}
    tuned |= {("classification_head", "linear", "enabled")}  # new runs have it, configs from before it do not
    if kind == "pretraining":  # as it measures best; the defaults are those of the reference
        dropout = ("mlp_dropout",), ("embedding_dropout",), ("attention", "attn_out_dropout")
        tuned |= {("architecture", *path) for path in dropout} | {("mlm_head", "mask_p"), ("training", "schedule")}
    for key in set(key_paths(MODELS[kind])) - tuned:
        section = section_at(MODELS[kind], key[:-1])
        assert section is not None
        field = section.model_fields[key[-1]]
        if not field.is_required() and section_at(MODELS[kind], key) is None:
            value: Any = loaded.config
            for name in key:
                value = getattr(value, name)
            assert value == field.default, key


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("presets/*.yaml")), ids=lambda path: path.stem)
def test_presets_fit_the_schema(path):
    data = read_document(path.read_bytes()).data
    assert data.keys() == {"architecture", "training"}
    template = read_document((CONFIGS / "pretraining.yaml").read_bytes()).data
    del template["architecture"]["attention"]
    merged = template | {name: template[name] | data[name] for name in data}
    PretrainingConfig.model_validate(merged)


def test_schema_kinds_are_complete():
    assert {"pretraining": PretrainingConfig, "finetuning": FinetuningConfig} == MODELS


# --- freezing that freezes nothing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("freeze_n_layers: 2", "line 18  training.freeze_n_layers: freezes nothing while freeze_epochs is 0. Set"),
        ("freeze_embeddings: true", "line 18  training.freeze_embeddings: freezes nothing while freeze_epochs is 0."),
        ("freeze_epochs: 1", "line 18  training.freeze_epochs: freezes nothing by itself. Set freeze_n_layers or"),
    ],
)
def test_freezing_that_freezes_nothing_is_refused(keys, expected):
    (line,) = problems_of(MINIMAL.replace("epochs: 1", f"epochs: 1\n  {keys}"))
    assert line.strip().startswith(expected)
    override = "training." + keys.replace(": ", "=")
    (line,) = problems_of(MINIMAL, override)
    assert line.strip().startswith(f"--set {override}  ")


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2), st.integers(0, 2), st.booleans(), st.booleans())
def test_strangers_freeze_something_or_are_told(epochs, layers, embeddings, is_older):
    """Ours are refused; those of the reference, which froze nothing then either, load as they are, with a note."""
    keys = {"freeze_epochs": epochs, "freeze_n_layers": layers, "freeze_embeddings": str(embeddings).lower()}
    lines = [f"  {key}: {value}\n" for key, value in keys.items()] + ["  freeze: true\n"] * is_older
    text = MINIMAL.replace("data:\n", "".join(lines) + "data:\n")
    is_idle = (epochs > 0) != (layers > 0 or embeddings)
    if is_idle and not is_older:
        (line,) = problems_of(text)
        assert "freezes nothing" in line
        return
    loaded = parse_config(text.encode(), "x")
    training = loaded.config.training
    assert (training.freeze_epochs, training.freeze_n_layers, training.freeze_embeddings) == (
        epochs,
        layers,
        embeddings,
    )
    assert any("freezes nothing" in note for note in loaded.notes) == is_idle
    if is_idle:  # whoever sets a key today means it
        assert any("freezes nothing" in line for line in problems_of(text, f"training.freeze_n_layers={layers}"))
