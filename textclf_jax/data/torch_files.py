"""Torch's file format: written whole, read with suspicion; and datasets of plain tensors in it.

Nothing in a file is believed before it is checked: checksums first (torch itself does not look at them), then the names
in the pickle, then a load that can build nothing but tensors, then the tensors' extents.
"""

import ctypes
import mmap
import os
import pickletools
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textclf_jax.errors import UserError

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 1 << 20
MAX_PICKLE_BYTES = 16 << 20  # that of a dataset takes about a kilobyte, of a large model's checkpoint a few hundred
DICT_KEYS = ("input_ids", "attention_mask", "labels")
TENSORS = frozenset({"torch._utils _rebuild_tensor_v2", "collections OrderedDict"})


class Content(NamedTuple):
    """What a file should hold.

    Attributes:
      expected: a sentence for messages: the form, and the way to make such a file.
      harmless: what its pickle may name, "module name", beside the storages of tensors.
    """

    expected: str
    harmless: frozenset[str] = TENSORS


DATASET = Content(
    "Expected: torch.save(TensorDataset(input_ids, attention_mask[, labels]), path), or make it: textclf prepare",
    TENSORS | {"torch.utils.data.dataset TensorDataset"},
)


def write_tensors(path: Path, *arrays: np.ndarray) -> None:
    """Writes arrays as one TensorDataset; the file appears whole or not at all.

    Raises:
      UserError: the folder or disk does not take it.
    """
    import torch
    from torch.utils.data import TensorDataset

    tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays]
    save(path, TensorDataset(*tensors))


def read_tensors(path: Path) -> list[np.ndarray]:
    """Reads the tensors of a TensorDataset, tuple, list or dict (by the keys in DICT_KEYS) that torch.save wrote.

    Args:
      path: the file. It is mapped into memory, not read: rows cost memory when they are used.

    Returns:
      The arrays, read-only, in the file's order.

    Raises:
      UserError: not such a file, damaged, holding anything but plain tensors, or tensors it cannot hold.
    """
    loaded, record_sizes = load(path, DATASET)
    return [_as_array(path, name, tensor, record_sizes) for name, tensor in _tensors_in(path, loaded)]


def release(array: np.ndarray) -> None:
    """Gives back the memory of an array that `read_tensors` returned; its file is read again when it is used again.

    Without this, looking through a file of 10 GB once makes the process 10 GB large. Arrays that are not mapped from a
    file would lose what they hold.
    """
    start = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = array.ctypes.data + array.nbytes - start
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def save(path: Path, thing: Any) -> None:
    """torch.save; the file appears whole or not at all.

    Raises:
      UserError: the folder or disk does not take it.
    """
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


def load(path: Path, content: Content) -> tuple[Any, Counter[int]]:
    """What torch.save wrote to a file, after the checks that the file itself allows.

    Returns:
      The object, its tensors mapped from the file, and how many records the file has of each size in bytes, for
      `check_extent`.

    Raises:
      UserError: no such file, of another kind, damaged, or naming anything but `content.harmless`.
    """
    _check_kind(path, content)
    record_sizes = _check_archive(path, content)
    return _load(path, content), record_sizes


def check_extent(path: Path, name: str, tensor: "torch.Tensor", record_sizes: Counter[int], content: Content) -> None:
    """Raises UserError unless a tensor is dense, on the CPU, and no longer than its record in the file."""
    import torch

    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise UserError(f"{path}: {name} is not a plain dense tensor. {content.expected}")
    stored = tensor.untyped_storage().nbytes()
    needed = (tensor.storage_offset() + tensor.numel()) * tensor.element_size()
    if stored not in record_sizes or needed > stored:
        raise UserError(f"{path}: {name} claims {max(needed, stored)} bytes, which no record of the file has")


# --- before torch sees the file -------------------------------------------------------------------------------


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
    """What a file that is no zip seems to be."""
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
        if error.start < len(head) - 4:  # later: only a character cut in two
            return "is not a file that torch.save wrote"
    return "is a text file, not one that torch.save wrote"


def _check_archive(path: Path, content: Content) -> Counter[int]:
    """Verifies the zip: plain records that fit the file, right checksums, harmless names in the pickle.

    Returns:
      How many records there are of each size in bytes.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            _check_directory(path, records)
            for record in records:
                with archive.open(record) as stream:
                    while stream.read(CHUNK_BYTES):  # the last read compares the checksum
                        pass
            pickles = [record for record in records if record.filename.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise UserError(f"{path}: is a zip, but not one that torch.save wrote. {content.expected}")
            if pickles[0].file_size > MAX_PICKLE_BYTES:
                raise UserError(f"{path}: describes its objects in {pickles[0].file_size} bytes. {content.expected}")
            with archive.open(pickles[0]) as stream:
                _check_names(path, stream, content)
            return Counter(record.file_size for record in records)
    except UserError:
        raise
    except Exception as error:  # zipfile and pickletools meet damage with many kinds of exception
        raise UserError(
            f"{path}: is damaged or cut off ({error or type(error).__name__}). Copy or make the file again."
        ) from error


def _check_directory(path: Path, records: list[zipfile.ZipInfo]) -> None:
    """Raises UserError for what torch.save never writes: compression, encryption, double or overlapping records."""
    size = path.stat().st_size
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise UserError(f"{path}: record {record.filename} is compressed, so this is not torch.save's own file")
        if record.flag_bits & 0x1:
            raise UserError(f"{path}: record {record.filename} is encrypted")
    if len({record.filename for record in records}) < len(records):
        raise UserError(f"{path}: two records have the same name, so this is not torch.save's own file")
    if sum(record.file_size for record in records) > size:
        raise UserError(f"{path}: is damaged: its records claim more than the {size} bytes there are")


def _check_names(path: Path, stream: IO[bytes], content: Content) -> None:
    """Raises UserError where the pickle names anything but what is harmless and the storages of tensors."""
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name not in ("GLOBAL", "STACK_GLOBAL", "INST"):
            continue
        name = str(argument)
        if name in content.harmless or (name.startswith("torch ") and name.endswith("Storage")):
            continue
        shown = name.replace(" ", ".") if argument else "objects of a newer pickle protocol"
        raise UserError(
            f"{path}: holds {shown}, not only plain tensors. It was refused, and nothing in it ran. {content.expected}"
        )


# --- loading --------------------------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(path: Path, content: Content) -> Any:
    """What the file holds; only tensors and TensorDataset can be built, whatever the environment says."""
    import torch
    from torch.utils.data import TensorDataset

    try:
        with _quiet(), torch.serialization.safe_globals([TensorDataset]):
            # weights_only is given, so that TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD has no say
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch's own message is withheld: it may advise an unsafe load
        raise UserError(f"{path}: torch could not read it ({type(error).__name__}). {content.expected}") from None


def _tensors_in(path: Path, loaded: Any) -> list[tuple[str, "torch.Tensor"]]:
    """Named tensors of the accepted containers."""
    import torch
    from torch.utils.data import TensorDataset

    if isinstance(loaded, Mapping):
        missing = [key for key in DICT_KEYS[:2] if key not in loaded]
        extra = [str(key) for key in loaded if key not in DICT_KEYS]
        if missing or extra:
            raise UserError(f"{path}: is a dict with the keys {', '.join(map(str, loaded))}. {DATASET.expected}")
        named = [(key, loaded[key]) for key in DICT_KEYS if key in loaded]
    else:
        tensors = getattr(loaded, "tensors", None) if isinstance(loaded, TensorDataset) else loaded
        if not isinstance(tensors, tuple | list):
            raise UserError(f"{path}: holds one {type(loaded).__name__}. {DATASET.expected}")
        named = [(f"tensor {i}", tensor) for i, tensor in enumerate(tensors)]
    for name, tensor in named:
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{path}: {name} is a {type(tensor).__name__}, not a tensor. {DATASET.expected}")
    return named


def _as_array(path: Path, name: str, tensor: "torch.Tensor", record_sizes: Counter[int]) -> np.ndarray:
    """The tensor as a read-only array, if it is dense, contiguous and no longer than its record in the file."""
    import torch

    if tensor.layout == torch.strided and not tensor.is_contiguous():
        raise UserError(f"{path}: {name} is a view (strides {tuple(tensor.stride())}). Save its .contiguous() copy")
    check_extent(path, name, tensor, record_sizes, DATASET)
    if tensor.dtype == torch.bfloat16:
        raise UserError(f"{path}: {name} is bfloat16; ids and labels are int64, masks bool")
    array = tensor.detach().numpy()
    array.flags.writeable = False
    return array
