"""How names of classes are compared, which are refused, and labels.txt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf_jax.class_names import check_class_names, closest, folded, read_class_names, same_name
from textclf_jax.errors import UserError

NAMES = st.lists(st.text(st.sampled_from("ab e\u0301\u00e9\u200b\u2028\x85\r\t,"), max_size=4), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", " \t"], "file: line 2: the class name is blank"),
        (["a", "b\u2028c"], r"file: line 2: the class name 'b.u2028c' has a line break in it"),
        (["caf\u00e9", "b", "cafe\u0301 "], "file: line 1 and line 3 are both 'caf\u00e9': class names must differ"),
    ],
)
def test_names_that_are_none(names, words):
    with pytest.raises(UserError, match=words):
        check_class_names("file", names, "line", first=1)


def test_names_are_given_as_they_are_compared():
    assert check_class_names("file", [" a ", "cafe\u0301"], "id2label") == ["a", "caf\u00e9"]


def test_names_that_look_alike():
    assert closest("GOOD", ["bad", "go od"]) == " Did you mean 'go od'?"
    assert closest("a\u200bb", ["ab"]) == " Did you mean 'ab'?"
    assert closest("1.0", ["0", "1"]) == " Did you mean '1'?"
    assert closest("c", ["ab"]) == ""
    assert folded("\uff21 b") == folded("ab")


def test_labels_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"labels.txt: cannot be read \(No such file"):
        read_class_names(tmp_path / "labels.txt")
    (tmp_path / "labels.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"labels.txt: is not UTF-8 text \(byte 2\)"):
        read_class_names(tmp_path / "labels.txt")


@settings(deadline=None, derandomize=True, max_examples=40)
@given(names=NAMES)
def test_strangers_among_names_come_back_from_a_file_or_are_refused(tmp_path_factory, names):
    """What the check takes, a file gives back; and no two of them are the same."""
    path = tmp_path_factory.mktemp("names") / "labels.txt"
    path.write_bytes("".join(f"{name}\n" for name in names).encode())
    try:
        checked = check_class_names("file", names, "line")
    except UserError:
        with pytest.raises(UserError):
            read_class_names(path)
        return
    assert checked == [same_name(name) for name in read_class_names(path)]
    assert len(set(checked)) == len(names)
