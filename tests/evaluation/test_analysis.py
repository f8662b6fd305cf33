"""All of it together, and what is told of single pictures."""

import json

import numpy as np
import pytest

from luminoth.evaluation.analysis import analyse
from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.metrics import coco_metrics
from luminoth.evaluation.pictures import explain_picture, score_pictures
from luminoth.evaluation.tide import KINDS
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 0, 500, 100]


@pytest.mark.parametrize("seed", [0, 4])
def test_parts_agree(seed):
    truths, detections = random_case(seed)
    analysis = analyse(truths, detections, CLASSES, resamples=20)
    assert analysis.coco == coco_metrics(truths, detections, CLASSES)
    assert pytest.approx(analysis.coco.figures["AP50"], abs=1e-12) == analysis.errors.AP50
    assert analysis.pictures.right.sum() == np.trace(analysis.confusion.counts[:3, :3])
    assert (analysis.pictures.right + analysis.pictures.missed).sum() == analysis.coco.objects
    assert analysis.pictures.wrong.sum() == analysis.confusion.counts[:, :3].sum() - analysis.pictures.right.sum()
    counted = sum(each.count for each in analysis.calibration.bins)
    assert counted == len(analysis.matching.scores) - analysis.matching.is_ignored[0].sum()
    for image in range(len(truths)):
        findings = analysis.explain(image)
        assert (findings.matched >= 0).sum() == analysis.pictures.right[image]
        assert (findings.kinds >= 0).sum() == analysis.pictures.wrong[image]
        assert findings.is_missed.sum() == analysis.pictures.missed[image]


def test_plain_values():
    values = analyse(*random_case(2), CLASSES, resamples=5).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert list(values) == [
        "images", "objects", "max_detections", "metrics", "by_class", "objects_by_size", "voc", "intervals",
        "thresholds", "threshold_of_all", "confusion", "errors", "calibration",
    ]  # fmt: skip
    assert set(values["thresholds"]["car"]) == {"threshold", "f1", "precision", "recall"}


@pytest.mark.parametrize(
    ("truths", "detections"),
    [([truth()], [found()]), ([truth([BOX])], [found()]), ([truth()], [found([BOX], [0.5])])],
)
def test_hardly_anything(truths, detections):
    values = analyse(truths, detections, CLASSES, resamples=3).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_scores_of_pictures():
    truths = [truth([BOX, OTHER]), truth(), truth([BOX]), truth([[0, 0, 400, 400]], is_crowd=[1])]
    detections = [found([BOX, FAR], [0.9, 0.8]), found(), found([BOX], [0.3]), found([BOX], [0.9])]
    scores = score_pictures(match_detections(truths, detections, 3), 0.5)
    assert scores.right.tolist() == [1, 0, 0, 0]
    assert scores.wrong.tolist() == [1, 0, 0, 0]
    assert scores.missed.tolist() == [1, 0, 1, 0]
    assert scores.errors.tolist() == [2, 0, 1, 0]
    assert scores.f1.tolist() == [pytest.approx(2 / 4), 1, 0, 1]
    assert scores.worst(10) == [0, 2]
    assert scores.worst(1) == [0]


def test_one_picture_explained():
    truths = [truth([FAR]), truth([BOX, [200, 0, 390, 190], OTHER], is_crowd=[0, 1, 0])]
    boxes = [[210, 10, 300, 100], FAR, BOX, [0, 0, 90, 90]]
    detections = [found([FAR], [0.9]), found(boxes, [0.6, 0.7, 0.8, 0.4])]
    analysis = analyse(truths, detections, CLASSES, resamples=0)
    findings = explain_picture(analysis.matching, analysis.errors.of_found, 0.5, 1)
    assert findings.found.tolist() == [2, 1, 0]
    assert findings.matched.tolist() == [0, -1, -1]
    assert [KINDS[kind] if kind >= 0 else None for kind in findings.kinds] == [None, "background", None]
    assert findings.is_ignored.tolist() == [False, False, True]
    assert findings.is_missed.tolist() == [False, False, True]
