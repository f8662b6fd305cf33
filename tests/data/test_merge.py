import os

import pytest

from luminoth.data import merge as merge_module
from luminoth.data.example_proto import Example as ExampleMessage
from luminoth.data.example_proto import SequenceExample
from luminoth.data.merge import merge
from luminoth.data.record_files import count_records, read_classes, write_classes
from luminoth.data.records import encode_example, read_records
from luminoth.errors import DataError, OutputError
from tests.data.record_sets import example, luminoth_record, read_folder, write_folder

CLASSES = ["car", "person", "traffic light"]
CAR, PERSON = (4, 5, 20, 25), (30, 2, 40, 20)


@pytest.fixture
def folders(tmp_path):
    """Two folders of records with equal class lists; `night` has no val."""
    first = example("first", [CAR, PERSON], [0, 1], crowd=[1], difficult=[0])
    day = write_folder(tmp_path / "day", CLASSES, train=[first, example("empty")], val=[first])
    night = write_folder(tmp_path / "night", CLASSES, train=[example("dark", [PERSON], [2])])
    return day, night


def labels(folder, split="train"):
    """(picture id, class names) of each record."""
    classes = read_classes(folder)
    return [(each.image_id, [classes[number] for number in each.class_ids]) for each in read_folder(folder, split)]


def texts(folder):
    """What the records call their classes themselves."""
    records = [ExampleMessage.FromString(record) for record in read_records([folder / "train.tfrecords"])]
    return [
        [text.decode() for text in record.features.feature["image/object/class/text"].bytes_list.value]
        for record in records
    ]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- Equal class lists ------------------------------------------------------------


def test_folders_are_joined_split_by_split(folders, tmp_path):
    day, night = folders
    report = merge(folders, tmp_path / "both")
    assert (tmp_path / "both" / "train.tfrecords").read_bytes() == b"".join(
        (folder / "train.tfrecords").read_bytes() for folder in (day, night)
    )
    assert labels(tmp_path / "both") == [
        ("first", ["car", "person"]), ("empty", []), ("dark", ["traffic light"]),
    ]  # fmt: skip
    assert {path.name: count for path, count in report.records.items()} == {"train.tfrecords": 3, "val.tfrecords": 1}
    assert read_classes(tmp_path / "both") == report.classes == CLASSES
    assert report.repeated_ids == report.relabelled == {}
    assert sorted(os.listdir(tmp_path)) == ["both", "day", "night"]


def test_files_are_joined(folders, tmp_path):
    day, night = folders
    output = tmp_path / "both" / "all.tfrecords"
    seen = []
    sources = [day / "train.tfrecords", night / "train.tfrecords", day / "val.tfrecords"]
    report = merge(sources, output, on_record=lambda: seen.append(1))
    assert count_records([output]) == len(seen) == 4
    assert report.repeated_ids == {"first": 2}
    assert read_classes(tmp_path / "both") == CLASSES


# --- Other class lists ------------------------------------------------------------


def test_classes_are_mapped_by_name(tmp_path):
    boxes = [CAR, PERSON, CAR]
    old = [example("a", boxes, [0, 1, 2], crowd=[1], difficult=[0], truncated=[2]), example("none")]
    day = write_folder(tmp_path / "day", ["car", "person", "bus"], train=old[:1])
    night = write_folder(tmp_path / "night", ["bus", "tram", "car"], train=old)
    report = merge([day, night], tmp_path / "both")
    assert report.classes == read_classes(tmp_path / "both") == ["car", "person", "bus", "tram"]
    assert report.relabelled == {night: [("bus", 0, "bus", 2), ("tram", 1, "tram", 3), ("car", 2, "car", 0)]}
    assert labels(tmp_path / "both") == [("a", ["car", "person", "bus"]), ("a", ["bus", "tram", "car"]), ("none", [])]
    assert texts(tmp_path / "both") == [["car", "person", "bus"], ["bus", "tram", "car"], []]


def test_all_but_the_labels_is_kept(tmp_path):
    """The record is what would have been written with the joined list; what we do not know of it stays."""
    of = [example("a", [CAR, PERSON], [0, 1], crowd=[1], difficult=[0], truncated=[1]), ["person", "car"]]
    message = ExampleMessage.FromString(encode_example(*of))
    message.features.feature["camera/tilt"].float_list.value.append(0.25)
    day = write_folder(tmp_path / "day", ["car"], train=[])
    night = write_folder(tmp_path / "night", of[1], train=[message.SerializeToString()])
    merge([day, night], tmp_path / "both")
    (merged,) = read_records([tmp_path / "both" / "train.tfrecords"])
    expected = ExampleMessage.FromString(
        encode_example(example("a", [CAR, PERSON], [1, 0], crowd=[1], difficult=[0], truncated=[1]), ["car", "person"])
    )
    expected.features.feature["camera/tilt"].float_list.value.append(0.25)
    assert ExampleMessage.FromString(merged) == expected


def test_a_longer_list_leaves_the_files_of_its_beginning_as_they_are(tmp_path):
    day = write_folder(tmp_path / "day", ["car"], train=[example("a", [CAR], [0])])
    night = write_folder(tmp_path / "night", ["car", "bus"], train=[example("b", [CAR], [1])])
    report = merge([day, night], tmp_path / "both")
    assert report.relabelled == {}
    assert labels(tmp_path / "both") == [("a", ["car"]), ("b", ["bus"])]


def test_records_of_luminoth_are_mapped_too(tmp_path):
    day = write_folder(tmp_path / "day", ["car"], train=[example("a", [CAR], [0])])
    old = [luminoth_record("old", [(1, *CAR), (0, *PERSON)]), luminoth_record("empty")]
    night = write_folder(tmp_path / "night", ["bus", "car"], train=old)
    merge([day, night], tmp_path / "both")
    assert labels(tmp_path / "both") == [("a", ["car"]), ("old", ["car", "bus"]), ("empty", [])]
    assert read_folder(tmp_path / "both", "train")[1].boxes.tolist() == [list(CAR), list(PERSON)]
    merged = [SequenceExample.FromString(each) for each in read_records([tmp_path / "both" / "train.tfrecords"])]
    assert merged[1] == SequenceExample.FromString(luminoth_record("old", [(0, *CAR), (1, *PERSON)]))


def test_classes_can_be_renamed_and_joined(tmp_path):
    day = write_folder(tmp_path / "day", ["car", "lorry", "truck"], train=[example("a", [CAR] * 3, [0, 1, 2])])
    night = write_folder(tmp_path / "night", ["Car", "van"], train=[example("b", [CAR] * 2, [0, 1])])
    report = merge([day, night], tmp_path / "both", renames={"Car": "car", "lorry": "truck", "van": "bus"})
    assert report.classes == ["car", "truck", "bus"]
    assert labels(tmp_path / "both") == [("a", ["car", "truck", "truck"]), ("b", ["car", "bus"])]
    assert texts(tmp_path / "both") == [["car", "truck", "truck"], ["car", "bus"]]
    assert report.relabelled == {
        day: [("lorry", 1, "truck", 1), ("truck", 2, "truck", 1)],
        night: [("Car", 0, "car", 0), ("van", 1, "bus", 2)],
    }


def test_names_can_change_places(tmp_path):
    day = write_folder(tmp_path / "day", ["car", "bus"], train=[example("a", [CAR] * 2, [0, 1])])
    merge([day, day], tmp_path / "both", renames={"car": "bus", "bus": "car"})
    assert read_classes(tmp_path / "both") == ["bus", "car"]
    assert labels(tmp_path / "both") == [("a", ["bus", "car"])] * 2


@pytest.mark.parametrize("other", ["Traffic light", "traffic_light", "traffic-light", "trafficlight", "TRAFFIC  LIGHT"])
def test_other_spellings_are_refused(folders, tmp_path, other):
    _, night = folders
    write_classes(night, ["car", "person", other])
    with pytest.raises(DataError, match=r"has the class 'traffic light', .*night/classes.json has") as refused:
        merge(folders, tmp_path / "both")
    assert str(refused.value).endswith(f"if they mean the same: --rename '{other}=traffic light'")
    assert not (tmp_path / "both").exists()
    merge(folders, tmp_path / "both", renames={other: "traffic light"})
    assert read_classes(tmp_path / "both") == CLASSES


def test_a_list_that_has_both_spellings_keeps_them_apart(tmp_path):
    day = write_folder(tmp_path / "day", ["go", "Go"], train=[example("a", [CAR] * 2, [0, 1])])
    night = write_folder(tmp_path / "night", ["Go"], train=[example("b", [CAR], [0])])
    merge([day, night], tmp_path / "both")
    assert labels(tmp_path / "both") == [("a", ["go", "Go"]), ("b", ["Go"])]


def test_a_class_that_is_not_there_cannot_be_renamed(folders, tmp_path):
    with pytest.raises(DataError, match="--rename lorry=truck: no source has a class 'lorry'; there are: car, person"):
        merge(folders, tmp_path / "both", renames={"lorry": "truck"})


# --- What is refused ------------------------------------------------------------


def test_records_that_stay_in_the_output_folder_must_fit(folders, tmp_path):
    other = write_folder(tmp_path / "other", ["bus"], test=[])
    before = contents(other)
    with pytest.raises(DataError, match=r"class lists differ: classes.json there, of test.tfrecords, has bus"):
        merge(folders, other)
    assert contents(other) == before


def test_shards_that_stay_are_refused(folders, tmp_path):
    other = write_folder(tmp_path / "other", CLASSES, val=[])
    (other / "train-00000-of-00002.tfrecords").touch()
    with pytest.raises(DataError, match="other: holds shards of train; delete them"):
        merge(folders, other)


def test_a_class_outside_the_list_is_refused(folders, tmp_path):
    _, night = folders
    write_classes(night, CLASSES[:2])
    with pytest.raises(DataError, match=r"night/train.tfrecords: image 'dark' has a box of class number 2, .* only 2"):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], r"night/train\.tfrecords: .*cut off"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], r"night/train\.tfrecords: record 1 is damaged"),
    ],
)
def test_damaged_sources_are_refused_before_anything_is_written(folders, tmp_path, damage, message):
    path = folders[1] / "train.tfrecords"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        merge(folders, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_nothing_is_left_when_the_disk_is_full(folders, tmp_path, monkeypatch):
    def fails_at_the_last(path, relabelling, joined, append=merge_module._append):
        append(path, relabelling, joined)
        if path.name == "val.tfrecords":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge_module, "_append", fails_at_the_last)
    with pytest.raises(OutputError, match="deep/both: cannot be written: No space left on device"):
        merge(folders, tmp_path / "deep" / "both")
    assert sorted(os.listdir(tmp_path)) == ["day", "night"]


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
