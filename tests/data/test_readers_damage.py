"""Every kind of damage, in every format: what is kept, what is dropped, and that nothing goes missing in silence."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from luminoth.data.readers import open_reader
from luminoth.data.record_files import find_records
from luminoth.data.report import Kind
from luminoth.data.tfrecord import parse_record
from luminoth.data.transform.run import transform
from luminoth.errors import DataError
from tests.data.source_sets import FORMATS, OPTIONS, damaged_pictures, write_set

_WRITTEN = [
    "good.jpg", "rotated.jpg", "cmyk.jpg", "deep.png", "checksum.png", "grey.jpg", "bitmap.jpg", "UPPER.JPG",
    "Straße 東京.jpg", "othersize.jpg", "boxes.jpg", "empty.jpg",
]  # fmt: skip


def records_by_file(folder, split):
    """file name -> (features of the Object Detection API, what `parse_record` gives)."""
    found = {}
    for serialized in tf.data.TFRecordDataset(find_records(folder, split)).as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        name = features["image/filename"].bytes_list.value[0].decode()
        found[name] = (features, {key: value.numpy() for key, value in parse_record(serialized).items()})
    return found


@pytest.fixture(scope="module", params=FORMATS)
def converted(request, tmp_path_factory):
    """(format, report, records) of the damaged set."""
    folder = tmp_path_factory.mktemp(request.param)
    write_set(request.param, folder / "set", train=damaged_pictures())
    report = transform(open_reader(request.param, folder / "set", OPTIONS.get(request.param)), folder / "tf").splits[0]
    return request.param, report, records_by_file(folder / "tf", "train"), folder / "tf"


def test_all_usable_pictures_are_written(converted):
    _, _, records, _ = converted
    assert sorted(records) == sorted(_WRITTEN)


def test_pictures_in_are_pictures_written_and_reported(converted):
    _, report, _, _ = converted
    assert report.images_found == len(damaged_pictures())
    assert report.images_found == report.images_written + report.images_dropped + report.images_left_out
    assert report.boxes_found == sum(len(picture.objects) for picture in damaged_pictures())
    assert report.boxes_found == report.boxes_written + report.boxes_dropped + report.boxes_left_out
    assert report.images_empty == 1


def test_each_damage_is_named_with_its_file(converted):
    _, report, _, _ = converted
    names = {
        kind: [f"{finding.image_id} {finding.where}" for finding in found] for kind, found in report.by_kind().items()
    }
    counts = {kind: len(found) for kind, found in names.items()}
    assert counts[Kind.MISSING_IMAGE] == 1
    assert "missing.j" in names[Kind.MISSING_IMAGE][0].lower()  # ImageNet's names end in .JPEG
    assert counts[Kind.UNKNOWN_IMAGE] == 1
    assert "text.jpg" in names[Kind.UNKNOWN_IMAGE][0]
    damaged, reencoded = (
        sorted(name.rpartition("/")[2] for name in names[kind]) for kind in (Kind.DAMAGED_IMAGE, Kind.REENCODED)
    )
    assert damaged == ["cut.jpg", "noend.jpg", "nothing.jpg"]
    assert reencoded == ["bitmap.jpg", "checksum.png", "cmyk.jpg", "deep.png", "rotated.jpg"]
    assert "UPPER.JPG" in names[Kind.OTHER_NAME][0]
    assert {kind: counts.get(kind) for kind in (Kind.CLIPPED, Kind.OUTSIDE, Kind.INVERTED, Kind.NO_AREA)} == {
        Kind.CLIPPED: 1, Kind.OUTSIDE: 1, Kind.INVERTED: 1, Kind.NO_AREA: 1,
    }  # fmt: skip
    assert counts[Kind.NOT_A_NUMBER] == 1


def test_dropped_boxes_name_file_and_line(converted):
    format, report, _, _ = converted
    (finding,) = report.by_kind()[Kind.INVERTED]
    expected = {
        "pascal": "Annotations/boxes.xml line 11",  # objects take 3 lines each from line 5 on
        "coco": "annotations/instances_train2017.json annotation 117",
        "csv": "train.csv line 19",
        "yolo": "labels/train/boxes.txt line 3",
        "flat": "train/boxes.json object 3",
        "imagenet": "Annotations/DET/train/boxes.xml line 11",
        "taggerine": "train.json boxes.jpg box 3",
        "openimages": "train/train-annotations-bbox.csv line 6",  # sorted by picture
    }
    assert finding.where == expected[format]
    assert finding.detail == "[20, 5, 4, 25]"


def test_size_other_than_stated(converted):
    """Boxes are kept as they are, but ImageNet's are stretched with the picture; the other formats state no size."""
    format, report, records, _ = converted
    expected = [2, 2.5, 10, 12.5] if format == "imagenet" else [4, 5, 20, 25]
    np.testing.assert_allclose(records["othersize.jpg"][1]["boxes"], [expected], atol=1e-4)
    kind = {"pascal": Kind.SIZE_DIFFERS, "coco": Kind.SIZE_DIFFERS, "imagenet": Kind.RESCALED}.get(format)
    if kind is not None:
        (finding,) = report.by_kind()[kind]
        assert finding.detail == "stated 80 x 60, is 40 x 30 (width x height)"


def test_boxes_are_clipped_or_dropped(converted):
    _, _, records, _ = converted
    np.testing.assert_allclose(records["boxes.jpg"][1]["boxes"], [[0, 5, 40, 25], [4, 5, 20, 25]], atol=1e-4)


def test_rotated_picture_is_stored_upright(converted):
    _, _, records, _ = converted
    features, parsed = records["rotated.jpg"]
    image = Image.open(io.BytesIO(parsed["encoded"]))
    assert image.size == (30, 40)
    assert image.getexif().get(0x0112, 1) == 1
    assert features["image/height"].int64_list.value[0] == 40
    np.testing.assert_allclose(parsed["boxes"], [[1, 2, 30, 40]], atol=1e-4)


def test_stored_pictures_decode_and_good_ones_are_untouched(converted):
    _, _, records, _ = converted
    for name, (features, parsed) in records.items():
        pixels = tf.io.decode_image(parsed["encoded"], channels=3, expand_animations=False)
        height, width = features["image/height"].int64_list.value[0], features["image/width"].int64_list.value[0]
        assert pixels.shape == (height, width, 3), name
    originals = {picture.name: picture.encoded for picture in damaged_pictures()}
    for name in ("good.jpg", "grey.jpg", "UPPER.JPG", "Straße 東京.jpg"):
        assert records[name][1]["encoded"] == originals[name]


def test_lossless_sources_stay_lossless(converted):
    _, _, records, _ = converted
    formats = {name: records[name][0]["image/format"].bytes_list.value[0] for name in _WRITTEN}
    assert formats["cmyk.jpg"] == b"jpeg"
    assert formats["deep.png"] == formats["bitmap.jpg"] == formats["checksum.png"] == b"png"
    deep = tf.io.decode_image(records["deep.png"][1]["encoded"], channels=3).numpy()
    original = next(picture for picture in damaged_pictures() if picture.name == "deep.png").encoded
    samples = np.asarray(Image.open(io.BytesIO(original))).astype(int)
    np.testing.assert_array_equal(deep[..., 0], samples // 257)  # scaled, not cut


def test_non_ascii_names_survive(converted):
    format, report, records, folder = converted
    assert report.boxes_per_class["straßenbahn"] == 1
    assert "straßenbahn" in json.loads((folder / "classes.json").read_text("utf-8"))
    identity = records["Straße 東京.jpg"][1]["image_id"].decode()
    with_extension = dict.fromkeys(("csv", "yolo", "taggerine"), "Straße 東京.jpg")
    assert identity == {"coco": "13", **with_extension}.get(format, "Straße 東京")


def test_report_file_lists_everything(converted):
    _, report, _, folder = converted
    content = json.loads((folder / "train.report.json").read_text("utf-8"))
    assert content == json.loads(json.dumps(report.to_dict()))
    assert content["pictures"]["dropped"] == 5
    assert sum(entry["count"] for entry in content["findings"]) == len(report.findings)


@pytest.mark.parametrize("format", FORMATS)
def test_strict_fails_at_the_first_drop_and_leaves_nothing(format, tmp_path):
    write_set(format, tmp_path / "set", train=damaged_pictures())
    with pytest.raises(DataError, match=r"(picture missing|box wholly outside) .*leave --strict out"):
        transform(open_reader(format, tmp_path / "set", OPTIONS.get(format)), tmp_path / "out" / "tf", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_without_a_record_fails_and_leaves_nothing(format, tmp_path):
    bad = [picture for picture in damaged_pictures() if picture.name in ("missing.jpg", "cut.jpg")]
    write_set(format, tmp_path / "set", train=bad)
    with pytest.raises(DataError, match=r"train: no record of 2 pictures: picture missing \(1, .*nothing was written"):
        transform(open_reader(format, tmp_path / "set", OPTIONS.get(format)), tmp_path / "tf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
