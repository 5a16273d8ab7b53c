"""What is read of templates and schema for the reference of keys."""

import pytest

from scripts.docs_site.config_reference import all_keys, comments_by_key, values


def test_comments_belong_to_their_keys():
    text = """# of the file

a:                    # of a
  # above b,
  # in two lines
  b: "x"              # behind b
  c: 1                # behind c,
                      # and below
  d: 2
e: null
"""
    assert comments_by_key(text) == {
        ("a",): "of a",
        ("a", "b"): "behind b. above b, in two lines",
        ("a", "c"): "behind c, and below",
        ("a", "d"): "",
        ("e",): "",
    }


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("experiment.seed", "whole number from 0 below 4,294,967,296"),
        ("training.warmup_ratio", "number from 0 below 1"),
        ("training.max_updates", "whole number from 1 or `null`"),
        ("architecture.pos_encoding", "`learned`, `sinusoidal`, `rope`"),
        ("classification_head.pooler_type", "`bert`, `roberta` or `null`"),
        ("training.class_weights", "`balanced` or a list of numbers or `null`"),
        ("training.use_amp", "`true` or `false`"),
        ("tokenizer.vocab_dir", "text"),
    ],
)
def test_values_are_told_in_words(path, words):
    (schema,) = [key.schema for key in all_keys() if ".".join(key.path) == path]
    assert values(schema) == words


def test_keys_come_before_the_sections_below_them():
    """Otherwise a key would stand under the heading of another section."""
    section = ()
    for key in all_keys():
        section = key.path if key.is_section else section
        assert key.is_section or key.path[:-1] == section
