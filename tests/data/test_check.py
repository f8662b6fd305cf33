"""`check`: each kind of trouble is found where it was planted, and nothing is found in clean data."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.config import resolve_config
from luminoth.data.check.concerns import Severity
from luminoth.data.check.looks import axes_exchanged, box_overlaps, same_place_pairs
from luminoth.data.check.names import name_concerns
from luminoth.data.check.run import choose_splits, judge, open_checked
from luminoth.data.check.shapes import find_misfits
from luminoth.data.check.survey import count_pictures, survey_split
from luminoth.data.readers import open_reader
from luminoth.data.record_files import CLASSES_FILE, write_classes
from luminoth.data.stats.configured import network_view
from luminoth.data.toytown import write_toytown
from luminoth.data.transform.run import transform
from luminoth.errors import DataError
from tests.data.record_sets import example, luminoth_record, write_folder
from tests.data.source_sets import (
    CAR,
    FORMATS,
    OPTIONS,
    Object,
    Picture,
    damaged_pictures,
    good_pictures,
    picture_bytes,
    write_set,
)
from tests.data.test_similarity import encode, scene

CONFIG = resolve_config(()).config
SIZE = (120, 180)


def check(path, type=None, options=None, splits=(), *, config=CONFIG, workers=1):
    source, known = open_checked(path, type, options)
    trained = config.dataset.split
    surveys = [survey_split(source, split, workers=workers) for split in choose_splits(source, splits, trained)]
    return judge(source, surveys, trained_split=trained, view=network_view(config), known=known)


def concern(report, topic):
    (found,) = [each for each in report.concerns if each.topic == topic]
    return found


def topics(report):
    return {each.topic for each in report.concerns}


def street(number, *objects, size=SIZE, stated=None, quality=90, name=None):
    encoded = encode(scene(number, size), quality=quality)
    return Picture(f"{name or f'p{number}'}.jpg", encoded, list(objects), stated or size)


def car(x=20.0, y=30.0, width=60.0, height=40.0, label="car"):
    return Object(label, (x, y, x + width, y + height))


# --- Before a transform ------------------------------------------------------------


@pytest.fixture(scope="module")
def toytown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toytown")
    write_toytown(folder, images=90, seed=5, image_size=(160, 240))
    return folder


def test_clean_data_is_good_but_for_what_is_small(toytown):
    report = check(toytown)
    assert report.is_fit
    assert topics(report) <= {"small_for_anchors", "few_pixels", "rare_class"}


@pytest.mark.parametrize("format", FORMATS)
def test_all_damage_is_named_and_nothing_is_written(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=damaged_pictures(), val=good_pictures())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    report = check(folder, format, OPTIONS.get(format))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    # The same as a transform reports, kind by kind.
    transformed = transform(open_reader(format, folder, OPTIONS.get(format)), tmp_path / "tf")
    for split, figures in zip(transformed.splits, report.splits, strict=True):
        assert (figures.split, figures.pictures, figures.dropped) == (
            split.split,
            split.images_written,
            split.images_dropped,
        )
        assert (figures.empty, figures.objects) == (split.images_empty, split.boxes_written)
        for kind, findings in split.by_kind().items():
            entries = [entry for entry in concern(report, kind.name.lower()).entries if entry.split == split.split]
            assert [entry.where for entry in entries] == [finding.where for finding in findings]
    assert report.is_fit
    assert report.verdict.startswith("Trains, with ")
    assert concern(report, "missing_image").severity is Severity.LOOK
    assert concern(report, "reencoded").severity is Severity.NOTED


def test_nothing_is_downloaded_and_other_classes_are_left_out(tmp_path):
    pictures = [street(0, car()), street(1, car(label="bus")), replace(street(2, car()), encoded=None)]
    folder = write_set("openimages", tmp_path, train=pictures)
    report = check(folder, "openimages", {"classes": "car"})
    assert concern(report, "not_downloaded").total == 1
    assert (report.splits[0].pictures, report.splits[0].objects) == (1, 1)
    assert "missing_image" not in topics(report)
    assert "missing_image" in topics(check(folder, "openimages", {"download": "false"}))


def test_workers_give_the_same(tmp_path):
    folder = write_set("pascal", tmp_path, train=damaged_pictures() * 2)
    assert check(folder, workers=2).to_dict() == check(folder).to_dict()


def test_axes_and_sides_exchanged(tmp_path):
    pictures = [
        street(0, car(), Object("car", (30.0, 130.0, 70.0, 170.0))),  # x and y exchanged: below the picture
        street(1, car(100.0, 50.0, 82.0, 40.0)),  # drawn a little over the edge
        street(2, car(), stated=SIZE[::-1]),
        street(3, car(), stated=(60, 90)),
    ]
    report = check(write_set("pascal", tmp_path, train=pictures))
    (exchanged,) = concern(report, "axes_exchanged").entries
    assert (exchanged.image_id, str(exchanged)) == (
        "p0",
        "Annotations/p0.xml line 8: [30, 130, 70, 170], picture 180 x 120",
    )
    (sides,) = concern(report, "sides_exchanged").entries
    assert (sides.image_id, sides.detail) == ("p2", "stated 120 x 180, is 180 x 120 (width x height)")
    assert len(concern(report, "size_differs").entries) == 2


def test_objects_labelled_twice(tmp_path):
    pictures = [
        street(0, car(), car(label="van", x=20.5)),
        street(1, car(), car(x=21.0), car(x=90.0)),
        street(2, car(), car(label="van", x=40.0)),
    ]
    report = check(write_set("pascal", tmp_path, train=pictures))
    assert [str(entry) for entry in concern(report, "two_classes").entries] == [
        "Annotations/p0.xml: car and van at [20, 30, 80, 70]"
    ]
    assert [entry.image_id for entry in concern(report, "boxed_twice").entries] == ["p1"]


def test_copies_across_splits_and_within(tmp_path):
    train = [street(number, car(), car(x=100.0, label="bus")) for number in range(6)]
    val = [
        replace(train[0], name="same.jpg"),
        street(1, car(), car(x=101.0), quality=50, name="again"),  # the bus is a car here
        street(20, car(), car(x=100.0, label="bus")),
        street(2, car(), car(x=100.0, label="bus"), quality=60, name="third"),
    ]
    train.append(replace(train[3], name="repeated.jpg"))
    report = check(write_set("pascal", tmp_path, val=val, train=train))
    identical = concern(report, "identical_across_splits")
    assert identical.severity is Severity.LOOK
    assert [str(entry) for entry in identical.entries] == ["val: same: the same file as train: p0"]
    assert "pictures of val that are in train too, as the same file (25% of val)" in identical.text
    similar = concern(report, "similar_across_splits")
    assert [str(entry) for entry in similar.entries] == [
        "val: again: looks the same as train: p1",
        "val: third: looks the same as train: p2",
    ]
    (disagreeing,) = concern(report, "copies_disagree").entries
    assert str(disagreeing) == "train: p1: bus there, car in val: again, in the same place"
    (repeated,) = concern(report, "identical_in_split").entries
    assert str(repeated) == "train: repeated: the same file as train: p3"
    assert concern(report, "identical_in_split").severity is Severity.NOTED


def test_three_splits_are_compared_pair_by_pair(tmp_path):
    pictures = [street(number, car()) for number in range(4)]
    report = check(write_set("csv", tmp_path, train=pictures[:2], val=pictures[1:3], test=pictures[1:]), "csv")
    found = [(each.text.split(",")[0], each.total) for each in report.concerns if each.topic.startswith("identical")]
    assert sorted(found) == [
        ("pictures of test that are in train too", 1),
        ("pictures of val that are in test too", 2),
        ("pictures of val that are in train too", 1),
    ]


def test_balance(tmp_path):
    train = [street(n, *[car(x=2.0 * x, y=2.0 * y) for x in range(20) for y in range(15)]) for n in range(2)]
    train += [street(3, *[car(x=3.0 * x, label="bus") for x in range(10)], car(label="tram"))]
    val = [street(4, car(), car(label="bike"))]
    report = check(write_set("pascal", tmp_path, train=train, val=val), options={"classes": "bike,bus,car,tram,ufo"})
    named = {each.topic: [entry.where for entry in each.entries] for each in report.concerns}
    assert named["class_without_objects"] == ["ufo"]
    assert named["class_not_in_training"] == ["bike"]
    assert named["class_not_in_split"] == ["bus", "tram"]
    assert named["rare_class"] == ["tram"]
    assert "600 car, 10 bus (60 to 1)" in concern(report, "uneven_classes").text
    assert report.objects.tolist() == [[0, 10, 600, 1, 0], [1, 0, 1, 0, 0]]
    assert report.pictures.tolist() == [[0, 1, 2, 1, 0], [1, 0, 1, 0, 0]]


def test_small_objects(tmp_path):
    """Pictures of 120 x 180 become 600 x 900: five times as large; the smallest default anchor is 64."""
    pictures = [
        street(0, car(), car(x=100.0, width=6.0, height=5.0, label="bird"), car(x=120.0, width=0.7, height=20.0))
    ]
    report = check(write_set("pascal", tmp_path, train=pictures))
    small = concern(report, "small_for_anchors")
    assert small.total == 2
    assert "the smallest anchor is 64 px), 66.7% of all" in small.text
    assert [str(entry) for entry in small.entries] == [
        "bird: 1 of 1, the smallest 30.0 x 25.0 in p0",
        "car: 1 of 2, the smallest 3.5 x 100.0 in p0",
    ]
    assert [entry.where for entry in concern(report, "few_pixels").entries] == ["car"]
    larger = resolve_config((), ["model.anchors.base_size=32", "model.anchors.scales=[1]"]).config
    assert concern(check(tmp_path, config=larger), "small_for_anchors").total == 2
    fixed = ["dataset.image_preprocessing.min_size=2400", "dataset.image_preprocessing.max_size=null"]
    enlarged = check(tmp_path, config=resolve_config((), fixed).config)
    assert "small_for_anchors" not in topics(enlarged)  # 14 x 400 is thin, but not small


def test_pictures_are_named_by_their_files(tmp_path):
    """COCO's ids are numbers."""
    folder = write_set("coco", tmp_path, train=[street(0, car())], val=[street(0, car(), name="copy")])
    (entry,) = concern(check(folder), "identical_across_splits").entries
    assert str(entry) == "val: 0 (copy.jpg): the same file as train: 0 (p0.jpg)"


# --- Verdicts ------------------------------------------------------------


def test_without_pictures_or_objects_there_is_no_training(tmp_path):
    lost = [Picture("a.jpg", None, [CAR]), Picture("b.jpg", b"", [CAR])]
    report = check(write_set("pascal", tmp_path / "lost", train=lost, val=good_pictures()))
    assert report.verdict == "Training would break: no picture of train can be used"
    report = check(write_set("pascal", tmp_path / "empty", train=[street(0)], val=good_pictures()))
    assert report.verdict == "Training would learn nothing: there is no object in train"
    report = check(write_set("pascal", tmp_path / "val", train=good_pictures(), val=lost))
    assert report.is_fit
    assert "no picture of val can be used: nothing can be measured on it" in concern(report, "no_pictures").text
    report = check(write_set("pascal", tmp_path / "other", trainval=lost))
    assert report.verdict == "Training would break: no picture can be used"


def test_split_that_is_not_trained_on_is_noted(tmp_path):
    folder = write_set("pascal", tmp_path, trainval=[street(0, *[car(x=4.0 * n) for n in range(10)])])
    report = check(folder)
    assert "there is no split train, which the configuration trains on; there are: trainval" in (
        concern(report, "trained_split").text
    )
    assert concern(report, "one_split").severity is Severity.NOTED
    assert "trained_split" not in topics(check(folder, config=resolve_config((), ["dataset.split=trainval"]).config))
    with pytest.raises(DataError, match="no split test; there are: trainval"):
        check(folder, splits=["test"])


def test_good_data_is_good_to_train(tmp_path):
    pictures = [
        street(number, *[car(x=2.0 + 16 * n, width=50.0 + n, height=40.0) for n in range(8)]) for number in range(6)
    ]
    report = check(write_set("pascal", tmp_path, train=pictures[:4], val=pictures[4:]))
    assert report.verdict == "Good to train"
    assert report.to_dict()["concerns"] == []
    assert json.loads(json.dumps(report.to_dict()))["classes"] == {
        "car": {"train": {"objects": 32, "pictures": 4}, "val": {"objects": 16, "pictures": 2}}
    }


# --- Records ------------------------------------------------------------


BOX = (4.0, 5.0, 20.0, 25.0)


def test_records_of_a_transform_are_as_good_as_their_source(toytown, tmp_path):
    transform(open_reader("pascal", toytown), tmp_path / "tf")
    of_records, of_layout = check(tmp_path / "tf"), check(toytown)
    assert of_records.objects.tolist() == of_layout.objects.tolist()
    assert {each.topic: each.total for each in of_records.concerns} == {
        each.topic: each.total for each in of_layout.concerns
    }


@pytest.mark.parametrize("format", FORMATS)
def test_damage_is_gone_after_a_transform(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=damaged_pictures())
    transform(open_reader(format, folder, OPTIONS.get(format)), tmp_path / "tf")
    report = check(tmp_path / "tf")
    assert report.is_fit
    assert not topics(report) & {"undecodable", "shown_otherwise", "other_size", "clipped", "not_a_number", "outside"}


def test_stored_boxes(tmp_path):
    nan = float("nan")
    boxes = [BOX, (nan, 5, 20, 25), (20, 5, 4, 25), (4, 5, 4, 25), (41, 5, 50, 25), (-3, 5, 20, 25)]
    folder = write_folder(tmp_path, ["car"], train=[example("a", boxes, [0] * 6), example("a", [BOX], [0])])
    report = check(folder)
    kinds = ("not_a_number", "inverted", "no_area", "outside", "clipped")
    assert {kind: concern(report, kind).total for kind in kinds} == dict.fromkeys(kinds, 1)
    assert concern(report, "clipped").entries[0].where == "train.tfrecords record 1 (a)"
    assert concern(report, "clipped").severity is Severity.NOTED
    assert report.splits[0].objects == 3  # those that training keeps
    assert [entry.image_id for entry in concern(report, "repeated_id").entries] == ["a"]
    assert report.is_fit


@pytest.mark.parametrize(
    ("encoded", "detail"),
    [
        (picture_bytes()[:-2], "cut off"),
        (picture_bytes()[:400], "cut off"),
        (b"<html>404</html>", "not a picture that can be read"),
        (picture_bytes("WEBP"), "WEBP format"),
    ],
)
def test_damaged_picture_in_a_record_breaks_training(tmp_path, encoded, detail):
    folder = write_folder(
        tmp_path, ["car"], train=[example("a", [BOX], [0]), example("b", [BOX], [0], encoded=encoded)]
    )
    report = check(folder)
    (entry,) = concern(report, "undecodable").entries
    assert entry.where == "train.tfrecords record 2 (b)"
    assert detail in entry.detail
    assert report.verdict == "Training would break: records whose picture TensorFlow cannot decode"


def test_other_size_and_rotation_in_a_record(tmp_path):
    turned = picture_bytes(orientation=6)
    folder = write_folder(
        tmp_path,
        ["car"],
        train=[example("a", [BOX], [0], size=(60, 80)), example("b", [BOX], [0], encoded=turned, size=(40, 30))],
    )
    report = check(folder)
    (other,) = concern(report, "other_size").entries
    assert other.detail == "stated 80 x 60, is 40 x 30 (width x height)"
    (shown,) = concern(report, "shown_otherwise").entries
    assert (shown.image_id, shown.detail) == ("b", "EXIF rotation")
    assert report.is_fit


def test_labels_and_names_must_fit_the_class_list(tmp_path):
    folder = write_folder(tmp_path, ["car", "bus"], train=[example("a", [BOX, BOX], [0, 1])])
    write_classes(folder, ["car"])
    (entry,) = concern(check(folder), "beyond_classes").entries
    assert entry.detail == "label 2, but 1 classes"
    write_classes(folder, ["bus", "car"])
    report = check(folder)
    assert [entry.detail for entry in concern(report, "other_text").entries] == [
        "'car' is label 1, 'bus' by the list",
        "'bus' is label 2, 'car' by the list",
    ]
    assert not report.is_fit


def test_missing_class_list_breaks_and_the_rest_is_still_checked(tmp_path):
    folder = write_folder(tmp_path, ["car", "bus"], train=[example("a", [BOX], [1], encoded=b"no picture")])
    (folder / CLASSES_FILE).unlink()
    report = check(folder)
    assert {"class_list", "undecodable"} <= topics(report)
    assert re.match("Training would break: .*classes.json: there is no such file", report.verdict)
    assert report.verdict.endswith("(and 2 more, see above)")
    (folder / CLASSES_FILE).write_text("{")
    assert "cannot be read as JSON" in check(folder).verdict


def test_damaged_and_missing_files(tmp_path):
    folder = write_folder(tmp_path, ["car"], train=[example(str(n), [BOX], [0]) for n in range(3)], val=[])
    records = folder / "train.tfrecords"
    records.write_bytes(records.read_bytes()[:-100])
    source, _ = open_checked(folder)
    assert count_pictures(source, "train") is None
    report = check(folder)
    assert "damaged or cut off after 2 records" in concern(report, "records_damaged").text
    assert report.splits[0].pictures == 2  # what could be read was looked at
    records.rename(folder / "train-00001-of-00002.tfrecords")
    assert "the 2 shards of train are not complete" in check(folder).verdict


def test_records_of_luminoth(tmp_path):
    record = luminoth_record("a.jpg", [(0, 4, 5, 20, 25), (1, 4, 5, 20, 25)])
    report = check(write_folder(tmp_path, ["car", "bus"], train=[record]))
    assert concern(report, "two_classes").entries[0].detail == "car and bus at [4, 5, 20, 25]"
    report = check(write_folder(tmp_path / "other", ["car"], train=[b"no record at all"]))
    assert report.verdict.startswith("Training would break: records that are no object-detection examples")


# --- Labels that look wrong ------------------------------------------------------------


def test_shapes_of_clean_and_of_exchanged_labels():
    """Three classes: upright, flat, and one of two shapes, which a single normal distribution would not fit."""
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.normal((0.9, -2.0), (0.1, 0.4), (400, 2)),
            rng.normal((-0.7, -1.8), (0.15, 0.4), (400, 2)),
            rng.normal((2.0, -2.5), 0.05, (100, 2)),
            rng.normal((0.0, -1.0), 0.05, (100, 2)),
        ]
    )
    class_ids = np.repeat([0, 1, 2], [400, 400, 200])
    suspicion, _ = find_misfits(values, class_ids, 3)
    assert np.count_nonzero(suspicion) == 0
    class_ids[[5, 6]], class_ids[[405, 850]] = 1, 0
    suspicion, likelier = find_misfits(values, class_ids, 3)
    found = np.flatnonzero(suspicion)
    assert set(found) <= {5, 6, 405, 850}
    assert len(found) >= 3
    assert likelier[found].tolist() == [{5: 0, 6: 0, 405: 1, 850: 2}[index] for index in found.tolist()]


def test_few_objects_say_nothing_of_a_class():
    values = np.concatenate([np.zeros((49, 2)), np.full((1, 2), -2.0), np.full((49, 2), -2.0)])
    assert not find_misfits(values, np.repeat([0, 1], [50, 49]), 2)[0].any()
    assert find_misfits(np.concatenate([values, values[-1:]]), np.repeat([0, 1], 50), 2)[0].nonzero()[0].tolist() == [
        49
    ]
    assert find_misfits(np.zeros((0, 2)), np.zeros(0, int), 3)[0].tolist() == []


def test_exchanged_labels_of_a_data_set_are_found(toytown, tmp_path):
    shutil.copytree(toytown, tmp_path / "set")
    changed = set()
    for path in sorted((tmp_path / "set" / "Annotations").glob("*.xml")):
        text = path.read_text()
        if len(changed) < 4 and text.count("<name>car</name>") == 1:
            path.write_text(text.replace("<name>car</name>", "<name>traffic light</name>"))
            changed.add(path.stem)
    found = concern(check(tmp_path / "set"), "unlikely_shape").entries
    assert {entry.image_id for entry in found} <= changed
    assert all("traffic light of " in entry.detail and "more like " in entry.detail for entry in found)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["car", "Car"], 1),
        (["traffic light", "traffic_light", "trafficlight"], 3),
        (["car", "cars"], 1),
        (["bicycle", "bycicle"], 0),  # two letters
        (["motorcycle", "motocycle"], 1),
        (["elephant", "elefant"], 0),
        (["cat", "car", "cap"], 0),
        (["horse", "house", "mouse"], 0),
        (["type 1", "type 2"], 0),
        (["person", "persón"], 1),
        (["model a", "model b"], 0),
        (["+", "-"], 0),
        (["東京", "京都"], 0),
    ],
)
def test_similar_class_names(names, count):
    found = list(name_concerns(names))
    assert sum(each.total for each in found) == count


# --- Boxes ------------------------------------------------------------

_PLACES = st.floats(0, 50).map(lambda value: round(value * 4) / 4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_PLACES, _PLACES, st.integers(1, 40), st.integers(1, 40)), max_size=12))
def test_same_place_pairs_are_those_of_all_pairs(places):
    boxes = np.asarray([(x, y, x + width, y + height) for x, y, width, height in places], np.float32).reshape(-1, 4)
    boxes = np.concatenate([boxes, boxes + np.float32(0.25)])
    overlaps = box_overlaps(boxes[:, None], boxes[None])
    expected = [(i, j) for i in range(len(boxes)) for j in range(i + 1, len(boxes)) if overlaps[i, j] >= 0.9]
    assert same_place_pairs(boxes) == expected


def test_axes_exchanged_needs_a_box_that_fits_the_other_way_round():
    boxes = [
        [10, 100, 20, 150],
        [10, 20, 30, 40],
        [10, 20, 101, 40],
        [90, 90, 120, 120],
        [-30, 2, 5, 9],
        [2, 60, 9, 40],
    ]
    assert axes_exchanged(np.asarray(boxes, float), (50, 160)).tolist() == [0]
