import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.checkpoints.convert import safe_pickle
from luminoth.checkpoints.convert.torch_file import is_torch_file, read_torch_file
from luminoth.errors import CheckpointError
from tests.checkpoints.convert.torch_writer import (
    called,
    dictionary,
    name,
    state_file,
    storage,
    stream_file,
    tensor,
    value,
    zip_file,
)

# Written by torch itself (2.13): two forms of the same tensors, and one within a training checkpoint.
GOLDENS = Path(__file__).parents[1] / "torch_files"
FILES = ("zip_format", "legacy_format", "training_checkpoint")

SIX = np.arange(6, dtype=np.float32)


def read(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return read_torch_file(path)


def refusal(tmp_path, content):
    """What is said of a file that is refused, without its path."""
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'weights.pth'}: ")
    assert "\n" not in message
    return message.partition(": ")[2]


@pytest.mark.parametrize("file", FILES)
def test_files_written_by_torch(file):
    expected = np.load(GOLDENS / "expected.npz")
    arrays = read_torch_file(GOLDENS / f"{file}.pth")
    assert list(arrays) == expected.files
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key, strict=True)


def test_reading_needs_no_torch():
    program = f"import sys; sys.modules['torch'] = None\nfrom {read_torch_file.__module__} import read_torch_file\n"
    program += f"read_torch_file({str(GOLDENS / 'zip_format.pth')!r})\nassert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_views_of_one_storage(tmp_path):
    """Transposed, strided and offset tensors share what is read once; none can be written to."""
    shared = storage("0", "FloatStorage", 6)
    opcodes = dictionary(
        {
            "matrix": tensor(shared, (2, 3), (3, 1)),
            "transposed": tensor(shared, (3, 2), (1, 3)),
            "every_other": tensor(shared, (2,), (2,), 1),
            "last": tensor(shared, (), (), 5),
            "empty": tensor(shared, (0, 3), (3, 1)),
        }
    )
    expected = {
        "matrix": SIX.reshape(2, 3),
        "transposed": SIX.reshape(2, 3).T,
        "every_other": np.array([1, 3], np.float32),
        "last": np.float32(5),
        "empty": np.zeros((0, 3), np.float32),
    }
    for content in (zip_file(opcodes, {"0": SIX.tobytes()}), stream_file_of_six(opcodes)):
        arrays = read(tmp_path, content)
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, expected[key], err_msg=key)
        assert np.shares_memory(arrays["matrix"], arrays["transposed"])
        with pytest.raises(ValueError, match="read-only"):
            arrays["matrix"][0, 0] = 1


def stream_file_of_six(opcodes, **settings):
    with_view = opcodes.replace(value(6) + b"tQ", value(6) + value(None) + b"tQ")
    return stream_file(with_view, {"0": (6, SIX.tobytes())}, **settings)


def test_parts_of_storages_in_files_of_the_first_versions(tmp_path):
    part = storage("0", "FloatStorage", 6, ("1", 2, 3))
    opcodes = dictionary({"part": tensor(part, (3,), (1,))})
    arrays = read(tmp_path, stream_file(opcodes, {"0": (6, SIX.tobytes())}))
    np.testing.assert_array_equal(arrays["part"], [2, 3, 4])
    beyond = dictionary({"part": tensor(part, (4,), (1,))})
    assert "reaches beyond the 3 elements" in refusal(tmp_path, stream_file(beyond, {"0": (6, SIX.tobytes())}))


def test_untyped_storages(tmp_path):
    typed = called(
        "torch._utils", "_rebuild_tensor_v3", storage("0", "UntypedStorage", 6), value(1), value((2,)), value((1,)),
        value(False), called("collections", "OrderedDict"), name("torch", "uint16"),
    )  # fmt: skip
    arrays = read(tmp_path, zip_file(dictionary({"counts": typed}), {"0": np.array([1, 2, 500], "<u2").tobytes()}))
    np.testing.assert_array_equal(arrays["counts"], np.array([2, 500], np.uint16), strict=True)


def test_state_dicts_among_other_things(tmp_path):
    for key in ("model", "state_dict", "model_state_dict"):
        content = state_file(
            {"a": SIX}, lambda opcodes, key=key: dictionary({"epoch": value(3), key: opcodes, "lr": value(0.02)})
        )
        assert list(read(tmp_path, content)) == ["a"]
    message = refusal(tmp_path, state_file({"a": SIX}, lambda opcodes: dictionary({"epoch": value(3), "net": opcodes})))
    assert message.startswith("holds values that are no tensors, such as epoch; expected: a state dict")
    assert refusal(tmp_path, zip_file(dictionary({}), {})).startswith("holds nothing; expected: a state dict")
    assert refusal(tmp_path, zip_file(value([1]), {})).startswith("holds no dictionary")


def test_attributes_of_dictionaries_are_passed_over(tmp_path):
    """torch notes the versions of its modules as an attribute of the state dict."""
    content = state_file({"a": SIX}, lambda opcodes: opcodes + value({"_metadata": {"": {"version": 1}}}) + b"b")
    assert list(read(tmp_path, content)) == ["a"]


@pytest.mark.parametrize(
    ("opcodes", "asked"),
    [
        (called("posix", "system", value("touch {marker}")), "posix.system"),
        (called("os", "system", value("touch {marker}")), "os.system"),
        (called("builtins", "eval", value("open('{marker}', 'w')")), "builtins.eval"),
        (called("__builtin__", "getattr", value("a"), value("b")), "__builtin__.getattr"),
        (value("os") + value("system") + b"\x93", "os.system"),
        (name("torch", "load"), "torch.load"),
        (name("torch._utils", "_rebuild_tensor_v2.__globals__"), "torch._utils._rebuild_tensor_v2.__globals__"),
        (name("argparse", "Namespace"), "argparse.Namespace"),
        (called("numpy.core.multiarray", "_reconstruct"), "numpy.core.multiarray._reconstruct"),
    ],
)
def test_other_names_are_refused_by_name_and_not_run(tmp_path, opcodes, asked):
    marker = tmp_path / "was_run"
    for wrapped in (opcodes, dictionary({"model": opcodes}), dictionary({"a": opcodes, "model": dictionary({})})):
        wrapped = wrapped.replace(b"{marker}", str(marker).encode())
        for content in (zip_file(wrapped, {}), stream_file(wrapped, {})):
            assert refusal(tmp_path, content).startswith(
                f"asks for `{asked}`, which is no tensor; nothing of it was run"
            )
    assert not marker.exists()


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        (b"(iposix\nsystem\n", "uses the pickle opcode INST"),
        (b"\x82\x01", "uses the pickle opcode EXT1"),
        (value([]) + b"Q", "holds something else than tensors"),
        (name("torch", "FloatStorage") + b")R", "it calls what cannot be called"),
        (value("system") + value(("ls",)) + b"R", "it calls what cannot be called"),
        (name("torch", "FloatStorage") + value({"name": "x"}) + b"b", "it gives content to a Name"),
        (called("torch._utils", "_rebuild_tensor_v2") + b"0N", "is damaged"),
        (called("torch._utils", "_rebuild_parameter", value(1), value(True), value({})), "a parameter holds no tensor"),
        (b"}" + b"((tt" + value(1) + b"s", "has a tuple for a key"),
        (b"N" + value(1) + b"s", "is damaged"),
        (b"t", "a mark is missing"),
        (b"(R", "is damaged"),
        (b"h\x07", "is damaged"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", "is damaged or cut short"),
        (b"\x8b\xff\xff\xff\x7f", "is damaged or cut short"),
        (b"Nr\xff\xff\xff\xff" + b"0}", "holds nothing"),  # a memo index that Python's own reader makes room for
        (b"(" * 50_000 + b")" + b"t" * 50_000, "holds no dictionary"),
    ],
)
def test_hostile_pickles(tmp_path, opcodes, said):
    assert said in refusal(tmp_path, zip_file(opcodes, {}))


def test_pickles_of_endless_steps(tmp_path, monkeypatch):
    """A byte each, and a list of 56 bytes for it."""
    monkeypatch.setattr(safe_pickle, "_MOST_STEPS", 1000)
    assert "a pickle of more than 1000 steps" in refusal(tmp_path, zip_file(b"]" * 1001, {}))


@pytest.mark.parametrize(
    ("size", "strides", "offset", "said"),
    [
        ((7,), (1,), 0, "reaches beyond the 6 elements"),
        ((2, 3), (4, 1), 0, "reaches beyond the 6 elements"),
        ((6,), (1,), 1, "reaches beyond the 6 elements"),
        ((1 << 40,), (0,), 0, "reaches beyond the 6 elements"),
        ((1 << 61, 1 << 61, 1 << 61), (0, 0, 0), 0, "reaches beyond"),
        ((6,), (1 << 61,), 0, "reaches beyond"),
        ((1,), (1 << 61,), 0, "is damaged"),
        ((6,), (-1,), 5, "no numbers that a tensor can have"),
        ((6,), (1,), -1, "no numbers that a tensor can have"),
        ((6,), (True,), 0, "no numbers that a tensor can have"),
        (("6",), (1,), 0, "no numbers that a tensor can have"),
        ((2, 3), (1,), 0, "not made of a storage"),
        ([6], [1], 0, "not made of a storage"),
        ((1,) * 40, (1,) * 40, 0, "no numbers that a tensor can have"),
        ((0, 1 << 61, 1 << 61), (1, 1, 1), 0, "is damaged"),
    ],
)
def test_tensors_that_do_not_fit_their_storage(tmp_path, size, strides, offset, said):
    opcodes = dictionary({"a": tensor(storage("0", "FloatStorage", 6), size, strides, offset)})
    assert said in refusal(tmp_path, zip_file(opcodes, {"0": SIX.tobytes()}))
    assert said in refusal(tmp_path, stream_file_of_six(opcodes))


def test_storages_that_are_not_what_is_said_of_them(tmp_path):
    def of(kind, count, content, key="0"):
        opcodes = dictionary({"a": tensor(storage("0", kind, count), (2,), (1,))})
        return zip_file(opcodes, {key: content})

    assert "should hold 6 elements, it holds 5" in refusal(tmp_path, of("FloatStorage", 6, SIX[:5].tobytes()))
    assert "should hold 6 elements, it holds 3" in refusal(tmp_path, of("DoubleStorage", 6, SIX.tobytes()))
    assert f"should hold {1 << 50} elements" in refusal(tmp_path, of("FloatStorage", 1 << 50, SIX.tobytes()))
    assert "archive/data/0 is missing" in refusal(tmp_path, of("FloatStorage", 6, SIX.tobytes(), key="1"))
    assert "asks for `torch.QInt8Storage`" in refusal(tmp_path, of("QInt8Storage", 6, SIX.tobytes()))
    assert "no type, key or element count" in refusal(tmp_path, of("FloatStorage", -6, SIX.tobytes()))
    assert "no type, key or element count" in refusal(tmp_path, of("float32", 6, SIX.tobytes()))


def test_zip_archives_that_torch_did_not_write(tmp_path):
    opcodes = dictionary({"a": tensor(storage("0", "ByteStorage", 1 << 24), (1 << 24,), (1,))})
    bomb = zip_file(opcodes, {"0": bytes(1 << 24)}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed or encrypted" in refusal(tmp_path, bomb)
    assert "there is no data.pkl" in refusal(tmp_path, zip_file(opcodes, {}, prefix="a/b"))
    assert "big-endian" in refusal(tmp_path, zip_file(opcodes, {}, byteorder="big"))


def test_a_member_that_claims_to_be_larger_than_the_file(tmp_path):
    opcodes = dictionary({"a": tensor(storage("0", "ByteStorage", 1 << 31), (1 << 31,), (1,))})
    content = zip_file(opcodes, {"0": b"12345"})
    sizes = (5).to_bytes(4, "little") * 2
    assert content.count(sizes) == 2  # the member's own head, and the directory
    assert "more bytes than it has" in refusal(tmp_path, content.replace(sizes, (1 << 31).to_bytes(4, "little") * 2))


def test_streams_that_torch_did_not_write(tmp_path):
    opcodes = dictionary({"a": tensor(storage("0", "FloatStorage", 6), (6,), (1,))})
    assert "magic number is missing" in refusal(tmp_path, stream_file_of_six(opcodes, magic=5))
    assert "big-endian" in refusal(tmp_path, stream_file_of_six(opcodes, little_endian=False))
    assert "does not end within it" in refusal(tmp_path, stream_file(opcodes, {"0": (1 << 60, SIX.tobytes())}))
    assert "does not end within it" in refusal(tmp_path, stream_file(opcodes, {"0": (-1, SIX.tobytes())}))
    assert "a storage that no tensor uses" in refusal(tmp_path, stream_file(opcodes, {"1": (6, SIX.tobytes())}))
    assert "storage 0 is missing" in refusal(tmp_path, stream_file(opcodes, {}))
    assert "should hold 6 elements, it holds 5" in refusal(tmp_path, stream_file(opcodes, {"0": (5, SIX.tobytes())}))


@pytest.mark.parametrize("file", FILES)
def test_every_cut_is_noticed(tmp_path, file):
    content = (GOLDENS / f"{file}.pth").read_bytes()
    for length in range(0, len(content), 3 if file == "legacy_format" else 7):
        refusal(tmp_path, content[:length])


@given(st.sampled_from(FILES), st.data())
def test_damaged_bytes_lead_to_arrays_or_a_refusal(tmp_path, file, data):
    content = bytearray((GOLDENS / f"{file}.pth").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with suppress(CheckpointError):
        arrays = read_torch_file(path)
        assert sum(array.nbytes for array in arrays.values()) < 10 * len(content)


def test_names_are_shown_on_one_line(tmp_path):
    message = refusal(tmp_path, zip_file(value("os\n\x1b[2J") + value("x" * 500) + b"\x93", {}))
    assert r"`os\n\x1b[2J.xxx" in message
    assert len(message) < 400


def test_files_that_cannot_be_opened(tmp_path):
    for read_file in (read_torch_file, is_torch_file):
        with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
            read_file(tmp_path / "absent.pth")
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_file(tmp_path)


def test_files_of_torch_are_told_by_their_first_bytes(tmp_path):
    assert all(is_torch_file(GOLDENS / f"{file}.pth") for file in FILES)
    (tmp_path / "other").write_bytes(b"\x80\x02}.")
    assert not is_torch_file(tmp_path / "other")
