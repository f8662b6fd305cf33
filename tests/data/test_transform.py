import json

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.readers import open_reader
from luminoth.data.record_files import count_records, find_records, read_classes
from luminoth.data.records import decode_example, read_records
from luminoth.data.report import Kind
from luminoth.data.tfrecord import parse_record
from luminoth.data.transform.run import Filters, transform
from luminoth.errors import DataError, OutputError
from luminoth.image import inspect_image
from tests.data.source_sets import FORMATS, OPTIONS, Object, Picture, good_pictures, picture_bytes, write_set

CLASSES = ["car", "person", "traffic light"]


def street(index: int, *labels: str) -> Picture:
    return Picture(f"{index}.jpg", picture_bytes(), [Object(label, (4.0, 5.0, 20.0, 25.0)) for label in labels])


def run(folder, output, *splits, strict=False, options=None, format="pascal", **filters):
    reader = open_reader(format, folder, options or OPTIONS.get(format))
    return transform(reader, output, splits, filters=Filters(**filters), strict=strict)


def ids(output, split="train"):
    records = tf.data.TFRecordDataset(find_records(output, split)).map(parse_record)
    return [record["image_id"].decode() for record in records.as_numpy_iterator()]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    return write_set("pascal", tmp_path / "set", train=good_pictures(), val=good_pictures()[:1])


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_records_from_every_format(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=good_pictures(), val=good_pictures()[:1])
    report = run(folder, tmp_path / "tf", format=format)
    assert files(tmp_path / "tf") == [
        "classes.json", "train.report.json", "train.tfrecords", "val.report.json", "val.tfrecords",
    ]  # fmt: skip
    assert files(tmp_path) == ["set", "tf"]
    assert read_classes(tmp_path / "tf") == report.classes == CLASSES
    assert [count_records(find_records(tmp_path / "tf", split)) for split in ("train", "val")] == [3, 1]
    records = tf.data.TFRecordDataset(find_records(tmp_path / "tf", "train")).map(parse_record)
    first, second, third = sorted(records.as_numpy_iterator(), key=lambda record: -len(record["boxes"]))
    np.testing.assert_allclose(first["boxes"], [[4, 5, 20, 25], [0, 0, 8, 12]], atol=1e-5)
    assert first["class_ids"].tolist() == [0, 2]
    np.testing.assert_allclose(second["boxes"], [[30, 2, 50, 20]], atol=1e-5)
    assert second["class_ids"].tolist() == [1]
    assert third["boxes"].shape == (0, 4)
    train = report.splits[0]
    assert (train.images_written, train.images_empty, train.boxes_written) == (3, 1, 3)
    assert dict(train.boxes_per_class) == {"car": 1, "person": 1, "traffic light": 1}
    assert train.findings == []


def test_only_classes(folder, tmp_path):
    report = run(folder, tmp_path / "tf", "train", only_classes=("traffic light", "car"))
    assert read_classes(tmp_path / "tf") == ["car", "traffic light"]
    assert ids(tmp_path / "tf") == ["first", "empty street"]  # `second` shows only a person
    train = report.splits[0]
    assert (train.images_found, train.images_written, train.images_left_out) == (3, 2, 1)
    assert (train.boxes_found, train.boxes_written, train.boxes_left_out) == (3, 2, 1)


def test_class_filter_that_matches_nothing(folder, tmp_path):
    message = r"0 of 3 annotations matched; yours: Car, bike; there are: car, person, traffic light"
    with pytest.raises(DataError, match=message):
        run(folder, tmp_path / "tf", "train", only_classes=("Car", "bike"))
    with pytest.raises(DataError, match=r"no class bike; there are: car, person, traffic light"):
        run(folder, tmp_path / "tf", "train", only_classes=("car", "bike"))
    with pytest.raises(DataError, match=r"val: no record of 1 pictures: left out by the filters \(1\)"):
        run(folder, tmp_path / "tf", "train", "val", only_classes=("person",))
    assert files(tmp_path) == ["set"]


def test_a_split_nobody_asked_for_may_stay_empty(folder, tmp_path):
    run(folder, tmp_path / "tf")
    report = run(folder, tmp_path / "tf", only_classes=("person",))
    assert [split.images_written for split in report.splits] == [2, 0]
    assert "val.tfrecords" not in files(tmp_path / "tf")  # the earlier run's had another class list


def test_only_images(folder, tmp_path):
    run(folder, tmp_path / "tf", "train", only_images=("second", "empty street.jpg"))
    assert ids(tmp_path / "tf") == ["second", "empty street"]
    with pytest.raises(DataError, match=r"1 of 3 pictures matched; not there: third; there are: first, second, empty"):
        run(folder, tmp_path / "tf", "train", only_images=("first", "third"))


def test_limit_examples_counts_records_of_each_split(tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=[street(i, "car") for i in range(60)], val=good_pictures())
    (folder / "JPEGImages" / "0.jpg").unlink()
    report = run(folder, tmp_path / "tf", limit_examples=2)
    assert ids(tmp_path / "tf") == ["1", "2"]
    assert ids(tmp_path / "tf", "val") == ["first", "second"]
    assert all(split.stopped_early for split in report.splits)
    assert report.splits[0].images_found == 3


def test_class_examples(tmp_path):
    pictures = [
        street(0, "car"),
        street(1),
        street(2, "car"),
        street(3, "car"),
        street(4, "car", "bus"),
        street(5, "car"),
    ]
    folder = write_set("pascal", tmp_path / "set", train=pictures)
    report = run(folder, tmp_path / "tf", class_examples=1)
    assert ids(tmp_path / "tf") == ["0", "4"]  # empty ones and those that add only cars are left out
    assert dict(report.splits[0].boxes_per_class) == {"bus": 1, "car": 2}
    assert (report.splits[0].images_found, report.splits[0].images_left_out) == (5, 3)


def test_named_classes_drop_others_with_a_word(folder, tmp_path):
    report = run(folder, tmp_path / "tf", "train", options={"classes": "person,car"})
    assert read_classes(tmp_path / "tf") == ["person", "car"]
    (finding,) = report.splits[0].by_kind()[Kind.UNKNOWN_CLASS]
    assert (finding.image_id, finding.detail) == ("first", "'traffic light'")
    with pytest.raises(DataError, match=r"Annotations/first.xml line \d+: box of an unknown class"):
        run(folder, tmp_path / "tf", "train", options={"classes": "person,car"}, strict=True)


def test_class_list_or_boxes_of_which_nothing_fits(folder, tmp_path):
    message = r"0 of 5 annotations matched; yours: lorry; there are: car, traffic light, person; nothing was written"
    with pytest.raises(DataError, match=message):
        run(folder, tmp_path / "tf", options={"classes": "lorry"})
    inverted = Picture("a.jpg", picture_bytes(), [Object("car", (9.0, 5.0, 2.0, 25.0))])
    folder = write_set("pascal", tmp_path / "inverted", train=[inverted])
    with pytest.raises(DataError, match=r"none of 1 boxes could be used; the first: .*a.xml line 5: inverted"):
        run(folder, tmp_path / "tf")
    assert "tf" not in files(tmp_path)


def test_pictures_listed_twice_are_taken_once(folder, tmp_path):
    (folder / "ImageSets" / "Main" / "train.txt").write_text("first\nsecond\nfirst\n")
    report = run(folder, tmp_path / "tf", "train")
    assert ids(tmp_path / "tf") == ["first", "second"]
    assert [finding.image_id for finding in report.splits[0].by_kind()[Kind.DUPLICATE_ID]] == ["first"]
    assert report.splits[0].images_found == 3


def test_other_splits_keep_their_class_list(folder, tmp_path):
    run(folder, tmp_path / "tf", "train")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tf").iterdir()}
    with pytest.raises(DataError, match=r"holds records of train with the classes car, person.*write all splits in"):
        run(folder, tmp_path / "tf", "val", options={"classes": "car,bus"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "tf").iterdir()} == before
    run(folder, tmp_path / "tf", "val")
    assert len(ids(tmp_path / "tf", "val")) == 1


def test_an_error_in_a_later_split_leaves_earlier_records_alone(folder, tmp_path):
    run(folder, tmp_path / "tf")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tf").iterdir()}
    (folder / "JPEGImages" / "first.jpg").unlink()
    with pytest.raises(DataError, match="val: no record"):
        run(folder, tmp_path / "tf", "train", "val")
    assert {path.name: path.read_bytes() for path in (tmp_path / "tf").iterdir()} == before
    assert files(tmp_path) == ["set", "tf"]


def test_output_that_cannot_be(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file; --output-dir must be a folder"):
        run(folder, tmp_path / "file")
    with pytest.raises(OutputError, match=r"file/tf: cannot be written .*choose another folder"):
        run(folder, tmp_path / "file" / "tf")


def test_records_replace_shards_and_shards_records(folder, tmp_path):
    run(folder, tmp_path / "tf", "train")
    transform(open_reader("pascal", folder), tmp_path / "tf", ["train"], shards=2)
    shards = ["train-00000-of-00002.tfrecords", "train-00001-of-00002.tfrecords"]
    assert files(tmp_path / "tf") == ["classes.json", *shards, "train.report.json"]
    assert ids(tmp_path / "tf") == ["first", "empty street", "second"]  # in turn
    run(folder, tmp_path / "tf", "train")
    assert files(tmp_path / "tf") == ["classes.json", "train.report.json", "train.tfrecords"]


def test_there_are_no_empty_shards(folder, tmp_path):
    report = transform(open_reader("pascal", folder), tmp_path / "tf", ["train"], shards=8)
    assert [path.name for path in report.record_files("train")] == [
        f"train-0000{i}-of-00003.tfrecords" for i in (0, 1, 2)
    ]


def test_a_shard_that_is_full_is_followed_by_another(tmp_path, monkeypatch):
    folder = write_set("csv", tmp_path / "set", train=[street(i, "car") for i in range(7)])
    monkeypatch.setattr("luminoth.data.transform.shards.RECORDS_A_SHARD", 3)
    report = run(folder, tmp_path / "tf", format="csv")
    assert [count_records([path]) for path in report.record_files("train")] == [3, 3, 1]
    size = report.record_files("train")[0].stat().st_size // 3
    monkeypatch.setattr("luminoth.data.transform.shards.BYTES_A_SHARD", 2 * size)
    report = run(folder, tmp_path / "tf", format="csv")
    assert [count_records([path]) for path in report.record_files("train")] == [2, 2, 2, 1]
    assert ids(tmp_path / "tf") == [f"{i}.jpg" for i in range(7)]


def test_large_pictures_are_shrunk_with_their_boxes(tmp_path):
    pictures = [
        Picture("wide.jpg", picture_bytes(size=(30, 60)), [Object("car", (4.0, 5.0, 20.0, 25.0))], (30, 60)),
        Picture("small.png", picture_bytes("PNG", size=(40, 40)), [Object("car", (4.0, 5.0, 20.0, 25.0))], (40, 40)),
        Picture("tall.png", picture_bytes("PNG", size=(80, 20)), [], (80, 20)),
    ]
    folder = write_set("csv", tmp_path / "set", train=pictures)
    report = transform(open_reader("csv", folder), tmp_path / "tf", max_size=40).splits[0]
    wide, small, tall = map(decode_example, read_records(find_records(tmp_path / "tf", "train")))
    assert [each.image_size for each in (wide, small, tall)] == [(20, 40), (40, 40), (40, 10)]
    np.testing.assert_allclose(wide.boxes, [[4 / 1.5, 5 / 1.5, 20 / 1.5, 25 / 1.5]], rtol=1e-6)
    np.testing.assert_allclose(small.boxes, [[4, 5, 20, 25]], rtol=1e-6)
    assert small.encoded == pictures[1].encoded
    assert [inspect_image(each.encoded).format for each in (wide, small, tall)] == ["JPEG", "PNG", "PNG"]
    assert all(inspect_image(each.encoded).size == each.image_size for each in (wide, small, tall))
    shrunk = report.by_kind()[Kind.SHRUNK]
    assert [(each.image_id, each.detail) for each in shrunk] == [
        ("wide.jpg", "60 x 30, now 40 x 20 (width x height)"),
        ("tall.png", "20 x 80, now 10 x 40 (width x height)"),
    ]


def test_set_without_any_class(tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=[street(0)])
    with pytest.raises(DataError, match=r"names a class; .*-o classes=car,person"):
        run(folder, tmp_path / "tf")
    run(folder, tmp_path / "tf", options={"classes": "car"})
    assert json.loads((tmp_path / "tf" / "train.report.json").read_text())["pictures"]["written_without_objects"] == 1
