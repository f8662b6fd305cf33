import pickle
from collections import OrderedDict
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.checkpoints.convert.pickle_file import read_detectron2_file
from luminoth.errors import CheckpointError
from tests.checkpoints.convert.torch_writer import called, dictionary, name, value, whole

ARRAYS = {
    "backbone.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "strided": np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3],
    "big_endian": np.arange(3, dtype=">f4"),
    "half": np.array([0.5, -1.0], np.float16),
    "counts": np.arange(250, 260, dtype=np.int64),
    "flags": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8),  # every byte, as text of Latin-1 too
    "empty": np.zeros((0, 3), np.float32),
    "one": np.array(5.0, np.float32),
    "scalar": np.float32(7.0),
}


def read(tmp_path, content):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(content)
    return read_detectron2_file(path)


def refusal(tmp_path, content):
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'model_final.pkl'}: ")
    assert "\n" not in message
    return message.partition(": ")[2]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_of_all_kinds(tmp_path, protocol):
    """Protocol 2 writes bytes as text, 5 arrays as buffers."""
    file = {"model": ARRAYS, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    arrays = read(tmp_path, pickle.dumps(file, protocol))
    assert list(arrays) == list(ARRAYS)
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[key], err_msg=key)
        assert array.dtype == ARRAYS[key].dtype.newbyteorder("="), key
        assert not array.flags.writeable


def test_arrays_by_themselves(tmp_path):
    assert list(read(tmp_path, pickle.dumps(OrderedDict(ARRAYS), 2))) == list(ARRAYS)


NDARRAY = name("numpy", "ndarray")


def numpy_array(shape, code, content, *, core="numpy.core", order=b"<", dtype_state=None, kind=NDARRAY):
    """The opcodes of an array as NumPy writes them; `content` is opcodes."""
    array = called(f"{core}.multiarray", "_reconstruct", kind, value((0,)), value("b"))
    dtype = called("numpy", "dtype", value(code), value(0), value(1))
    state = (
        dtype_state if dtype_state is not None else b"(" + value(3) + text(order) + b"NNN" + value(-1) * 2 + b"K\x00t"
    )
    return array + b"(K\x01" + value(shape) + dtype + state + b"b" + b"\x89" + content + b"tb"


def text(content):
    """Text as Python 2 wrote it, one byte a character."""
    return b"T" + len(content).to_bytes(4, "little") + content


def test_files_of_python_2(tmp_path):
    values = np.array([[1.5, -2.0, 3.0]], np.float32)
    arrays = {
        core: numpy_array((1, 3), "f4", text(values.tobytes()), core=core) for core in ("numpy.core", "numpy._core")
    }
    model = b"}(" + b"".join(text(key.encode()) + opcodes for key, opcodes in arrays.items()) + b"u"
    found = read(tmp_path, whole(b"}" + text(b"model") + model + b"s"))
    assert list(found) == ["numpy.core", "numpy._core"]
    for array in found.values():
        np.testing.assert_array_equal(array, values, strict=True)


def test_arrays_of_objects_are_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("was run",))

    for protocol in range(2, 6):
        message = refusal(tmp_path, pickle.dumps({"model": {"a": np.array([Runs()], object)}}, protocol))
        assert message.startswith(
            ("asks for an array of objects", "asks for `builtins.print`", "asks for `__builtin__")
        )
    for code in ("O8", "|O", "O"):
        opcodes = numpy_array((1,), code, value([None]))
        assert refusal(tmp_path, whole(dictionary({"a": opcodes}))).startswith("asks for an array of objects")
    opcodes = numpy_array((1,), "f8", value([None]))
    assert refusal(tmp_path, whole(dictionary({"a": opcodes}))).startswith("asks for an array of objects")


@pytest.mark.parametrize(
    ("opcodes", "asked"),
    [
        (called("posix", "system", value("touch {marker}")), "posix.system"),
        (called("builtins", "eval", value("open('{marker}', 'w')")), "builtins.eval"),
        (called("numpy", "load", value("{marker}")), "numpy.load"),
        (called("numpy.core.multiarray", "fromfile", value("{marker}")), "numpy.core.multiarray.fromfile"),
        (called("numpy.f2py", "compile", value("{marker}")), "numpy.f2py.compile"),
        (called("numpy", "memmap", value("{marker}")), "numpy.memmap"),
        (called("torch._utils", "_rebuild_tensor_v2"), "torch._utils._rebuild_tensor_v2"),
    ],
)
def test_other_names_are_refused_by_name_and_not_run(tmp_path, opcodes, asked):
    marker = tmp_path / "was_run"
    for wrapped in (opcodes, dictionary({"model": opcodes}), dictionary({"model": dictionary({"a": opcodes})})):
        content = whole(wrapped.replace(b"{marker}", str(marker).encode()))
        assert refusal(tmp_path, content).startswith(f"asks for `{asked}`, which is no tensor; nothing of it was run")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (numpy_array((4,), "f4", text(bytes(12))), "an array has 12 bytes, which is not what its shape needs"),
        (numpy_array((1 << 60,), "f4", text(bytes(12))), "an array has 12 bytes"),
        (numpy_array((-3,), "f4", text(bytes(12))), "an array has 12 bytes"),
        (numpy_array(3, "f4", text(bytes(12))), "an array has 12 bytes"),
        (numpy_array((3,), "U4", text(bytes(12))), "asks for an array of the type U4; accepted are numbers"),
        (numpy_array((3,), "f4,f4", text(bytes(12))), "asks for an array of the type f4,f4"),
        (numpy_array((3,), ["f4"], text(bytes(12))), "asks for an array of the type"),
        (numpy_array((3,), "f4", text(bytes(12)), order=b"?"), "asks for an array of records"),
        (numpy_array((3,), "f4", text(bytes(12)), dtype_state=value((3, "<", None, ("a",), {}))), "records"),
        (numpy_array((3,), "f4", text(bytes(12)), dtype_state=value(7)), "records"),
        (numpy_array((3,), "f4", text(bytes(12)), kind=name("numpy", "dtype")), "an array of another kind"),
        (called("_codecs", "encode", value("a"), value("rot13")), "another encoding than latin1"),
        (called("builtins", "bytes", value(1 << 40)), "it makes bytes of something"),
        (called("numpy", "dtype"), "is damaged"),
        (
            called("numpy.core.multiarray", "_reconstruct", NDARRAY, value((0,)), value("b")),
            "no array",
        ),
        (value(3), "holds a value that is no array: a"),
        (value(3) + b"Q", "it refers to something outside itself"),
    ],
)
def test_false_arrays(tmp_path, array, said):
    assert said in refusal(tmp_path, whole(dictionary({"a": array})))


def test_bytes_that_are_used_again_and_again(tmp_path):
    """A pickle may repeat a text at the cost of two bytes; what is made of it must not outgrow the file."""
    first = value("x" * 1000) + b"q\x07" + b"0"
    again = name("_codecs", "encode") + b"(h\x07" + value("latin1") + b"tR0"
    assert "more bytes than it has" in refusal(tmp_path, whole(first + again * 100 + b"}"))


def test_other_content(tmp_path):
    assert refusal(tmp_path, b"\x89HDF\r\n").startswith("is neither a pickle nor a file of torch")
    assert refusal(tmp_path, b"").startswith("is neither a pickle nor a file of torch")
    for content in ({}, {"model": {}}, [1], "text"):
        assert refusal(tmp_path, pickle.dumps(content, 2)).startswith("holds no weights")
    with pytest.raises(CheckpointError, match="no such file"):
        read_detectron2_file(tmp_path / "absent.pkl")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_detectron2_file(tmp_path)


SMALL = {"model": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.int64)}, "__author__": "me"}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_cut_is_noticed(tmp_path, protocol):
    content = pickle.dumps(SMALL, protocol)
    for length in range(len(content)):
        refusal(tmp_path, content[:length])


@given(st.integers(2, 5), st.data())
def test_damaged_bytes_lead_to_arrays_or_a_refusal(tmp_path, protocol, data):
    content = bytearray(pickle.dumps(SMALL, protocol))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    with suppress(CheckpointError):
        arrays = read(tmp_path, bytes(content))
        assert sum(array.nbytes for array in arrays.values()) < 10 * len(content)
