import pytest
import tensorflow as tf

from luminoth.data.merge import merge
from luminoth.data.readers import open_reader
from luminoth.data.tfrecord import count_records, find_records, parse_record, read_classes, write_classes
from luminoth.data.transform import transform
from luminoth.errors import DataError
from tests.data.source_sets import good_pictures, write_set


@pytest.fixture
def folders(tmp_path):
    """Two folders of records with equal class lists; `night` has no val."""
    day = write_set("csv", tmp_path / "a", train=good_pictures(), val=good_pictures()[:1])
    night = write_set("pascal", tmp_path / "b", train=good_pictures()[:2])
    transform(open_reader("csv", day), tmp_path / "day")
    transform(open_reader("pascal", night), tmp_path / "night")
    return tmp_path / "day", tmp_path / "night"


def ids(files):
    records = tf.data.TFRecordDataset(files).map(parse_record)
    return [record["image_id"].decode() for record in records.as_numpy_iterator()]


def test_folders_are_joined_split_by_split(folders, tmp_path):
    report = merge(folders, tmp_path / "both")
    assert ids(find_records(tmp_path / "both", "train")) == [
        "first.jpg", "second.jpg", "empty street.jpg", "first", "second",
    ]  # fmt: skip
    assert {path.name: count for path, count in report.records.items()} == {"train.tfrecords": 5, "val.tfrecords": 1}
    assert read_classes(tmp_path / "both") == report.classes == ["car", "person", "traffic light"]
    assert report.repeated_ids == {}


def test_files_are_joined(folders, tmp_path):
    day, night = folders
    output = tmp_path / "both" / "all.tfrecords"
    report = merge([day / "train.tfrecords", night / "train.tfrecords", day / "val.tfrecords"], output)
    assert count_records([output]) == 6
    assert report.repeated_ids == {"first.jpg": 2}
    assert read_classes(tmp_path / "both") == ["car", "person", "traffic light"]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["car", "bus"], r"class lists differ: .*day.*has car, person, traffic light; .*night.*has car, bus"),
        (["person", "car", "traffic light"], "same classes in another order"),
    ],
)
def test_other_class_lists_are_refused(folders, tmp_path, classes, message):
    write_classes(folders[1], classes)
    with pytest.raises(DataError, match=message):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_records_that_stay_in_the_output_folder_must_fit(folders, tmp_path):
    day, night = folders
    write_classes(tmp_path / "a", ["bus"])
    (tmp_path / "a" / "test.tfrecords").write_bytes((day / "val.tfrecords").read_bytes())
    with pytest.raises(DataError, match="class lists differ"):
        merge([day, night], tmp_path / "a")


def test_damaged_sources_are_refused_before_anything_is_written(folders, tmp_path):
    path = folders[1] / "train.tfrecords"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"night/train\.tfrecords: cut off after 1 records"):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_wrong_use(folders, tmp_path):
    day, night = folders
    with pytest.raises(DataError, match="not both at once"):
        merge([day, night / "train.tfrecords"], tmp_path / "both")
    with pytest.raises(DataError, match="no such file or folder"):
        merge([day, tmp_path / "nowhere"], tmp_path / "both")
    with pytest.raises(DataError, match="is a source and the output"):
        merge([day, night], night)
    with pytest.raises(DataError, match=r"must end in \.tfrecords"):
        merge([day / "train.tfrecords", day / "val.tfrecords"], tmp_path / "both")
    with pytest.raises(DataError, match="merging folders makes a folder"):
        merge([day, night], tmp_path / "both.tfrecords")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"void: there is no \.tfrecords file in it"):
        merge([day, tmp_path / "void"], tmp_path / "both")
