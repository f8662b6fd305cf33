"""Folders of records: which files a split has, how many records they hold, and `classes.json` beside them."""

import json

import pytest

from luminoth.data.record_files import (
    count_records,
    find_records,
    hash_records,
    list_splits,
    read_classes,
    write_classes,
)
from luminoth.data.records import RecordWriter
from luminoth.errors import DataError

CLASSES = ["person", "car", "straßenbahn"]


def write_records(path, count: int = 3) -> None:
    with RecordWriter(path) as writer:
        for index in range(count):
            writer.write(b"x" * (index + 1) * 10)


def test_count_records(tmp_path):
    write_records(tmp_path / "a.tfrecords", 3)
    write_records(tmp_path / "b.tfrecords", 2)
    (tmp_path / "c.tfrecords").write_bytes(b"")
    assert count_records([tmp_path / "a.tfrecords", tmp_path / "b.tfrecords", tmp_path / "c.tfrecords"]) == 5


def test_records_are_told_apart(tmp_path):
    def records(name, *contents):
        with RecordWriter(tmp_path / name) as writer:
            for content in contents:
                writer.write(content)
        return tmp_path / name

    whole = hash_records([records("whole", b"first", b"second", b"")])
    assert hash_records([records("1", b"first"), records("2", b"second", b"")]) == whole  # shards of the same
    others = [(b"first", b"second"), (b"second", b"first", b""), (b"first", b"secone", b""), ()]
    assert len({whole, *(hash_records([records("x", *contents)]) for contents in others)}) == 5
    assert len(whole) == 64


@pytest.mark.parametrize("lost", [1, 20, 44, 70])
def test_count_records_refuses_a_truncated_file(tmp_path, lost):
    path = tmp_path / "a.tfrecords"
    write_records(path, 3)  # 26 + 36 + 46 bytes
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    after = 2 if lost < 46 else 1
    with pytest.raises(DataError, match=rf"a\.tfrecords: cut off after {after} records; write it again"):
        count_records([path])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"just some text in a file", "not a TFRecord file"), (b"\x1f\x8b" + b"\x08" * 40, "gzip-compressed")],
)
def test_count_records_refuses_other_files(tmp_path, content, message):
    (tmp_path / "a.tfrecords").write_bytes(content)
    with pytest.raises(DataError, match=message):
        count_records([tmp_path / "a.tfrecords"])
    with pytest.raises(DataError, match="no such record file"):
        count_records([tmp_path / "b.tfrecords"])


def test_writer_leaves_nothing_after_an_error(tmp_path):
    def fail_half_way():
        with RecordWriter(tmp_path / "a.tfrecords") as writer:
            writer.write(b"one")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_writer_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.tfrecords"
    write_records(path, 3)
    with RecordWriter(path) as writer:
        writer.write(b"one")
        assert count_records([path]) == 3
    assert count_records([path]) == 1


def test_find_records(tmp_path):
    for name in ("train.tfrecords", "val-00000-of-00002.tfrecords", "val-00001-of-00002.tfrecords"):
        write_records(tmp_path / name, 1)
    assert find_records(tmp_path, "train") == [str(tmp_path / "train.tfrecords")]
    shards = ["val-00000-of-00002.tfrecords", "val-00001-of-00002.tfrecords"]
    assert find_records(tmp_path, "val") == [str(tmp_path / name) for name in shards]
    assert list_splits(tmp_path) == ["train", "val"]
    with pytest.raises(DataError, match=r"looked for test\.tfrecords .*there are records of: train, val"):
        find_records(tmp_path, "test")
    (tmp_path / "val-00000-of-00002.tfrecords").unlink()
    with pytest.raises(DataError, match=r"2 shards of val are not complete.*val-00000-of-00002\.tfrecords"):
        find_records(tmp_path, "val")
    write_records(tmp_path / "val.tfrecords", 1)
    with pytest.raises(DataError, match="keep one of the two forms"):
        find_records(tmp_path, "val")
    with pytest.raises(DataError, match="no such folder"):
        find_records(tmp_path / "nowhere", "train")


def test_classes_round_trip(tmp_path):
    write_classes(tmp_path, CLASSES)
    assert read_classes(tmp_path) == CLASSES
    assert json.loads((tmp_path / "classes.json").read_text("utf-8")) == CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["classes.json"]


@pytest.mark.parametrize("content", ["{", "{}", "[]", "[1]", '["car", ""]', '["car", "car"]'])
def test_wrong_class_lists_are_refused(tmp_path, content):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(DataError, match=r"classes\.json"):
        read_classes(tmp_path)
    with pytest.raises(DataError, match="lumi dataset transform"):
        read_classes(tmp_path / "nowhere")
