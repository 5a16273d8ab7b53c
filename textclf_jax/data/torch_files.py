"""PyTorch's files of tensors: written with torch, read without it and without running anything in them.

A file is checked in this order: its checksums (torch itself does not compare them), what its pickle describes
(`torch_pickle`), and whether the tensors lie within the file. Reading without torch starts a second sooner and takes
190 MB less.
"""

import ctypes
import errno
import mmap
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from textclf_jax.data.torch_pickle import Instance, StoredTensor, UnsafePickleError, describe_pickle
from textclf_jax.errors import UserError
from textclf_jax.extras import require

CHUNK_BYTES = 1 << 20
ROWS_CHUNK_BYTES = 32 << 20
MAX_PICKLE_BYTES = 16 << 20  # a dataset's pickle takes about a kilobyte, a large model's a few hundred
LOCAL_HEADER_BYTES = 30  # of a zip's record, before its name
DICT_KEYS = ("input_ids", "attention_mask", "labels")
TENSORS = frozenset({"torch._utils _rebuild_tensor_v2", "collections OrderedDict"})
TENSOR_DATASET = "torch.utils.data.dataset TensorDataset"
DTYPES: dict[str, Any] = {
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
}


class Content(NamedTuple):
    """What a file should hold.

    Attributes:
      expected: a sentence for messages: the form, and the way to make such a file.
      allowed: the classes and functions ("module name") that its pickle may name, beside the storages of tensors.
    """

    expected: str
    allowed: frozenset[str] = TENSORS


DATASET = Content(
    "Expected: torch.save(TensorDataset(input_ids, attention_mask[, labels]), path), or make it: textclf prepare",
    TENSORS | {TENSOR_DATASET},
)


@dataclass(frozen=True)
class TorchFile:
    """A checked file that torch.save wrote; tensors are read from it when they are used.

    Attributes:
      path, content: the file, and what it should hold.
      described: the object in it, from `torch_pickle.describe_pickle`.
      records: the read-only bytes of each storage, by `StoredTensor.record`.
    """

    path: Path
    content: Content
    described: Any
    records: Mapping[str, memoryview]

    def array(self, name: str, tensor: StoredTensor) -> np.ndarray:
        """Maps a tensor into memory as a read-only array with the tensor's strides; `name` is for messages.

        Raises:
          UserError: its dtype is not in DTYPES, or it claims more bytes than its record has.
        """
        if tensor.storage not in DTYPES:
            raise UserError(f"{self.path}: {name} is of torch's {tensor.storage}. {self.content.expected}")
        dtype, record = np.dtype(DTYPES[tensor.storage]), self.records.get(tensor.record, memoryview(b""))
        count = int(np.prod(tensor.shape, dtype=object))
        claimed = max(tensor.offset + count, tensor.stored) * dtype.itemsize
        if claimed > len(record):
            raise UserError(f"{self.path}: {name} claims {claimed} bytes, which its record of the file does not have")
        if count == 0:
            return np.zeros(tensor.shape, dtype)
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        try:
            return np.ndarray(tensor.shape, dtype, record, tensor.offset * dtype.itemsize, strides)
        except (ValueError, OverflowError) as error:
            raise UserError(f"{self.path}: {name} reaches beyond its record of the file ({error})") from None


def write_tensors(path: Path, *arrays: np.ndarray) -> None:
    """Writes arrays as one TensorDataset; raises as `save` does."""
    require("torch", f"{path}: writing .pt files")
    import torch
    from torch.utils.data import TensorDataset

    tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays]
    save(path, TensorDataset(*tensors))


def read_tensors(path: Path) -> list[np.ndarray]:
    """Reads the tensors of a TensorDataset, tuple, list or dict (by the keys in DICT_KEYS) that torch.save wrote.

    Returns:
      The arrays in the file's order, read-only and memory-mapped: rows cost memory when they are used.

    Raises:
      UserError: no such file, a damaged one, or one with anything but plain tensors in it.
    """
    file = read_file(path, DATASET)
    return [_plain_array(file, name, tensor) for name, tensor in _tensors_in(path, file.described)]


def release_memory(array: np.ndarray) -> None:
    """Frees the memory of an array from `read_tensors`; later use reads the file again.

    Without this, going through a file of 10 GB once makes the process 10 GB large. Never call it with an array that is
    not mapped from a file: its values would be lost.
    """
    start = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = array.ctypes.data + array.nbytes - start
    if length > 0 and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def chunks_of(*arrays: np.ndarray) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yields (first row's number, rows) of arrays from `read_tensors`, 32 MiB at a time; then frees their memory."""
    count = max(1, ROWS_CHUNK_BYTES * len(arrays[0]) // max(1, arrays[0].nbytes))
    for start in range(0, len(arrays[0]), count):
        parts = [array[start : start + count] for array in arrays]
        yield start, parts
        for part in parts:
            release_memory(part)


def save(path: Path, thing: Any) -> None:
    """Writes an object with torch.save; the file appears whole or not at all.

    Raises:
      UserError: the file cannot be written, for instance because the disk is full.
    """
    require("torch", f"{path}: writing files of torch")
    import torch

    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save(thing, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        raise UserError(f"{path}: cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def read_file(path: Path, content: Content) -> TorchFile:
    """Reads a file that torch.save wrote; which tensors it holds is for the caller to check.

    Raises:
      UserError: no such file, one of another kind, a damaged one, or one that names anything but `content.allowed`.
    """
    _check_kind(path, content)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_records(path, archive)
            return _read_archive(path, file, archive, content)
    except UserError:
        raise
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise UserError(
                f"{path}: too many files are open. Allow more (ulimit -n 65536), or make fewer and larger ones."
            ) from None
        raise _damaged(path, error) from error
    except UnsafePickleError as error:
        raise UserError(
            f"{path}: holds {error}, not only plain tensors. It was refused, and nothing in it ran. {content.expected}"
        ) from None
    except Exception as error:  # zipfile and pickletools raise many kinds of exception for damaged files
        raise _damaged(path, error) from error


# --- the file ---------------------------------------------------------------------------------------------------


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: is damaged or cut off ({error or type(error).__name__}). Copy or make the file again.")


def _check_kind(path: Path, content: Content) -> None:
    """Raises UserError unless the file looks like a zip, and says what it is instead."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: is a folder; name the file in it")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file. {content.expected}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not head.startswith(b"PK\x03\x04"):
        raise UserError(f"{path}: {_describe(head)}. {content.expected}")


def _describe(head: bytes) -> str:
    """What a file that is no zip seems to be, judged by its first 512 bytes."""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the data: run git lfs pull"
    if not head.strip(b"\0"):
        return "begins with NUL bytes: the file was not written completely"
    if head.startswith(b"\x80"):
        return "is a bare pickle or of torch's format before 1.6; neither is read, because loading one can run code"
    if head.startswith(b"\x1f\x8b"):
        return "is gzip-compressed: decompress it first"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # an error after that may be a character that byte 512 cuts in two
            return "is not a file that torch.save wrote"
    return "is a text file, not one that torch.save wrote"


def _check_records(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises for records that torch.save never writes (compressed, encrypted, doubled, overlapping) or are damaged."""
    size, records = path.stat().st_size, archive.infolist()
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise UserError(f"{path}: record {record.filename} is compressed, so this is not torch.save's own file")
        if record.flag_bits & 0x1:
            raise UserError(f"{path}: record {record.filename} is encrypted")
    if len({record.filename for record in records}) < len(records):
        raise UserError(f"{path}: two records have the same name, so this is not torch.save's own file")
    if sum(record.file_size for record in records) > size:
        raise UserError(f"{path}: is damaged: its records claim more than the {size} bytes there are")
    for record in records:
        with archive.open(record) as stream:
            while stream.read(CHUNK_BYTES):  # at the end of the record zipfile compares the checksum
                pass


def _read_archive(path: Path, file: IO[bytes], archive: zipfile.ZipFile, content: Content) -> TorchFile:
    """Reads the pickle of an archive, and maps its records into memory."""
    records = {record.filename: record for record in archive.infolist()}
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError(f"{path}: is a zip, but not one that torch.save wrote. {content.expected}")
    if records[pickles[0]].file_size > MAX_PICKLE_BYTES:
        raise UserError(f"{path}: describes its objects in {records[pickles[0]].file_size} bytes. {content.expected}")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "byteorder" in records and archive.read(folder + "byteorder") != b"little":
        raise UserError(f"{path}: was saved on a machine of another byte order; save it again on this one")
    with archive.open(pickles[0]) as stream:
        described = describe_pickle(stream, content.allowed)
    mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    data = folder + "data/"
    storages = {name.removeprefix(data): record for name, record in records.items() if name.startswith(data)}
    return TorchFile(path, content, described, {name: mapped[_extent(mapped, r)] for name, r in storages.items()})


def _extent(mapped: memoryview, record: zipfile.ZipInfo) -> slice:
    """Where a record's bytes are: after the header, its name and padding; the header ends with the lengths of both."""
    header = mapped[record.header_offset : record.header_offset + LOCAL_HEADER_BYTES]
    start = record.header_offset + LOCAL_HEADER_BYTES + sum(np.frombuffer(header[-4:], "<u2").tolist())
    return slice(start, start + record.file_size)


# --- what is in it ----------------------------------------------------------------------------------------------


def _tensors_in(path: Path, described: Any) -> list[tuple[str, StoredTensor]]:
    """The tensors of an accepted container, with names for messages."""
    if isinstance(described, dict):
        missing = [key for key in DICT_KEYS[:2] if key not in described]
        extra = [str(key) for key in described if key not in DICT_KEYS]
        if missing or extra:
            raise UserError(f"{path}: is a dict with the keys {', '.join(map(str, described))}. {DATASET.expected}")
        named = [(key, described[key]) for key in DICT_KEYS if key in described]
    else:
        tensors = described.attributes.get("tensors") if isinstance(described, Instance) else described
        if not isinstance(tensors, tuple | list) or isinstance(tensors, StoredTensor):
            raise UserError(f"{path}: holds one {kind_of(described)}. {DATASET.expected}")
        named = [(f"tensor {i}", tensor) for i, tensor in enumerate(tensors)]
    for name, tensor in named:
        if not isinstance(tensor, StoredTensor):
            raise UserError(f"{path}: {name} is a {kind_of(tensor)}, not a tensor. {DATASET.expected}")
    return named


def kind_of(described: Any) -> str:
    """The type of a described object, for messages."""
    if isinstance(described, StoredTensor):
        return "Tensor"
    return described.name.split()[-1] if isinstance(described, Instance) else type(described).__name__


def _plain_array(file: TorchFile, name: str, tensor: StoredTensor) -> np.ndarray:
    """The tensor as an array; raises UserError for views and bfloat16."""
    array = file.array(name, tensor) if _is_contiguous(tensor) else None
    if array is None:
        raise UserError(f"{file.path}: {name} is a view (strides {tensor.strides}). Save its .contiguous() copy")
    if array.dtype == ml_dtypes.bfloat16:
        raise UserError(f"{file.path}: {name} is bfloat16; ids and labels are int64, masks bool")
    return array


def _is_contiguous(tensor: StoredTensor) -> bool:
    """Whether the elements lie in C order without gaps; strides of axes with one element do not matter."""
    step = 1
    for size, stride in reversed(list(zip(tensor.shape, tensor.strides, strict=True))):
        if size > 1 and stride != step:
            return 0 in tensor.shape
        step *= size
    return True
