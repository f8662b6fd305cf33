"""The transform as a Beam pipeline on Beam's own local runner: the same records and reports as without it."""

import json
import shutil

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.record_files import find_records, list_splits
from luminoth.data.records import read_records
from luminoth.data.report import Kind
from luminoth.data.transform.run import Filters, transform
from luminoth.errors import DataError
from tests.data.source_sets import damaged_pictures, good_pictures, write_set

pytest.importorskip("apache_beam", reason="needs the extra `beam`")
from luminoth.data.transform.beam import transform_on_beam


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set("pascal", tmp_path_factory.mktemp("beam") / "set", train=damaged_pictures(), val=good_pictures())


@pytest.fixture(scope="module")
def expected(folder):
    transform(open_reader("pascal", folder), folder.with_name("expected"), max_size=36)
    return folder.with_name("expected")


def records(folder, split):
    return sorted(read_records(find_records(folder, split)))


def reports(folder):
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def test_it_writes_what_the_transform_writes(folder, expected, tmp_path):
    output = tmp_path / "tf"
    transform(open_reader("csv", write_set("csv", tmp_path / "old", train=good_pictures())), output, shards=2)
    report = transform_on_beam(open_reader("pascal", folder), str(output), max_size=36, shards=1)
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in expected.iterdir())
    assert list_splits(output) == ["train", "val"]
    for split in ("train", "val"):
        assert records(output, split) == records(expected, split)
    assert reports(output) == reports(expected)
    assert [split.images_written for split in report.splits] == [12, 3]


def test_pictures_are_read_from_where_the_workers_see_them(folder, expected, tmp_path):
    """As on Dataflow: here are the annotations, there are the pictures."""
    here = tmp_path / "here"
    shutil.copytree(folder, here, ignore=shutil.ignore_patterns("*.jpg", "*.JPG", "*.png"))
    there = tmp_path / "there"
    shutil.copytree(folder, there)
    output = f"{tmp_path}/deep/tf"
    report = transform_on_beam(
        open_reader("pascal", here), output, ["val"], max_size=36, shards=2, remote_data_dir=str(there)
    )
    assert len(report.record_files("val")) == 2
    assert records(output, "val") == records(expected, "val")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"filters": Filters(limit_examples=3)}, "--limit-examples: goes by the order .* --runner beam has not"),
        ({"filters": Filters(only_images=("third",))}, "0 of 20 pictures matched; not there: third"),
        ({"strict": True}, "missing.jpg: picture missing .*leave --strict out"),
    ],
)
def test_wishes_that_cannot_be_met_leave_nothing(folder, tmp_path, wishes, message):
    with pytest.raises(DataError, match=message):
        transform_on_beam(open_reader("pascal", folder), str(tmp_path / "tf"), **wishes)
    assert not list(tmp_path.rglob("*.tfrecords"))
    assert not list(tmp_path.rglob(".partial"))


def test_a_picture_that_is_not_there_is_reported(folder, tmp_path):
    report = transform_on_beam(
        open_reader("pascal", folder), str(tmp_path / "tf"), ["train"], remote_data_dir=str(folder), shards=1
    )
    (missing,) = report.splits[0].by_kind()[Kind.MISSING_IMAGE]
    assert missing.where.endswith("missing.jpg")
    assert report.splits[0].images_found == 17
