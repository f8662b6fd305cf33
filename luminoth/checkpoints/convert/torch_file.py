"""torch's files (`.pth`, `.pt`) without torch: {name: array}.

Two forms are met. Since torch 1.6 a file is a zip archive, uncompressed:

    <any>/data.pkl     a pickle in which tensors are calls of `torch._utils._rebuild_tensor_v2(storage, offset, size,
                       stride, ...)` and storages are persistent ids ('storage', type, key, device, element count)
    <any>/data/<key>   the bytes of each storage
    <any>/byteorder    little or big; absent in older files

Before, it was a stream: three pickles (a magic number, the protocol's version, facts about the machine), the same
pickle of tensors with persistent ids of one more field, a pickled list of keys, and for each key an 8-byte element
count and the bytes. Some published weights are still in that form.

Reference: torch/serialization.py and torch/_utils.py of torch 2.13.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from luminoth.checkpoints.convert.safe_pickle import BoundedReader, Name, PickleError, read_pickle, shown
from luminoth.errors import CheckpointError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_ZIP_MAGIC = b"PK\x03\x04"
# The magic number is the first value of the first pickle, whatever protocol wrote it.
_STREAM_MAGIC = _MAGIC_NUMBER.to_bytes(10, "little")
_MAGIC_WITHIN = 32

# Where training scripts keep the weights among other things.
_STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
    "UntypedStorage": "|u1",
}
_DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": _BFLOAT16,
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "|u1",
    "bool": "|b1",
}
_MOST_DIMENSIONS = 32


def is_torch_file(path: str | os.PathLike) -> bool:
    """Whether a file begins as torch's files do, or as any zip archive.

    Raises:
        CheckpointError: it cannot be read.
    """
    with _refusing(Path(path)), open(path, "rb") as file:
        start = file.read(_MAGIC_WITHIN)
        return start.startswith(_ZIP_MAGIC) or _STREAM_MAGIC in start


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The state dict in a file that torch saved; nothing in the file is run.

    Args:
        path: a state dict, or a dictionary that holds one under `model`, `state_dict` or `model_state_dict` beside
            an optimizer's state and the like.

    Returns:
        Name -> array, in the order of the file, in torch's layout. The arrays are read-only views (several may share
        memory, strides may be any); bfloat16 became float32, all other types are what they were.

    Raises:
        CheckpointError: the file is missing, cut short, damaged, of another kind, or asks for anything but tensors.
    """
    path = Path(path)
    with _refusing(path), open(path, "rb") as file:
        start = file.read(len(_ZIP_MAGIC))
        file.seek(0)
        read = _read_zip if start == _ZIP_MAGIC else _read_stream
        value, storages = read(file, os.fstat(file.fileno()).st_size)
        arrays: dict[tuple[str, str], np.ndarray] = {}
        return {name: _to_array(tensor, name, storages, arrays) for name, tensor in _state_dict(value).items()}


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Whatever a hostile or damaged file leads to becomes one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: is cut short or damaged ({error}); fetch or copy it again and compare its checksum"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, EOFError, RuntimeError, struct.error) as error:
        raise CheckpointError(f"{path}: is damaged ({error})") from error


# --- What the pickle speaks of ------------------------------------------------------------------------------------


class _Storage(NamedTuple):
    """Elements `first` to `first + count` of the `total` that are kept under `key`.

    That is all of them except in files of the first torch versions, which know views of storages.
    """

    key: str
    dtype: str
    total: int
    first: int
    count: int


class _Tensor(NamedTuple):
    """How to look at a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: Any, size: Any, strides: Any, *_: Any) -> _Tensor:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2; what follows says how it is trained."""
    shapes_fit = isinstance(size, tuple) and isinstance(strides, tuple) and len(size) == len(strides)
    if not (isinstance(storage, _Storage) and shapes_fit):
        raise PickleError("is damaged: a tensor is not made of a storage, an offset, sizes and strides")
    if not all(_is_count(number) for number in (offset, *size, *strides)) or len(size) > _MOST_DIMENSIONS:
        raise PickleError("is damaged: a tensor's offset, sizes or strides are no numbers that a tensor can have")
    return _Tensor(storage, offset, size, strides)


def _tensor_of_type(
    storage: Any, offset: Any, size: Any, strides: Any, gradient: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> _Tensor:
    """torch._utils._rebuild_tensor_v3: bytes without a type of their own, and the type."""
    if not isinstance(storage, _Storage) or not isinstance(dtype, Name) or dtype.name not in _DTYPE_NAMES:
        raise PickleError("is damaged: a tensor has no type")
    if storage.dtype != "|u1":
        raise PickleError("is damaged: a tensor has two types")
    of_type = _DTYPE_NAMES[dtype.name]
    count = storage.total // _itemsize(of_type)
    return _tensor(_Storage(storage.key, of_type, count, 0, count), offset, size, strides)


def _parameter(tensor: Any, *_: Any) -> _Tensor:
    """torch._utils._rebuild_parameter: a tensor that is trained."""
    if not isinstance(tensor, _Tensor):
        raise PickleError("is damaged: a parameter holds no tensor")
    return tensor


def _ordered_dict(*items: Any) -> dict[Any, Any]:
    """collections.OrderedDict, which torch always makes empty and fills afterwards."""
    if items:
        raise PickleError("is damaged: an OrderedDict is not made empty")
    return {}


_STORAGE_NAMES = {f"torch.{name}": dtype for name, dtype in _STORAGES.items()}
_STORAGE_NAMES |= {f"torch.storage.{name}": dtype for name, dtype in _STORAGES.items()}
_DTYPE_NAMES = {f"torch.{name}": dtype for name, dtype in _DTYPES.items()}
_NAMES: Mapping[str, Callable[..., Any] | None] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered_dict,
    **dict.fromkeys(_STORAGE_NAMES),
    **dict.fromkeys(_DTYPE_NAMES),
}


def _storage(identity: Any) -> _Storage:
    """The storage of a persistent id: of five fields in a zip archive, of six in a stream."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise PickleError("holds something else than tensors; expected: a state dict (`model.state_dict()`)")
    _, kind, key, _, count, *view = identity
    is_known = isinstance(kind, Name) and kind.name in _STORAGE_NAMES
    if not (is_known and isinstance(key, str) and _is_count(count)):
        raise PickleError("is damaged: a storage has no type, key or element count")
    first, part = 0, count
    if view and view[0] is not None:
        if not isinstance(view[0], tuple) or len(view[0]) != 3 or not all(map(_is_count, view[0][1:])):
            raise PickleError("is damaged: a part of a storage has no place")
        _, first, part = view[0]
    return _Storage(key, _STORAGE_NAMES[kind.name], count, first, part)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 62


# --- The two forms ------------------------------------------------------------------------------------------------

# Key of a storage and its dtype -> its bytes.
_Storages = Callable[[str, str], bytes]


def _read_zip(file: BinaryIO, file_size: int) -> tuple[Any, _Storages]:
    archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise CheckpointError(f"{shown(info.filename)} in it is compressed or encrypted, which torch never does")
    if sum(info.file_size for info in members.values()) > file_size:
        raise CheckpointError("is damaged: it claims to hold more bytes than it has")
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError("is a zip archive, but none that torch saved: there is no data.pkl in it")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in members and archive.read(f"{prefix}byteorder") != b"little":
        raise CheckpointError("was written by a big-endian machine; only little-endian files can be read")

    def storages(key: str, dtype: str) -> bytes:
        info = members.get(f"{prefix}data/{key}")
        if info is None:
            raise CheckpointError(f"is incomplete: {shown(prefix)}data/{shown(key)} is missing in it")
        return archive.read(info)

    pickled = archive.read(pickles[0])
    return read_pickle(BoundedReader(io.BytesIO(pickled), len(pickled)), _NAMES, persistent=_storage), storages


def _read_stream(file: BinaryIO, file_size: int) -> tuple[Any, _Storages]:
    reader = BoundedReader(file, file_size)
    try:
        magic = read_pickle(reader, {})
    except PickleError as error:
        raise CheckpointError(f"is no file of torch, or damaged from its first bytes on ({error})") from error
    if magic != _MAGIC_NUMBER:
        raise CheckpointError("is a pickle, but none that torch saved: its magic number is missing")
    _protocol, machine = read_pickle(reader, {}), read_pickle(reader, {})
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("was written by a big-endian machine; only little-endian files can be read")
    kinds: dict[str, str] = {}

    def storage(identity: Any) -> _Storage:
        found = _storage(identity)
        if kinds.setdefault(found.key, found.dtype) != found.dtype:
            raise PickleError(f"is damaged: storage {shown(found.key)} is of two types")
        return found

    value = read_pickle(reader, _NAMES, persistent=storage)
    keys = read_pickle(reader, {})
    if not isinstance(keys, list):
        raise CheckpointError("is damaged: the list of its storages is missing")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in kinds:
            raise CheckpointError("is damaged: it lists a storage that no tensor uses")
        (count,) = struct.unpack("<q", _exactly(reader, 8))
        size = count * _itemsize(kinds[key])
        places[key] = (file.tell(), size)
        if count < 0 or file.tell() + size > file_size:
            raise CheckpointError(f"is cut short: storage {shown(key)} does not end within it")
        file.seek(size, os.SEEK_CUR)

    def storages(key: str, dtype: str) -> bytes:
        if key not in places:
            raise CheckpointError(f"is incomplete: storage {shown(key)} is missing in it")
        start, size = places[key]
        file.seek(start)
        return _exactly(reader, size)

    return value, storages


def _exactly(reader: BoundedReader, count: int) -> bytes:
    content = reader.read(count)
    if len(content) != count:
        raise CheckpointError("is cut short")
    return content


# --- From tensors to arrays ---------------------------------------------------------------------------------------


def _state_dict(value: Any) -> dict[str, _Tensor]:
    """The tensors by name, wherever in the file they are."""
    if not isinstance(value, dict):
        raise CheckpointError("holds no dictionary; expected: a state dict (`model.state_dict()`)")
    for key in _STATE_DICT_KEYS:
        if isinstance(value.get(key), dict):
            value = value[key]
            break
    others = [name for name, each in value.items() if not (isinstance(name, str) and isinstance(each, _Tensor))]
    if others or not value:
        what = f"values that are no tensors, such as {shown(str(others[0]))}" if others else "nothing"
        raise CheckpointError(f"holds {what}; expected: a state dict, by itself or under {', '.join(_STATE_DICT_KEYS)}")
    return value


def _to_array(tensor: _Tensor, name: str, storages: _Storages, arrays: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """A read-only view of the tensor's storage; `arrays` keeps the storages that were read."""
    storage = tensor.storage
    identity = (storage.key, storage.dtype)
    if identity not in arrays:
        arrays[identity] = _elements(storages(*identity), storage.dtype)
    stored = arrays[identity]
    if storage.total != stored.size:
        raise CheckpointError(
            f"is damaged: storage {shown(storage.key)} of {shown(name)} should hold {storage.total} elements, "
            f"it holds {stored.size}"
        )
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.size, tensor.strides, strict=True))
    needed = 0 if 0 in tensor.size else last + 1
    # More elements than the storage has are made with a stride of 0 only, which no weights have.
    if max(needed, math.prod(tensor.size)) > storage.count or storage.first + storage.count > stored.size:
        raise CheckpointError(
            f"is damaged: {shown(name)} {list(tensor.size)} reaches beyond the {storage.count} elements of its storage"
        )
    if needed == 0:
        return np.zeros(tensor.size, stored.dtype)
    strides = [stride * stored.itemsize for stride in tensor.strides]
    start = storage.first + tensor.offset
    return np.lib.stride_tricks.as_strided(stored[start:], tensor.size, strides, writeable=False)


def _elements(content: bytes, dtype: str) -> np.ndarray:
    """The bytes of a storage as a flat array; those of bfloat16 are the upper halves of float32."""
    content = memoryview(content)[: len(content) // _itemsize(dtype) * _itemsize(dtype)]
    if dtype == _BFLOAT16:
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    elements = np.frombuffer(content, dtype)
    return elements.view("|u1") != 0 if dtype == "|b1" else elements


def _itemsize(dtype: str) -> int:
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize
