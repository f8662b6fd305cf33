"""Evaluation of a scripted detector: figures by hand, whatever the batch size and the resizing."""

import json
from pathlib import Path

import numpy as np
import pytest

from luminoth.errors import DataError
from luminoth.evaluation.evaluate import evaluate
from luminoth.resize import ResizeRule
from tests.evaluation.scripted import CLASSES, ScriptedDetector, as_answers, write_records

# Two sizes, several objects, a crowd, and a picture without objects.
PICTURES = [
    ((60, 80), [[10, 10, 30, 40], [40, 20, 72, 52]], [0, 1], [0, 0]),
    ((90, 50), [[5, 5, 45, 80]], [2], [0]),
    ((60, 80), [], [], []),
    ((60, 80), [[0, 0, 80, 60], [8, 8, 24, 24]], [0, 0], [1, 0]),
    ((90, 50), [[1, 2, 30, 70]], [1], [0]),
]
PERFECT = [as_answers(picture) for picture in PICTURES]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"), PICTURES)


def run(files, script=PERFECT, *, resize=ResizeRule(), batch_size=2, **settings):  # noqa: B008 - it is frozen
    settings.setdefault("class_names", CLASSES)
    return evaluate(ScriptedDetector(script), files, resize=resize, batch_size=batch_size, **settings)


def test_perfect_detector_scores_one(files):
    result = run(files)
    figures = result.metrics.figures
    assert figures["AP"] == pytest.approx(1.0)
    assert figures["AP50"] == pytest.approx(1.0)
    assert figures["AR_100"] == pytest.approx(1.0)
    assert figures["AP_large"] is None
    assert [each.AP for each in result.metrics.by_class] == [pytest.approx(1.0)] * 3
    assert [each.objects for each in result.metrics.by_class] == [2, 2, 1]
    assert result.images == result.metrics.images == 5


def test_half_found_scores_51_of_101(tmp_path):
    # Of four cars the two with the best scores are right: precision is 1 at 51 of COCO's 101 recall levels.
    pictures = [((60, 80), [[10, 10, 30, 40]], [0], [0])] * 4
    right, wrong = as_answers(pictures[0], 0.9), as_answers(((60, 80), [[40, 40, 70, 50]], [0], [0]), 0.3)
    result = run(write_records(tmp_path, pictures), [right, wrong, right, wrong])
    assert result.metrics.figures["AP"] == pytest.approx(51 / 101)
    assert result.metrics.figures["AR_100"] == pytest.approx(1 / 2)
    assert [each.AP50 for each in result.metrics.by_class] == [pytest.approx(51 / 101), None, None]


@pytest.mark.parametrize(
    "resize",
    [ResizeRule(min_size=37), ResizeRule(min_size=150, max_size=170), ResizeRule(fixed_height=64, fixed_width=48)],
)
def test_boxes_are_compared_in_original_pixels(files, resize):
    result = run(files, resize=resize)
    assert result.metrics.figures["AP"] == pytest.approx(1.0)
    for truth, found, (size, boxes, class_ids, is_crowd) in zip(
        result.ground_truths, result.detections, PICTURES, strict=True
    ):
        expected = np.asarray(boxes, float).reshape(-1, 4)
        np.testing.assert_array_equal(truth.boxes, expected)  # whole pixels are whole again
        np.testing.assert_array_equal(truth.class_ids, class_ids)
        np.testing.assert_array_equal(truth.is_crowd, np.asarray(is_crowd, bool))
        np.testing.assert_allclose(found.boxes, expected, atol=1e-3)
        assert truth.image_size == found.image_size == size
    assert [truth.image_id for truth in result.ground_truths] == [f"picture-{number}" for number in range(5)]


def test_batch_size_changes_nothing(files):
    random = np.random.default_rng(0)
    script = []
    for _ in PICTURES:  # boxes somewhere, scores with ties
        corners = random.uniform(0, 0.6, (6, 2))
        boxes = np.concatenate([corners, corners + random.uniform(0.1, 0.4, (6, 2))], axis=1)
        scores = -np.sort(-np.round(random.random(6), 1))
        script.append(list(zip(boxes, scores, random.integers(0, 3, 6), strict=True)))
    script = [found + more for found, more in zip(PERFECT, script, strict=True)]
    alone = run(files, script, batch_size=1, resize=ResizeRule(min_size=64))
    assert 0 < alone.metrics.figures["AP"] < 1
    for batch_size in (2, 3, 8):
        together = run(files, script, batch_size=batch_size, resize=ResizeRule(min_size=64))
        assert together.metrics == alone.metrics
        assert together.losses == pytest.approx(alone.losses)
        for one, other in zip(alone.detections, together.detections, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_losses_are_means_over_pictures(files):
    losses = run(files, batch_size=2, seed=7).losses
    assert losses == pytest.approx(
        {
            "rpn_cls_loss": 3.0,  # the grey values 1 to 5, in batches of 2, 2 and 1
            "rpn_reg_loss": 7.0,  # the seed, always the same
            "rcnn_cls_loss": 0.0,  # no picture is padded, though sizes differ within a batch
            "rcnn_reg_loss": 4 / 5,  # the class ids 0 + 1, 2, none, 0 + 0 and 1
            "regularization_loss": 0.5,
            "no_reg_loss": 10.8,
            "total_loss": 11.3,
        }
    )


def test_what_does_not_count(files):
    whole = [0, 0, 1, 1]
    nothing = [(whole, float("nan"), 0), (whole, 0.0005, 0)]  # no score to speak of
    result = run(files, [[*answers, *nothing] for answers in PERFECT])
    assert sum(len(found) for found in result.detections) == 6
    assert result.metrics.figures["AP"] == pytest.approx(1.0)
    assert sum(len(found) for found in run(files, min_score=0.95).detections) == 0


def test_max_detections(tmp_path):
    pictures = [PICTURES[0], PICTURES[1]]
    wrong = [([0.9, 0.9, 1, 1], 0.95, class_id) for class_id in range(3)]  # before all right ones
    files, script = write_records(tmp_path, pictures), [wrong + answers for answers in PERFECT[:2]]
    assert run(files, script, max_detections=1).metrics.figures["AP"] == 0.0
    # Of each class the right one comes third, after two wrong ones: precision 1 / 3 at full recall.
    assert run(files, script, max_detections=2).metrics.figures["AP"] == pytest.approx(1 / 3)


def test_progress_counts_pictures(files):
    seen = []
    run(files, batch_size=2, on_progress=seen.append)
    assert seen == [2, 2, 1]


def test_classes_in_another_order(files):
    # The model knows person, car, bus: the records' 0, 1, 2 are its 1, 2, 0.
    script = [[(box, score, (class_id + 1) % 3) for box, score, class_id in answers] for answers in PERFECT]
    result = run(files, script, class_names=["person", "car", "bus"], record_class_ids=[1, 2, 0])
    assert result.metrics.figures["AP"] == pytest.approx(1.0)
    assert [(each.name, each.objects) for each in result.metrics.by_class] == [("car", 2), ("bus", 2), ("person", 1)]
    assert result.detections[1].class_names == CLASSES  # the records' order, in which detections are kept and compared
    assert result.losses["rcnn_reg_loss"] == pytest.approx(((1 + 2) + 0 + 0 + (1 + 1) + 2) / 5)  # the model's ids


def test_classes_the_data_does_not_know(files):
    # As torchvision's COCO, which keeps room for classes that nobody uses.
    script = [[*answers, ([0, 0, 1, 1], 0.99, 3)] for answers in PERFECT]
    result = run(files, script, class_names=[*CLASSES, "N/A"], record_class_ids=[0, 1, 2])
    assert result.metrics.figures["AP"] == pytest.approx(1.0)
    assert [len(found) for found in result.detections] == [len(answers) for answers in PERFECT]


def test_without_classes(files):
    script = [[(box, score, 0) for box, score, _ in answers] for answers in PERFECT]
    assert run(files, script).metrics.figures["AP"] < 0.5
    result = run(files, script, class_agnostic=True)
    assert [(each.name, each.objects, each.AP) for each in result.metrics.by_class] == [
        ("object", 5, pytest.approx(1.0))
    ]


def test_result_as_plain_values(files):
    values = run(files).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["metrics"]["AP"] == pytest.approx(1.0)
    assert values["metrics"]["AP_large"] is None
    person = values["by_class"][2]
    assert (person["name"], person["objects"], person["AP"]) == ("person", 1, pytest.approx(1.0))
    assert (values["images"], values["objects"], values["max_detections"]) == (5, 5, 100)
    assert values["thresholds"]["car"]["f1"] == pytest.approx(1.0)
    assert values["proposals"] is None  # a detector of one stage has none
    assert values["images_per_second"] > 0


def test_damaged_records(files, tmp_path):
    damaged = tmp_path / "val.tfrecords"
    content = bytearray(Path(files[0]).read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=r"val\.tfrecords"):
        run([str(damaged)])
