"""Files of tensors as torch.save writes them, written without torch, for environments that have none."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage"}


def write_plain_tensors(path: Path, *arrays: np.ndarray) -> None:
    """Writes a tuple of tensors."""
    tensors = b"".join(_tensor(str(i), array) for i, array in enumerate(arrays))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02(" + tensors + b"t.")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for i, array in enumerate(arrays):
            archive.writestr(f"archive/data/{i}", np.ascontiguousarray(array).tobytes())


def _tensor(key: str, array: np.ndarray) -> bytes:
    """The pickle of a call of torch's function that rebuilds a tensor from its storage."""
    storage = f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
    place = b"(" + _plain("storage") + storage + _plain(key) + _plain("cpu") + _plain(array.size) + b"tQ"
    strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
    arguments = place + _plain(0) + _plain(array.shape) + _plain(strides) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _plain(value: Any) -> bytes:
    """The pickle of a number, a string or a tuple, without its first and last opcode."""
    return pickle.dumps(value, protocol=2)[2:-1]
