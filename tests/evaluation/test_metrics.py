"""COCO's figures: by hand, and equal to pycocotools on random and awkward data."""

import contextlib
import io
import json

import numpy as np
import pytest

from luminoth.evaluation.metrics import CocoMetrics, GroundTruth, coco_metrics
from luminoth.types import Detections

CLASSES = ["car", "bus", "person"]
SIZE = (480, 640)


def truth(boxes=(), class_ids=None, is_crowd=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    class_ids = np.zeros(len(boxes)) if class_ids is None else class_ids
    is_crowd = np.zeros(len(boxes)) if is_crowd is None else is_crowd
    return GroundTruth(boxes, np.asarray(class_ids, np.int32), np.asarray(is_crowd, bool), SIZE)


def found(boxes=(), scores=(), class_ids=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    class_ids = np.zeros(len(boxes)) if class_ids is None else class_ids
    return Detections(boxes, np.asarray(scores, np.float32), np.asarray(class_ids, np.int32), CLASSES, SIZE)


def pycocotools_figures(truths, detections, max_detections=100):
    """The twelve figures by the reference implementation, -1 where there is no ground truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def boxed(boxes):
        boxes = boxes.astype(np.float64)
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()

    def dataset(annotations):
        coco = COCO()
        images = [{"id": index, "height": SIZE[0], "width": SIZE[1]} for index in range(len(truths))]
        categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES)]
        coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
        for number, annotation in enumerate(annotations, start=1):
            annotation |= {"id": number, "area": annotation["bbox"][2] * annotation["bbox"][3]}
        coco.createIndex()
        return coco

    expected = [
        {"image_id": image, "category_id": int(class_id), "bbox": box, "iscrowd": int(crowd)}
        for image, each in enumerate(truths)
        for box, class_id, crowd in zip(boxed(each.boxes), each.class_ids, each.is_crowd, strict=True)
    ]
    got = [
        {"image_id": image, "category_id": int(class_id), "bbox": box, "score": float(score), "iscrowd": 0}
        for image, each in enumerate(detections)
        for box, class_id, score in zip(boxed(each.boxes), each.class_ids, each.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(dataset(expected), dataset(got), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    return evaluation.stats, precision


def assert_equal_to_pycocotools(truths, detections):
    ours = coco_metrics(truths, detections, CLASSES)
    expected, precision = pycocotools_figures(truths, detections)
    assert [-1 if value is None else value for value in ours.figures.values()] == expected.tolist()
    for index, each in enumerate(ours.by_class):
        measured = precision[:, :, index]
        if (measured == -1).all():
            assert each.AP is None
            assert each.AP50 is None
        else:
            assert pytest.approx(measured.mean(), abs=1e-12) == each.AP
            assert pytest.approx(measured[0].mean(), abs=1e-12) == each.AP50


def random_case(seed):
    """Pictures with and without objects, crowds, ties in score, boxes of every size, touching and outside ones."""
    random = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(random.integers(1, 12)):
        count = random.integers(0, 9)
        corners = random.uniform(0, 400, (count, 2))
        boxes = np.concatenate([corners, corners + np.exp(random.uniform(1, 5.5, (count, 2)))], axis=1)
        if random.random() < 0.5:
            boxes = np.round(boxes)
        class_ids = random.integers(0, len(CLASSES), count)
        truths.append(truth(boxes, class_ids, random.random(count) < 0.2))
        if count == 0:
            extra = random.integers(0, 4)
            detections.append(found(np.tile([5, 5, 50, 60], (extra, 1)), np.full(extra, 0.5), np.arange(extra) % 3))
            continue
        near = random.integers(0, count, random.integers(0, 150))
        moved = boxes[near] + random.normal(0, 4, (len(near), 4)) * (random.random((len(near), 1)) < 0.8)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.5)
        scores = np.round(random.random(len(near)), random.integers(1, 4))  # few digits: many ties
        mixed = np.where(random.random(len(near)) < 0.8, class_ids[near], random.integers(0, 3, len(near)))
        detections.append(found(moved, scores, mixed))
    return truths, detections


@pytest.mark.parametrize("seed", range(25))
def test_random_data_gives_pycocotools_figures(seed):
    assert_equal_to_pycocotools(*random_case(seed))


BOX, OTHER = [10, 10, 50, 50], [200, 200, 300, 300]


@pytest.mark.parametrize(
    ("truths", "detections"),
    [
        pytest.param([truth()], [found()], id="nothing at all"),
        pytest.param([truth([BOX])], [found()], id="no detections"),
        pytest.param([truth()], [found([BOX], [0.9])], id="no ground truth"),
        pytest.param([truth([BOX], [1])], [found([BOX], [0.9], [0])], id="only another class"),
        pytest.param([truth([BOX], is_crowd=[1])], [found([BOX], [0.9])], id="only a crowd"),
        pytest.param(
            [truth([BOX, OTHER], is_crowd=[0, 1])],
            [found([OTHER, OTHER, BOX], [0.9, 0.8, 0.7])],
            id="crowd found twice",
        ),
        pytest.param([truth([BOX])], [found([BOX, OTHER], [0.5, 0.5])], id="tie, the right one first"),
        pytest.param([truth([BOX])], [found([OTHER, BOX], [0.5, 0.5])], id="tie, the right one last"),
        pytest.param([truth([BOX, BOX])], [found([BOX, BOX, BOX], [0.5, 0.5, 0.5])], id="the same box twice"),
        pytest.param([truth(), truth([BOX]), truth()], [found(), found([BOX], [0.9]), found()], id="empty pictures"),
        pytest.param([truth([[0, 0, 32, 32]])], [found([[0, 0, 32, 32]], [0.9])], id="just small"),
        pytest.param([truth([[0, 0, 96, 96]])], [found([[0, 0, 96, 96]], [0.9])], id="just medium"),
        pytest.param([truth([[5, 5, 5, 5]])], [found([[5, 5, 5, 5]], [0.9])], id="boxes without area"),
        pytest.param([truth([BOX])], [found([OTHER] * 120 + [BOX], [0.9] * 120 + [0.1])], id="beyond the limit"),
    ],
)
def test_awkward_data_gives_pycocotools_figures(truths, detections):
    assert_equal_to_pycocotools(truths, detections)


def test_perfect_detector():
    truths = [truth([[0, 0, 20, 20], [50, 50, 110, 110]], [0, 1]), truth([[0, 0, 200, 200]], [2])]
    perfect = [found(each.boxes, np.full(len(each.boxes), 0.9), each.class_ids) for each in truths]
    metrics = coco_metrics(truths, perfect, CLASSES)
    assert list(metrics.figures) == [
        "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
        "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
    ]  # fmt: skip
    assert list(metrics.figures.values()) == pytest.approx([1.0] * 12)
    assert [(each.name, each.objects, each.AP, each.AP50) for each in metrics.by_class] == [
        (name, 1, pytest.approx(1.0), pytest.approx(1.0)) for name in CLASSES
    ]
    assert (metrics.images, metrics.objects, metrics.max_detections) == (2, 3, 100)


def test_half_wrong_detector_by_hand():
    # Four cars of which two are found, by the two best scores; a wrong one comes after them. Precision is 1 at the
    # recall levels 0.00 to 0.50, which are 51 of 101, and 0 above: AP = 51 / 101 at every threshold.
    boxes = [[100 * index, 0, 100 * index + 50, 50] for index in range(4)]
    metrics = coco_metrics([truth(boxes)], [found([boxes[0], boxes[1], [0, 300, 50, 350]], [0.9, 0.8, 0.7])], CLASSES)
    assert metrics.figures["AP"] == pytest.approx(51 / 101)
    assert metrics.figures["AP50"] == pytest.approx(51 / 101)
    assert metrics.figures["AP_medium"] == pytest.approx(51 / 101)
    assert metrics.figures["AR_1"] == pytest.approx(1 / 4)
    assert metrics.figures["AR_100"] == pytest.approx(1 / 2)


def test_overlap_decides_by_threshold():
    # 60 of 100 pixels' width: the IoU is exactly 0.6, enough for the thresholds 0.50, 0.55 and 0.60, 3 of 10.
    metrics = coco_metrics([truth([[0, 0, 100, 100]])], [found([[0, 0, 60, 100]], [0.9])], CLASSES)
    assert metrics.figures["AP"] == pytest.approx(0.3)
    assert metrics.figures["AP50"] == pytest.approx(1.0)
    assert metrics.figures["AP75"] == pytest.approx(0.0)


def test_what_cannot_be_measured_is_none():
    metrics = coco_metrics([truth([BOX], [1])], [found([BOX], [0.9], [0])], CLASSES)
    assert metrics.figures["AP_large"] is None
    assert metrics.figures["AP"] == 0.0
    assert [each.AP for each in metrics.by_class] == [None, 0.0, None]
    assert json.loads(json.dumps(metrics.to_dict()))["by_class"][0] == {
        "name": "car", "objects": 0, "AP": None, "AP50": None,
    }  # fmt: skip


def test_crowds_do_not_count():
    truths = [truth([BOX, OTHER], is_crowd=[0, 1])]
    metrics = coco_metrics(truths, [found([BOX, OTHER], [0.5, 0.9])], CLASSES)
    assert metrics.figures["AP"] == pytest.approx(1.0)
    assert metrics.objects == metrics.by_class[0].objects == 1


@pytest.mark.parametrize(("limit", "names"), [(300, "AR_1 AR_10 AR_300"), (5, "AR_1 AR_5"), (1, "AR_1")])
def test_another_limit_is_named(limit, names):
    boxes = [[100 * index, 0, 100 * index + 50, 50] for index in range(6)] + [[0, 300, 50, 350]] * 120
    scores = np.linspace(0.2, 0.9, len(boxes))  # the six right ones have the lowest scores
    metrics = coco_metrics([truth(boxes[:6])], [found(boxes, scores)], CLASSES, max_detections=limit)
    assert [name for name in metrics.figures if name[-1].isdigit() and name.startswith("AR")] == names.split()
    assert metrics.figures[f"AR_{limit}"] == (1.0 if limit == 300 else 0.0)
    assert (metrics.figures["AP"] > 0) == (limit == 300)
    assert metrics.max_detections == limit


def test_two_classes_of_one_name_stay_apart():
    truths = [truth([BOX, OTHER], [0, 1])]
    metrics = coco_metrics(truths, [found([BOX], [0.9], [0])], ["car", "car", "person"])
    assert [each.AP50 for each in metrics.by_class] == [pytest.approx(1.0), 0.0, None]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 ground truths cannot be compared with 1 detections"):
        coco_metrics([truth(), truth()], [found()], CLASSES)
    with pytest.raises(ValueError, match=r"shapes \[N, 4\], \[N\] and \[N\]"):
        GroundTruth(np.zeros((2, 4)), np.zeros(1, int), np.zeros(2, bool), SIZE)


def test_metrics_are_plain_values():
    metrics = coco_metrics([truth([BOX])], [found([BOX], [0.9])], CLASSES)
    assert isinstance(metrics, CocoMetrics)
    assert type(metrics.figures["AP"]) is float
    assert json.loads(json.dumps(metrics.to_dict())) == metrics.to_dict()
