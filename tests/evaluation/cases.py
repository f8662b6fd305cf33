"""Pictures made of boxes alone: what there is in them and what was found, by hand or by chance."""

import numpy as np

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.types import Detections

CLASSES = ["car", "bus", "person"]
SIZE = (480, 640)


def truth(boxes=(), class_ids=None, is_crowd=None, is_difficult=None, image_id=""):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    class_ids = np.zeros(len(boxes)) if class_ids is None else class_ids
    is_crowd = np.zeros(len(boxes)) if is_crowd is None else is_crowd
    is_difficult = np.zeros(len(boxes)) if is_difficult is None else is_difficult
    flags = [np.asarray(flag, bool) for flag in (is_crowd, is_difficult)]
    return GroundTruth(boxes, np.asarray(class_ids, np.int32), flags[0], SIZE, image_id, flags[1])


def found(boxes=(), scores=(), class_ids=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    class_ids = np.zeros(len(boxes)) if class_ids is None else class_ids
    return Detections(boxes, np.asarray(scores, np.float32), np.asarray(class_ids, np.int32), CLASSES, SIZE)


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
