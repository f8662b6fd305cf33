"""Writes torch's files byte by byte, right ones and wrong ones, without torch."""

import io
import pickle
import struct
import zipfile

import numpy as np

_KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "u1": "ByteStorage"}


def value(content):
    """The opcodes that push a plain value."""
    return pickle.dumps(content, 2)[2:-1]


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def called(module, attribute, *arguments):
    """The opcodes that call a name with arguments, which are opcodes."""
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def storage(key, kind, count, *view):
    fields = value("storage"), name("torch", kind), value(key), value("cpu"), value(count), *map(value, view)
    return b"(" + b"".join(fields) + b"tQ"


def tensor(opcodes_of_storage, size, strides, offset=0):
    hooks = called("collections", "OrderedDict")
    return called(
        "torch._utils", "_rebuild_tensor_v2", opcodes_of_storage,
        value(offset), value(size), value(strides), value(False), hooks,
    )  # fmt: skip


def dictionary(items):
    """The opcodes of {name: opcodes}."""
    return b"}(" + b"".join(value(key) + opcodes for key, opcodes in items.items()) + b"u"


def whole(opcodes):
    return b"\x80\x02" + opcodes + b"."


def zip_file(opcodes, storages, prefix="archive", compression=zipfile.ZIP_STORED, **members):
    """A file of the present form: opcodes of its value, {key: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{prefix}/data.pkl", whole(opcodes))
        archive.writestr(f"{prefix}/byteorder", members.get("byteorder", "little"))
        for key, content in storages.items():
            archive.writestr(f"{prefix}/data/{key}", content)
    return file.getvalue()


def stream_file(opcodes, storages, magic=0x1950A86A20F9469CFC6C, little_endian=True):
    """A file of the old form: opcodes of its value, {key: (element count, bytes)}."""
    head = [pickle.dumps(each, 2) for each in (magic, 1001, {"little_endian": little_endian})]
    tail = [struct.pack("<q", count) + content for count, content in storages.values()]
    return b"".join([*head, whole(opcodes), pickle.dumps(list(storages), 2), *tail])


def state_file(state, wrap=lambda opcodes: opcodes):
    """A file of the present form that holds {name: array}."""
    opcodes, storages = {}, {}
    for key, (parameter, array) in enumerate(state.items()):
        array = np.ascontiguousarray(array) if array.ndim else array
        strides = tuple(stride // array.itemsize for stride in array.strides)
        kept = storage(str(key), _KINDS[array.dtype.str[1:]], array.size)
        opcodes[parameter] = tensor(kept, array.shape, strides)
        storages[str(key)] = array.tobytes()
    return zip_file(wrap(dictionary(opcodes)), storages)
