"""Detectron2's published pickles without running them: {name: array}.

Such a file is a pickle of `{"model": {name: ndarray}, "__author__": ..., ...}`; some were written by Python 2, where
text and bytes are the same. NumPy pickles an array as `_reconstruct(ndarray, (0,), b"b")`, an empty array, followed
by its content (version, shape, dtype, is_fortran, bytes); a dtype as `dtype("f4", False, True)` followed by
(version, byte order, ...). Both have arguments that run code (dtypes of objects, which are pickles again), so that
none of NumPy's functions is called: the few forms that arrays of numbers take are read here.

Reference: `ndarray.__reduce__`, `ndarray.__setstate__` and `dtype.__setstate__` of NumPy 1 and 2.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.convert.safe_pickle import BoundedReader, Name, PickleError, read_pickle, shown
from luminoth.errors import CheckpointError

# Kinds and sizes of numbers; what else a dtype can be (objects, text, records, dates) no weight is.
_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_BYTE_ORDERS = frozenset("<>=|")
# Of a pickle: protocol 2 and later say so first, earlier ones begin with a dictionary.
_FIRST_BYTES = (b"\x80", b"(", b"}")
# Before 2.0 NumPy had no underscore in front of `core`.
_CORES = ("numpy.core", "numpy._core")


def read_detectron2_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The weights in a pickle of Detectron2; nothing in the file is run.

    Args:
        path: a pickle of {"model": {name: array}, ...}, or of {name: array}.

    Returns:
        Name -> array, in the order of the file; read-only.

    Raises:
        CheckpointError: the file is missing, cut short, damaged, of another kind, or asks for anything but arrays.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(1) not in _FIRST_BYTES:
                raise CheckpointError("is neither a pickle nor a file of torch; expected: a .pkl or .pth of weights")
            file.seek(0)
            value = read_pickle(BoundedReader(file, size), _names(_Bytes(size)))
        return _arrays(value)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _arrays(value: Any) -> dict[str, np.ndarray]:
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        value = value["model"]
    if not isinstance(value, dict) or not value:
        raise CheckpointError("holds no weights; expected: a pickle of {'model': {name: array}}")
    arrays = {}
    for name, array in value.items():
        if not isinstance(name, str) or not isinstance(array, _Array) or array.values is None:
            raise CheckpointError(f"holds a value that is no array: {shown(str(name))}")
        arrays[name] = array.values
    return arrays


class _Bytes:
    """Gives the bytes of values that Python 2 or protocol 2 wrote as text, each byte a character of Latin-1.

    A pickle can refer to the same text any number of times; no more is made of them than the file has bytes.
    """

    def __init__(self, file_size: int) -> None:
        self._left = file_size

    def encode(self, text: Any, encoding: Any) -> bytes:
        """_codecs.encode, for Latin-1."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise PickleError("is damaged: text in another encoding than latin1 stands for bytes")
        self._left -= len(text)
        if self._left < 0:
            raise PickleError("is damaged: its arrays need more bytes than it has")
        return text.encode("latin-1")

    def of(self, value: Any) -> bytes | bytearray:
        if isinstance(value, str):
            return self.encode(value, "latin1")
        if not isinstance(value, (bytes, bytearray)):
            raise PickleError("asks for an array of objects; weights are numbers")
        return value


class _Dtype:
    """numpy.dtype(code, align, copy), and the byte order that comes after it."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("latin-1") if isinstance(code, bytes) else code
        plain = text.lstrip("<>=|") if isinstance(text, str) else ""
        if plain not in _NUMBERS:
            what = "objects" if plain.startswith("O") else f"the type {shown(str(text))}"
            raise PickleError(f"asks for an array of {what}; accepted are numbers: {', '.join(sorted(_NUMBERS))}")
        self.dtype = np.dtype(text)

    def set_pickled_state(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order not in _BYTE_ORDERS or any(part is not None for part in state[2:5]):
            raise PickleError("asks for an array of records; weights are numbers")
        self.dtype = self.dtype.newbyteorder(order) if order in "<>" else self.dtype


class _Array:
    """An array whose shape, type and bytes come after it."""

    def __init__(self, bytes_of: _Bytes) -> None:
        self._bytes_of = bytes_of
        self.values: np.ndarray | None = None

    def set_pickled_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("is damaged: the content of an array is not (version, shape, dtype, order, bytes)")
        _version, shape, dtype, is_fortran, content = state
        self.fill(self._bytes_of.of(content), dtype, shape, "F" if is_fortran else "C")

    def fill(self, content: bytes | bytearray, dtype: Any, shape: Any, order: str) -> None:
        if not isinstance(dtype, _Dtype):
            raise PickleError("is damaged: an array has no dtype")
        are_sizes = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
        if not are_sizes or math.prod(shape) * dtype.dtype.itemsize != len(content):
            raise PickleError(f"is damaged: an array has {len(content)} bytes, which is not what its shape needs")
        values = np.frombuffer(bytes(content) if dtype.dtype.kind == "b" else content, dtype.dtype)
        if dtype.dtype.kind == "b":
            values = values.view(np.uint8) != 0
        self.values = values.reshape(shape, order=order).astype(dtype.dtype.newbyteorder("="), copy=False)
        self.values.flags.writeable = False


def _names(bytes_of: _Bytes) -> dict[str, Callable[..., Any] | None]:
    """What these pickles may ask for."""

    def reconstruct(kind: Any, _shape: Any, _code: Any) -> _Array:
        if not isinstance(kind, Name) or kind.name != "numpy.ndarray":
            raise PickleError("is damaged: it makes an array of another kind than numpy.ndarray")
        return _Array(bytes_of)

    def from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        array = _Array(bytes_of)
        array.fill(bytes_of.of(content), dtype, shape, "F" if order == "F" else "C")
        return array

    def scalar(dtype: Any, content: Any) -> _Array:
        array = _Array(bytes_of)
        array.fill(bytes_of.of(content), dtype, (), "C")
        return array

    def empty_bytes(*arguments: Any) -> bytes:
        if arguments:
            raise PickleError("is damaged: it makes bytes of something")
        return b""

    def ordered_dict(*items: Any) -> dict[Any, Any]:
        if items:
            raise PickleError("is damaged: an OrderedDict is not made empty")
        return {}

    names: dict[str, Callable[..., Any] | None] = {
        "numpy.ndarray": None,
        "numpy.dtype": _Dtype,
        "collections.OrderedDict": ordered_dict,
        "_codecs.encode": bytes_of.encode,
        "builtins.bytes": empty_bytes,
        "__builtin__.bytes": empty_bytes,
    }
    for core in _CORES:
        names[f"{core}.multiarray._reconstruct"] = reconstruct
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.numeric._frombuffer"] = from_buffer
    return names
