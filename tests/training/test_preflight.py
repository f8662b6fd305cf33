"""What is told before a training begins; each finding from data and settings that ought to give it, and no other."""

from types import SimpleNamespace

import numpy as np
import pytest

from luminoth.config import config_from_dict
from luminoth.data.glance import glance
from luminoth.data.record_files import count_records, write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.errors import DataError
from luminoth.training.preflight import check_space, look_over
from luminoth.types import Example

CLASSES = ["car", "person"]
GOOD = {
    "train": {"batch_size": 2, "learning_rate": {"learning_rate": 0.0025}, "warmup_steps": 10},
    "dataset": {"image_preprocessing": {"min_size": 100, "max_size": 200}},
    "model": {
        "base_network": {"architecture": "thin_resnet", "weights": "random"},
        "anchors": {"base_size": 32, "scales": [1], "ratios": [1]},
        "rpn": {"target": {"allowed_border": None}},
    },
}


def write(folder, pictures, size=(100, 200)):
    """Records of pictures with these boxes, each (class id, x, y, side); the bytes are never decoded."""
    with RecordWriter(folder / "train.tfrecords") as writer:
        for number, objects in enumerate(pictures):
            example = Example(
                image_id=f"picture-{number}",
                encoded=b"\x89PNG\r\n\x1a\n",
                image_size=size,
                boxes=np.array([[x, y, x + side, y + side] for _, x, y, side in objects], np.float32).reshape(-1, 4),
                class_ids=np.array([class_id for class_id, *_ in objects], np.int32),
                is_crowd=np.zeros(len(objects), bool),
                is_difficult=np.zeros(len(objects), bool),
                is_truncated=np.zeros(len(objects), bool),
            )
            writer.write(encode_example(example, [*CLASSES, "more"]))
    write_classes(folder, CLASSES)
    return folder


def findings(folder, changes=(), total_steps=1000):
    values = {name: {**section} for name, section in GOOD.items()}
    values["dataset"]["dir"] = str(folder)
    for path, value in changes:
        part = values
        *above, name = path.split(".")
        for each in above:
            part[each] = {**part.get(each, {})}
            part = part[each]
        part[name] = value
    files = [str(folder / "train.tfrecords")]
    run = SimpleNamespace(files=files, images=count_records(files), classes=CLASSES, total_steps=total_steps)
    return look_over(config_from_dict(values), run)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Thirty pictures, each with a car and a person of 32 pixels, on the cells of the anchors."""
    pictures = [[(0, 8, 8, 32), (1, 72, 40, 32)]] * 30
    return write(tmp_path_factory.mktemp("street"), pictures)


def test_nothing_is_said_of_what_is_right(street):
    assert findings(street) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("train.batch_size", 31)], "train.batch_size: 31 is more than the 30 images"),
        (
            [("train.learning_rate", {"learning_rate": 1.0})],
            "train.learning_rate: 1 is very high for the optimizer momentum and 2 images a step; 0.0025 is usual",
        ),
        ([("train.learning_rate", {"learning_rate": 1e-6})], "train.learning_rate: 1e-06 is very low"),
        (
            [("train.optimizer", {"type": "adam"}), ("train.learning_rate", {"learning_rate": 0.1})],
            "train.learning_rate: 0.1 is very high for the optimizer adam; 0.0001 is usual",
        ),
        (
            [
                (
                    "train.learning_rate",
                    {"decay_method": "piecewise_constant", "boundaries": [900, 1000], "values": [0.01, 0.001, 0.0001]},
                )
            ],
            "train.learning_rate.boundaries: 1000 lie beyond the run's end at step 1000",
        ),
        (
            [("train.learning_rate", {"decay_method": "cosine_decay", "learning_rate": 0.0025, "decay_steps": 1001})],
            "train.learning_rate.decay_steps: 1001 is beyond the run's end at step 1000",
        ),
        ([("train.warmup_steps", 501)], "train.warmup_steps: 501 is more than half of the run's 1000 steps"),
        (
            [("model.anchors", {"base_size": 8, "scales": [1]})],
            "model.anchors: 100% of the boxes have no anchor with an IoU of 0.3 (such boxes are 32 pixels large at the "
            "network's size, anchors 8 to 8)",
        ),
        (
            [("model.anchors", {"base_size": 48, "scales": [1], "ratios": [1]})],
            "model.anchors: 100% of the boxes have no anchor with an IoU of 0.5",
        ),
        (
            [("model.base_network", {"architecture": "resnet_v1_50", "channel_order": "rgb"})],
            "model.base_network: channel_order make of the pixels (rgb - (103.9, 116.8, 123.7)) / (1, 1, 1), but the "
            "ImageNet weights of resnet_v1_50 were trained with (bgr - ",
        ),
    ],
)
def test_each_mistake_is_found_alone(street, changes, message):
    [finding] = findings(street, changes)
    assert finding.startswith(message)


def test_the_right_order_of_channels_may_be_stated(street):
    assert findings(street, [("model.base_network", {"architecture": "resnet_v1_50", "channel_order": "bgr"})]) == []


def test_anchors_are_judged_at_the_networks_size(street):
    """Twice the size of pictures, twice the anchors."""
    doubled = [("dataset.image_preprocessing", {"min_size": 200, "max_size": 400})]
    assert findings(street, [*doubled, ("model.anchors", {"base_size": 64, "scales": [1], "ratios": [1]})]) == []
    assert "are 64 pixels large" in findings(street, doubled)[0]


def test_empty_pictures_and_absent_classes(tmp_path):
    half = write(tmp_path, [[(0, 8, 8, 32)]] * 4 + [[]] * 6)
    empty, absent = findings(half)
    assert "60% of the 10 pictures have no object" in empty
    assert "1 of 2 classes occur in none of the 10 pictures: person" in absent
    none = write(tmp_path, [[]] * 3)
    [only] = findings(none)
    assert "none of the 3 pictures has an object" in only


def test_a_label_without_a_class_is_an_error(tmp_path):
    folder = write(tmp_path, [[(0, 8, 8, 32)], [(2, 8, 8, 32)]])
    with pytest.raises(DataError, match=r"image 'picture-1': has a box of class number 2, .* names 2 classes"):
        findings(folder)


def test_a_glance_is_spread_over_the_split_and_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("luminoth.data.glance._MOST_RECORDS", 4)
    folder = write(tmp_path, [[(0, number, 0, 10)] for number in range(10)])
    files = [str(folder / "train.tfrecords")]
    seen = glance(files, 10)
    assert seen.boxes[:, 0].tolist() == [0, 3, 6, 9]
    assert (seen.seen, seen.is_complete, seen.empty) == (4, False, 0)
    assert glance(files, 10, seconds=-1).seen == 1
    assert "looked at" in findings(folder)[0]  # the other class may be in what was passed over


def test_space_on_the_disk(tmp_path):
    assert check_space(tmp_path / "jobs" / "run", 1000, 3) is None
    message = check_space(tmp_path / "jobs" / "run", 10**18, 3)
    assert "3 checkpoints and the one being written take 4000000000.0 GB more; make room" in message
