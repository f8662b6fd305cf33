"""Export and import; what strangers may have put into a tar file."""

import gzip
import hashlib
import io
import json
import os
import tarfile

import h5py
import numpy as np
import pytest

from luminoth.checkpoints import archive
from luminoth.checkpoints.archive import export_checkpoint, import_checkpoint
from luminoth.checkpoints.entry import FILES
from luminoth.checkpoints.folder import hash_files
from luminoth.checkpoints.metadata import read_metadata
from luminoth.checkpoints.publish import create_checkpoint
from luminoth.checkpoints.store import Store
from luminoth.errors import CheckpointError, OutputError
from tests.checkpoints.light import light_entry, light_run, write_weights


@pytest.fixture
def made(tmp_path):
    return create_checkpoint(light_run(tmp_path / "run", 7), {"alias": "traffic"}, store=Store(tmp_path / "store"))


@pytest.fixture
def tar(tmp_path, made):
    return export_checkpoint(made, tmp_path / "out")


@pytest.fixture
def other(tmp_path):
    """The store of whom the file is given to."""
    return Store(tmp_path / "other")


def contents(path):
    with tarfile.open(path) as file:
        return {member.name: file.extractfile(member).read() for member in file.getmembers()}


def write_tar(path, members, format=tarfile.USTAR_FORMAT):
    """Members are (name, bytes) or a TarInfo with its bytes."""
    with tarfile.open(path, "w", format=format) as file:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(name, tarfile.TarInfo):
                member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def sealed(files, changes=None):
    """The members with metadata that fits them, as one would write who means harm."""
    files = {**files}
    metadata = json.loads(files.pop("metadata.json"))
    metadata["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    return [("metadata.json", json.dumps(metadata | (changes or {})).encode()), *files.items()]


def test_round_trip(tmp_path, made, tar, other):
    assert tar == tmp_path / "out" / f"{made.id}.tar"
    assert sorted(contents(tar)) == sorted(FILES)
    assert os.listdir(tar.parent) == [tar.name]
    done = import_checkpoint(tar, store=other)
    assert done.is_new
    assert done.entry.folder == other.folder / made.id
    assert (done.entry.alias, done.entry.created, done.entry.scores) == ("traffic", made.created, made.scores)
    assert hash_files(done.entry.folder) == hash_files(made.folder) == read_metadata(done.entry.folder)["files"]
    assert read_metadata(done.entry.folder)["origin"] == "imported"
    again = export_checkpoint(done.entry, tmp_path / "again.tar")
    assert again.read_bytes() == tar.read_bytes()  # of one content one file


def test_the_same_and_another_of_one_id(tmp_path, made, tar, other):
    first = import_checkpoint(tar, store=other).entry
    assert import_checkpoint(tar, store=other) == archive.Imported(first, is_new=False)
    assert len(other.entries()) == 2
    files = contents(tar)
    files["classes.json"] = b'["car", "tram"]'
    changed = write_tar(tmp_path / "changed.tar", sealed(files))
    with pytest.raises(CheckpointError, match=rf"another checkpoint has the id {made.id} \(run\); .*--new-id"):
        import_checkpoint(changed, store=other)
    new = import_checkpoint(changed, as_new=True, store=other).entry
    assert new.id != made.id
    assert read_metadata(new.folder)["id"] == new.id
    assert other.resolve(made.id).entry == first


def test_exporting_refuses(tmp_path, made, tar):
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(made, tar.parent)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_checkpoint(made, tmp_path / "file" / "out")
    light_run(tmp_path / "checkpoints", 7).rename(tmp_path / "checkpoints" / "byhand")
    by_hand = Store(tmp_path / "checkpoints").resolve("byhand").entry
    with pytest.raises(
        CheckpointError, match=r"optimizer; nobody could import it. Publish it with `lumi checkpoint create"
    ):
        export_checkpoint(by_hand, tmp_path)
    with (made.folder / "classes.json").open("a") as file:
        file.write(" ")
    with pytest.raises(CheckpointError, match=r"damaged: classes.json not as published"):
        export_checkpoint(made, tmp_path)
    assert not list(tmp_path.glob("*.tar"))


def test_older_forms_are_migrated(tmp_path, other):
    light_entry(tmp_path, "street", alias="street", papers=["one"])
    old = Store(tmp_path / "checkpoints").resolve("street").entry
    tar = export_checkpoint(old, tmp_path)
    assert tar.name == "street.tar"
    files = contents(tar)
    assert json.loads(files["metadata.json"])["paper"] == ["one"]
    files["metadata.json"] = b'{"id": "aaaaaaaaaaaa", "alias": "old"}'  # of format 0, without hashes
    entry = import_checkpoint(write_tar(tmp_path / "old.tar", files.items()), store=other).entry
    assert (entry.id, entry.alias) == ("aaaaaaaaaaaa", "old")
    assert read_metadata(entry.folder)["files"] == hash_files(entry.folder)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_packed_by_other_programs(tmp_path, tar, other, form):
    member = tarfile.TarInfo("metadata.json")
    files = contents(tar)
    text = files.pop("metadata.json")
    member.size, member.mtime = len(text), 1.5  # which pax writes as a header of its own
    import_checkpoint(write_tar(tmp_path / "x.tar", [*files.items(), (member, text)], form), store=other)
    assert other.resolve("traffic").entry.is_here


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, b""


def huge(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def long_header(size):
    """A pax header that would have to be read at once."""
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, size
    return member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


MEMBERS = {
    "absolute": ([("/tmp/evil", b"x")], r"'/tmp/evil' is no file of a checkpoint"),
    "outside": ([("../evil", b"x")], r"'\.\./evil' is no file of a checkpoint"),
    "below": ([("sub/model.weights.h5", b"x")], r"'sub/model.weights.h5' is no file of a checkpoint"),
    "dotted": ([("./classes.json", b"[]")], r"'\./classes.json' is no file of a checkpoint"),
    "stranger": ([("run.py", b"x")], r"'run.py' is no file of a checkpoint"),
    "control characters": ([("\x1b[2J", b"x")], r"'\\x1b\[2J' is no file"),
    "folder": ([special("classes.json", tarfile.DIRTYPE)], "is a folder, not a file"),
    "symbolic link": ([special("classes.json", tarfile.SYMTYPE, "/etc/passwd")], "is a symbolic link, not a file"),
    "hard link": ([special("classes.json", tarfile.LNKTYPE, "/etc/passwd")], "is a hard link, not a file"),
    "device": ([special("classes.json", tarfile.CHRTYPE)], "is a device, not a file"),
    "block device": ([special("classes.json", tarfile.BLKTYPE)], "is a device, not a file"),
    "pipe": ([special("classes.json", tarfile.FIFOTYPE)], "is a pipe, not a file"),
    "sparse": ([special("model.weights.h5", tarfile.GNUTYPE_SPARSE)], "is of a kind that has no place here"),
    "twice": ([("classes.json", b"[]"), ("classes.json", b"[]")], "'classes.json' is in it twice"),
    "Luminoth's": ([("config.yml", b"{}"), ("checkpoint", b"")], r"of Luminoth 0.2 \(TensorFlow 1\)"),
    "without metadata": ([("classes.json", b"[]")], "has no metadata.json"),
    "without weights": (
        [("metadata.json", b"{}"), ("classes.json", b"[]")],
        "has no config.yml, model.weights.h5, state",
    ),
    "nothing": ([], "is no tar file, or an empty one"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_hostile_members(tmp_path, other, case):
    members, said = MEMBERS[case]
    with pytest.raises(CheckpointError, match=said):
        import_checkpoint(write_tar(tmp_path / "bad.tar", members), store=other)
    assert not other.folder.exists()


BYTES = {
    "too large": (huge("model.weights.h5", (8 << 30) - 1 + 0) + bytes(1024), "is cut short"),
    "too large for JSON": (huge("classes.json", 5 << 20), r"would have 5,242,880 bytes, more than the 4,194,304"),
    "long header": (long_header(1 << 20), "has a header of 1048576 bytes"),
    "many headers": (long_header(0)[:512] * 40, "has more than 32 members"),
    "no tar": (b"<html>" * 200, "is no tar file, or damaged or compressed"),
    "compressed": (gzip.compress(bytes(5000)), "is no tar file, or damaged or compressed"),
    "negative": (huge("classes.json", 0)[:124] + b"-0000000001\0" + huge("classes.json", 0)[136:], "is no tar file"),
    "empty": (b"", "is no tar file, or an empty one"),
}


@pytest.mark.parametrize("case", BYTES)
def test_hostile_bytes(tmp_path, other, case):
    content, said = BYTES[case]
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        import_checkpoint(tmp_path / "bad.tar", store=other)
    assert not other.folder.exists()


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path, tar, other):
    whole = tar.read_bytes()
    random = np.random.default_rng(0)
    bad = tmp_path / "bad.tar"
    data = len(whole.rstrip(b"\0"))
    for position in random.integers(0, data, 150):
        broken = bytearray(whole)
        broken[position] ^= 1 << random.integers(8)
        bad.write_bytes(broken)
        try:
            entry = import_checkpoint(bad, store=other).entry
        except CheckpointError:
            continue
        # Only what metadata.json tells of itself is not covered by a hash, nor is a tar's padding.
        assert hash_files(entry.folder) == read_metadata(entry.folder)["files"]
        other.delete(entry.id)
    for length in random.integers(0, data, 30):
        bad.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            import_checkpoint(bad, store=other)
    assert [entry.alias for entry in other.entries()] == ["toytown"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2, "luminoth": "3.0"}, r"of format 2, written by Luminoth 3.0; .*: update Luminoth"),
        ({"files": {}}, "does not say the SHA-256 of its files"),
        ({"files": {"model.weights.h5": None}}, "damaged or changed: classes.json, config.yml, model.weights.h5"),
        ({"id": "../../x"}, r"has no usable id \('../../x'\); .*--new-id"),
        ({"id": ""}, "has no usable id"),
        ({"id": ["x"]}, "has no usable id"),
        ({"id": "x" * 300}, "has no usable id"),
    ],
)
def test_hostile_metadata(tmp_path, tar, other, changes, said):
    with pytest.raises(CheckpointError, match=said):
        import_checkpoint(write_tar(tmp_path / "bad.tar", sealed(contents(tar), changes)), store=other)
    assert not other.folder.exists()


def weights(change):
    """The bytes of a weights file with something in it that weights are not."""

    def make(path):
        write_weights(path)
        with h5py.File(path, "a") as file:
            change(file)
        return path.read_bytes()

    return make


def virtual(file):
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    file.create_virtual_dataset("weights/virtual", layout)


WEIGHTS = {
    "outside data": lambda file: file.create_dataset("weights/passwd", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
    "outside link": lambda file: file["weights"].__setitem__("linked", h5py.ExternalLink("/etc/x.h5", "/y")),
    "soft link": lambda file: file["weights"].__setitem__("soft", h5py.SoftLink("/weights/head")),
    "virtual": virtual,
    "bomb": lambda file: file.create_dataset("weights/bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip"),
    "unwritten": lambda file: file.create_dataset("weights/unwritten", (1 << 40,), "f4"),
    "circle": lambda file: file["weights/head"].__setitem__("again", file["weights"]),
    "texts": lambda file: file.create_dataset("weights/text", data=["a"], dtype=h5py.string_dtype()),
    "optimizer": lambda file: file.create_dataset("optimizer/0", data=np.zeros(2)),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_hostile_weights(tmp_path, tar, other, case):
    files = contents(tar) | {"model.weights.h5": weights(WEIGHTS[case])(tmp_path / "w.h5")}
    with pytest.raises(CheckpointError, match=r"bad.tar: model.weights.h5: holds what weights are not"):
        import_checkpoint(write_tar(tmp_path / "bad.tar", sealed(files)), store=other)
    assert sorted(os.listdir(other.folder)) == [".lock", "index.json"]


BILLION = "&b0 [x, x]"
for level in range(30):
    BILLION = f"{BILLION}, &b{level + 1} [{', '.join([f'*b{level}'] * 8)}]"
BILLION = f"model: {{anchors: {{scales: [{BILLION}]}}}}\n"
FILES_AND_WORDS = {
    "no HDF5": ("model.weights.h5", b"junk", r"bad.tar: model.weights.h5: damaged"),
    "no step": ("state.json", b"{}", r"bad.tar: state.json: does not say the step"),
    "newer state": ("state.json", b'{"format": 9, "step": 7}', "update Luminoth"),
    "no classes": ("classes.json", b"[]", "names no class"),
    "other classes": ("classes.json", b"[1]", "expected a list of names"),
    "deep JSON": ("classes.json", b"[" * 200_000, r"classes.json: cannot be read"),
    "another key": ("config.yml", b"modle: 3\n", "modle"),
    "a program": ("config.yml", b"train: !!python/object/apply:os.system ['touch ran']\n", "config.yml"),
    "a billion laughs": ("config.yml", BILLION.encode(), "config.yml: has aliases or deep nesting"),
    "deep YAML": ("config.yml", b"model: " + b"[" * 100_000, "config.yml: has aliases or deep nesting"),
    "no text": ("config.yml", b"\xff\xfe\x00", "config.yml: is no YAML"),
}


@pytest.mark.parametrize("case", FILES_AND_WORDS)
def test_hostile_files(tmp_path, monkeypatch, tar, other, case):
    monkeypatch.chdir(tmp_path)
    name, content, said = FILES_AND_WORDS[case]
    with pytest.raises(CheckpointError, match=said) as caught:
        import_checkpoint(write_tar(tmp_path / "bad.tar", sealed(contents(tar) | {name: content})), store=other)
    assert ".unfinished" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert sorted(os.listdir(other.folder)) == [".lock", "index.json"]
    assert not (tmp_path / "ran").exists()


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, tar, other):
    inspect = archive._inspect

    def then_change(file, path):
        found = inspect(file, path)
        files = contents(tar)
        files["classes.json"] = files["classes.json"].replace(b"car", b"cat")
        write_tar(tar, files.items())
        return found

    monkeypatch.setattr(archive, "_inspect", then_change)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        import_checkpoint(tar, store=other)
    assert len(other.entries()) == 1


def test_absent_files(tmp_path, other):
    with pytest.raises(CheckpointError, match=r"absent.tar: cannot be read \(No such file"):
        import_checkpoint(tmp_path / "absent.tar", store=other)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory"):
        import_checkpoint(tmp_path, store=other)
