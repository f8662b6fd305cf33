"""Draws what is wrong in a picture: ground truth and detections, side by side.

Errors stand in the light, the rest of the picture is dimmed: on the left the objects that were missed, on the right the
detections that are wrong, with thick lines and a label that says in what. What is right has a thin line. Classes have
their own colour, the same on both sides and in all pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luminoth.data.show.contact_sheet import fit
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.pictures import PictureFindings
from luminoth.evaluation.tide import BACKGROUND, BOTH, CLASSIFICATION, DUPLICATE, LOCALISATION, NO_ERROR
from luminoth.inference.draw import draw_objects
from luminoth.types import Detections

SIDE = 480  # pixels of a panel's longer side

_DIM = 0.45  # of the brightness
_PLAIN_SIDE = 528  # of a panel that is drawn at scale 1: when shown half as wide as a page, its labels can be read
_GUTTER = 8


def draw_comparison(
    image: np.ndarray,
    ground_truth: GroundTruth,
    detections: Detections,
    class_names: Sequence[str],
    findings: PictureFindings,
    *,
    side: int = SIDE,
) -> np.ndarray:
    """Ground truth on the left, what was found on the right: uint8 [h, w, 3].

    Args:
        image: uint8 RGB [H, W, 3].
        ground_truth, detections: of this picture.
        class_names: the names that class ids index.
        findings: what is right, wrong and missed, `Analysis.explain`.
        side: the longer side of each half, in pixels.
    """
    left = draw_truth(image, ground_truth, class_names, findings, side=side)
    right = draw_found(image, ground_truth, detections, class_names, findings, side=side)
    gutter = np.full((left.shape[0], _GUTTER, 3), 255, np.uint8)
    return np.concatenate([left, gutter, right], axis=1)


def draw_truth(
    image: np.ndarray,
    ground_truth: GroundTruth,
    class_names: Sequence[str],
    findings: PictureFindings,
    *,
    side: int = SIDE,
) -> np.ndarray:
    """What there is, the missed objects in the light. As for `draw_comparison`."""
    return _draw(image, _objects(ground_truth, class_names, findings), findings.is_missed, side)


def draw_found(
    image: np.ndarray,
    ground_truth: GroundTruth,
    detections: Detections,
    class_names: Sequence[str],
    findings: PictureFindings,
    *,
    side: int = SIDE,
) -> np.ndarray:
    """What was found, the wrong detections in the light. As for `draw_comparison`."""
    found = _found(ground_truth, detections, class_names, findings)
    return _draw(image, found, findings.kinds != NO_ERROR, side)


def draw_errors(
    image: np.ndarray,
    ground_truth: GroundTruth,
    detections: Detections,
    class_names: Sequence[str],
    findings: PictureFindings,
    *,
    side: int = SIDE,
) -> np.ndarray:
    """What was found and, dashed, what was missed, in one picture. As for `draw_comparison`."""
    missed = [
        {**each, "is_crowd": True}
        for each, is_missed in zip(_objects(ground_truth, class_names, findings), findings.is_missed, strict=True)
        if is_missed
    ]
    found = _found(ground_truth, detections, class_names, findings)
    is_error = np.concatenate([np.ones(len(missed), bool), findings.kinds != NO_ERROR])
    return _draw(image, [*missed, *found], is_error, side)


def what_is_wrong(
    ground_truth: GroundTruth, detections: Detections, class_names: Sequence[str], index: int, kind: int
) -> str:
    """A few words on a wrong detection, such as `is bus` or `IoU 0.34`; empty for a right one.

    Args:
        ground_truth, detections: of its picture.
        class_names: the names that class ids index.
        index: of the detection.
        kind: of the error, as in `PictureFindings.kinds`.
    """
    if kind == NO_ERROR:
        return ""
    if kind in (DUPLICATE, BACKGROUND):
        return {DUPLICATE: "duplicate", BACKGROUND: "background"}[kind]
    is_same = ground_truth.class_ids == detections.class_ids[index]
    candidates = np.flatnonzero((is_same if kind == LOCALISATION else ~is_same) & ~ground_truth.is_crowd)
    overlaps = _overlaps(detections.boxes[index], ground_truth.boxes[candidates])
    best = int(np.argmax(overlaps))
    name = class_names[ground_truth.class_ids[candidates[best]]]
    return {
        CLASSIFICATION: f"is {name}",
        LOCALISATION: f"IoU {overlaps[best]:.2f}",
        BOTH: f"is {name}, IoU {overlaps[best]:.2f}",
    }[kind]


def _objects(ground_truth: GroundTruth, class_names: Sequence[str], findings: PictureFindings) -> list[dict[str, Any]]:
    """What there is, as `draw_objects` takes it; crowd regions are dashed."""
    rows = zip(ground_truth.boxes, ground_truth.class_ids, ground_truth.is_crowd, findings.is_missed, strict=True)
    return [
        {"bbox": box, "label": class_names[class_id], "is_crowd": is_crowd, "note": "missed" if is_missed else ""}
        for box, class_id, is_crowd, is_missed in rows
    ]


def _found(
    ground_truth: GroundTruth, detections: Detections, class_names: Sequence[str], findings: PictureFindings
) -> list[dict[str, Any]]:
    """What was found, as `draw_objects` takes it; what lies in crowd regions is dashed."""
    return [
        {
            "bbox": detections.boxes[index],
            "label": class_names[detections.class_ids[index]],
            "prob": float(detections.scores[index]),
            "note": what_is_wrong(ground_truth, detections, class_names, int(index), int(kind)),
            "is_crowd": is_ignored,
        }
        for index, kind, is_ignored in zip(findings.found, findings.kinds, findings.is_ignored, strict=True)
    ]


def _draw(image: np.ndarray, objects: list[dict[str, Any]], is_error: np.ndarray, side: int) -> np.ndarray:
    """Draws what is right, then what is not."""
    panel = fit(image, (side, side))
    scales = np.array([panel.shape[1] / image.shape[1], panel.shape[0] / image.shape[0]] * 2)
    objects = [{**each, "bbox": np.asarray(each["bbox"], np.float64) * scales} for each in objects]
    errors = [each for each, is_wrong in zip(objects, is_error, strict=True) if is_wrong]
    right = [each for each, is_wrong in zip(objects, is_error, strict=True) if not is_wrong]
    pixels = (panel * _DIM).astype(np.uint8)
    for each in errors:
        x_min, y_min, x_max, y_max = np.round(each["bbox"]).astype(int).clip(0)
        pixels[y_min:y_max, x_min:x_max] = panel[y_min:y_max, x_min:x_max]
    draw_objects(pixels, right, labels=False, scale=0.5 * side / _PLAIN_SIDE)
    draw_objects(pixels, errors, scale=side / _PLAIN_SIDE)
    return pixels


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[N] IoU of a box [4] with others [N, 4]."""
    box, boxes = box.astype(np.float64), boxes.astype(np.float64)
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    both = np.prod(sides.clip(0), axis=1)
    return both / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both)
