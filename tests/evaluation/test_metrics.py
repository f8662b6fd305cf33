"""COCO's figures: by hand, and equal to pycocotools on random and awkward data."""

import contextlib
import io
import json

import numpy as np
import pytest

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.metrics import CocoMetrics, coco_metrics
from tests.evaluation.cases import CLASSES, SIZE, found, random_case, truth


def pycocotools_evaluation(truths, detections, max_detections=100):
    """The reference implementation's result, accumulated."""
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
        evaluation.params.maxDets = [min(1, max_detections), min(10, max_detections), max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        if max_detections == 100:  # with any other limit its summary is of no use: it looks for 100
            evaluation.summarize()
    return evaluation


def mean_of_measured(table):
    measured = table[table > -1]
    return pytest.approx(measured.mean(), abs=1e-12) if measured.size else None


def assert_equal_to_pycocotools(truths, detections):
    ours = coco_metrics(truths, detections, CLASSES)
    reference = pycocotools_evaluation(truths, detections)
    assert [-1 if value is None else value for value in ours.figures.values()] == reference.stats.tolist()
    assert_equal_by_class(ours, reference)


def assert_equal_by_class(ours, reference):
    precision = reference.eval["precision"][..., -1]  # [IoU, recall, class, size]
    for index, each in enumerate(ours.by_class):
        every = precision[:, :, index, 0]
        assert tuple(map(mean_of_measured, (every, every[0], every[5]))) == (each.AP, each.AP50, each.AP75)
        by_size = [mean_of_measured(precision[:, :, index, size]) for size in (1, 2, 3)]
        assert [each.AP_small, each.AP_medium, each.AP_large] == by_size


@pytest.mark.parametrize("seed", range(25))
def test_random_data_gives_pycocotools_figures(seed):
    assert_equal_to_pycocotools(*random_case(seed))


@pytest.mark.parametrize("max_detections", [1, 5, 10, 300])
def test_other_limits_give_pycocotools_figures(max_detections):
    truths, detections = random_case(7)
    assert max(np.bincount(each.class_ids, minlength=3).max() for each in detections) > 100
    ours = coco_metrics(truths, detections, CLASSES, max_detections=max_detections)
    reference = pycocotools_evaluation(truths, detections, max_detections)
    precision, recall = (
        reference.eval["precision"][..., -1],
        reference.eval["recall"],
    )  # recall: [IoU, class, size, limit]
    expected = {"AP": precision[:, :, :, 0], "AP50": precision[0, :, :, 0], "AP75": precision[5, :, :, 0]}
    expected |= {
        f"AP_{size}": precision[..., index] for index, size in enumerate(("small", "medium", "large"), start=1)
    }
    limits = reference.params.maxDets
    expected |= {f"AR_{limit}": recall[:, :, 0, index] for index, limit in enumerate(limits)}
    expected |= {
        f"AR_{size}": recall[:, :, index, -1] for index, size in enumerate(("small", "medium", "large"), start=1)
    }
    assert ours.figures == {name: mean_of_measured(table) for name, table in expected.items()}
    assert_equal_by_class(ours, reference)


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
        pytest.param([truth([BOX])], [found([[30, 30, 30, 30], BOX], [0.9, 0.8])], id="a point within a box"),
        pytest.param(
            [truth([BOX, [5, 5, 5, 40]], [0, 1])],
            [found([BOX, [5, 5, 5, 40], [0, 0, 20, 40]], [0.9, 0.8, 0.7], [0, 1, 1])],
            id="an object without area",
        ),
        pytest.param(
            [truth([BOX, [0, 0, 100, 100]], is_crowd=[0, 1])],
            [found([[20, 20, 60, 60], BOX], [0.9, 0.9])],
            id="an object within a crowd, tie in score",
        ),
        pytest.param(
            [truth([BOX, [12, 12, 52, 52]], is_crowd=[1, 1])],
            [found([BOX, BOX, BOX], [0.9, 0.8, 0.7])],
            id="two crowds and nothing else",
        ),
        pytest.param(
            [truth([BOX], [0]), truth([OTHER], [2])],
            [found([BOX], [0.9], [0]), found([OTHER, BOX], [0.9, 0.5], [2, 1])],
            id="a class that is only said",
        ),
        pytest.param(
            [truth([BOX]), truth([BOX])],
            [found([OTHER], [0.5]), found([BOX], [0.5])],
            id="tie across pictures",
        ),
        pytest.param(
            [truth([BOX])], [found([BOX, OTHER] * 100, np.repeat(np.linspace(0.9, 0.1, 100), 2))], id="200 detections"
        ),
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
        "name": "car", "objects": 0, "AP": None, "AP50": None, "AP75": None,
        "AP_small": None, "AP_medium": None, "AP_large": None,
    }  # fmt: skip


def test_crowds_do_not_count():
    truths = [truth([BOX, OTHER], is_crowd=[0, 1])]
    metrics = coco_metrics(truths, [found([BOX, OTHER], [0.5, 0.9])], CLASSES)
    assert metrics.figures["AP"] == pytest.approx(1.0)
    assert metrics.objects == metrics.by_class[0].objects == 1
    assert metrics.objects_by_size == {"small": 0, "medium": 1, "large": 0}


def test_figures_by_size_by_hand():
    # A small car found, a medium one missed, a large one found at an IoU of 0.6: 3 of 10 thresholds.
    boxes = [[0, 0, 30, 30], [100, 0, 190, 90], [200, 200, 400, 300]]
    metrics = coco_metrics([truth(boxes)], [found([boxes[0], [200, 200, 320, 300]], [0.9, 0.8])], CLASSES)
    assert metrics.objects_by_size == {"small": 1, "medium": 1, "large": 1}
    car = metrics.by_class[0]
    assert (car.AP_small, car.AP_medium, car.AP_large) == (pytest.approx(1), 0, pytest.approx(0.3))
    assert pytest.approx(34 / 101) == car.AP75  # one of three found: the recall levels 0 to 0.33
    assert metrics.figures["AP_large"] == car.AP_large


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
    with pytest.raises(ValueError, match=r"shapes \[N, 4\], \[N\], \[N\] and \[N\]"):
        GroundTruth(np.zeros((2, 4)), np.zeros(1, int), np.zeros(2, bool), SIZE)


def test_metrics_are_plain_values():
    metrics = coco_metrics([truth([BOX])], [found([BOX], [0.9])], CLASSES)
    assert isinstance(metrics, CocoMetrics)
    assert type(metrics.figures["AP"]) is float
    assert json.loads(json.dumps(metrics.to_dict())) == metrics.to_dict()
