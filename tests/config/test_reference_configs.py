"""Whole configs of the PyTorch reference, of each generation and as W&B exports them, load unchanged.

`tests/config/test_migration.py` has the rules one by one, and compares these with recorded models where there are any.
"""

from pathlib import Path

import pytest

from textclf_jax.config.file import dump_config, load_config, parse_config
from textclf_jax.config.schema import FinetuningConfig, PretrainingConfig

CONFIGS = sorted((Path(__file__).parent / "reference").glob("*.yaml"))
EXPECTED = {
    "current_pretraining": ("lsh", "rope", 128, 2),
    "current_finetuning": ("mha", "learned", 128, 1),
    "legacy_pretraining": ("mha", "sinusoidal", 100, 1),
}


def test_every_generation_is_here():
    assert len(CONFIGS) == 6
    assert set(EXPECTED) < {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_of_the_reference_loads_and_stays_what_it_is(path):
    loaded = load_config(path)
    config = loaded.config
    assert isinstance(config, PretrainingConfig if "pretraining" in path.stem else FinetuningConfig)
    assert loaded.notes  # what was mapped is said
    # what a run writes down is today's form of it, and means the same
    again = parse_config(dump_config(config).encode(), "config.resolved.yaml")
    assert (again.config, again.notes) == (config, ())
    if path.stem in EXPECTED:
        architecture = config.architecture
        found = (architecture.attention.kind, architecture.pos_encoding, architecture.max_sequence_length)
        assert (*found, architecture.num_layers) == EXPECTED[path.stem]
