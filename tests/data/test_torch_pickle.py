"""Pickles read as descriptions: what torch writes is understood, and anything else named or done is refused."""

import collections
import io
import os
import pickle
from pathlib import PurePosixPath

import pytest

from textclf_jax.data.torch_pickle import Instance, StoredTensor, UnsafePickleError, describe_pickle

TENSOR, DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
# ("storage", torch.LongStorage, "7", "cpu", 144), as a persistent id
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nLongStorage\nX\x01\x00\x00\x007X\x03\x00\x00\x00cpuK\x90tQ"


def of(raw: bytes, *allowed: str):
    return describe_pickle(io.BytesIO(raw), allowed)


def tensor_of(shape: bytes, strides: bytes, storage: bytes = STORAGE, offset: bytes = b"K\x05") -> bytes:
    """The pickle of a tensor."""
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89}tR."


def test_plain_values():
    thing = {"a": [1, -2, 3.5, None, True, 1 << 40], 7: ("x", (), ("é", [[]]), (1, 2, 3, 4)), "b": False, "": {}}
    for protocol in (2, 3):
        assert of(pickle.dumps(thing, protocol)) == thing


def test_a_shared_list_is_one():
    inner = [1]
    outer = of(pickle.dumps([inner, inner], 2))
    assert outer == [[1], [1]]
    assert outer[0] is outer[1]


def test_a_tensor():
    found = of(tensor_of(b"K\x06K\x18\x86", b"K\x18K\x01\x86"), TENSOR)
    assert found == StoredTensor("7", "LongStorage", 144, 5, (6, 24), (24, 1))


def test_an_object_of_a_named_class():
    found = of(b"\x80\x02cpackage.module\nThing\n)\x81}X\x01\x00\x00\x00aK\x01sb.", "package.module Thing")
    assert isinstance(found, Instance)
    assert (found.name, found.attributes) == ("package.module Thing", {"a": 1})


def test_an_ordered_dict():
    assert of(pickle.dumps(collections.OrderedDict(a=1, b=[2]), 2), DICT) == {"a": 1, "b": [2]}


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_not_allowed_is_refused(tmp_path, protocol):
    for thing in (Calls(os.mkdir, str(tmp_path / "made")), Calls(eval, "1"), PurePosixPath("x"), {1, 2}, 1j):
        with pytest.raises(UnsafePickleError):
            of(pickle.dumps([thing], protocol), TENSOR, DICT)
    assert not list(tmp_path.iterdir())


def test_what_is_refused_is_named():
    with pytest.raises(UnsafePickleError, match=r"^(posix|nt)\.mkdir$"):
        of(pickle.dumps(Calls(os.mkdir, "x"), 2))


@pytest.mark.parametrize(
    "raw",
    [
        tensor_of(b"K\x06\x85", b"K\x18K\x01\x86"),  # more strides than axes
        tensor_of(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),  # -1 rows
        tensor_of(b"K\x06\x85", b"K\x01\x85", offset=b"J\xff\xff\xff\xff"),
        tensor_of(b"\x8a\xff" + b"\x7f" * 255 + b"\x85", b"K\x01\x85"),  # 2^2000 rows
        tensor_of(b"(" + b"K\x01" * 65 + b"t", b"(" + b"K\x01" * 65 + b"t"),
        tensor_of(b"\x88\x85", b"K\x01\x85"),  # True rows
        tensor_of(b"X\x01\x00\x00\x006", b"K\x01\x85"),  # "6" for a shape
        tensor_of(b"K\x06\x85", b"K\x01\x85", storage=b"K\x01"),
        tensor_of(b"K\x06\x85", b"K\x01\x85", storage=b"(K\x01K\x02K\x03K\x04K\x05tQ"),
        b"\x80\x02.",  # nothing
        b"\x80\x02K\x01K\x02.",  # two things
        b"\x80\x02K\x01\x86.",  # a pair of one
        b"\x80\x02t.",  # a group without a beginning
        b"\x80\x02h\x00.",  # remembers what it was not given
        b"\x80\x02}(](K\x01esu.",  # a list as a key
        b"\x80\x02K\x01K\x02a.",  # appends to a number
        b"\x80\x02K\x01)R.",  # calls a number
        b"\x80\x02K\x01)\x81.",  # a number for a class
        b"\x80\x02]",  # cut off
    ],
)
def test_damage(raw):
    with pytest.raises(Exception) as caught:
        of(raw, TENSOR)
    assert not isinstance(caught.value, UnsafePickleError)


def test_a_tower_of_tuples_takes_no_time():
    """Each twice the one before: 2^60 leaves, which nothing may visit."""
    tower = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
    assert len(of(b"\x80\x02](" + tower + b"e.")) == 61
    for call in (b"ctorch\ndevice\nh\x3c\x85R", b"ctorch\nSize\nh\x3c\x85RK\x01\x85}s"):
        with pytest.raises(ValueError, match=r"^it has a tuple in the place of"):
            of(b"\x80\x02](" + tower + call + b"e.", "torch device", "torch Size")
