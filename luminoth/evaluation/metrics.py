"""COCO's detection metrics of ground truths and detections, computed by the library hotcoco.

The figures are those of pycocotools, digit for digit (`tests/evaluation/test_metrics.py` holds this;
`benchmarks/coco_metrics.py` is why it is hotcoco). Sizes are by the area of the *box*: small up to 32 x 32
pixels, medium up to 96 x 96, large above. COCO's own leaderboard takes the area of the object's outline, which
records do not hold, so the figures by size differ a little from it; those over all sizes do not.

A figure that cannot be measured, since there is no ground truth of its kind, is -1 in COCO's tools. Here it is
None, `null` in JSON and "-" in a table.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.types import Detections

_IOU_50 = 0  # position of the threshold 0.50 among COCO's ten, 0.50 to 0.95
_ALL_SIZES = 0  # position of "all" among COCO's four size ranges


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What there is to be found in one picture.

    Attributes:
        boxes: [N, 4] float32 or float64, pixels of the original picture; N may be 0.
        class_ids: [N] int32.
        is_crowd: [N] bool; finding a crowd region counts neither for nor against a detector.
        image_size: (height, width) of the original picture.
        image_id: its name in the records.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    is_crowd: np.ndarray
    image_size: tuple[int, int]
    image_id: str = ""

    def __post_init__(self) -> None:
        count = len(self.class_ids)
        if self.boxes.shape != (count, 4) or self.is_crowd.shape != (count,):
            raise ValueError(
                f"boxes, class_ids and is_crowd must have shapes [N, 4], [N] and [N]; got "
                f"{self.boxes.shape}, {self.class_ids.shape} and {self.is_crowd.shape}"
            )


@dataclass(frozen=True)
class ClassMetrics:
    """The figures of one class.

    Attributes:
        name: the class.
        objects: how many there are to be found, crowd regions not counted.
        AP: mean over IoU thresholds 0.50 to 0.95, or None when there are no objects.
        AP50: at an IoU of 0.50, or None.
    """

    name: str
    objects: int
    AP: float | None
    AP50: float | None


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's figures of one split.

    Attributes:
        figures: name -> value from 0 to 1, or None. The names are AP, AP50, AP75, AP_small, AP_medium, AP_large,
            AR_1, AR_10, AR_100, AR_small, AR_medium, AR_large, in this order; with another `max_detections`
            than 100, AR_100 has that number in its name.
        by_class: one entry a class, in the order of the class list.
        images: how many pictures were looked at.
        objects: how many objects there are to be found, crowd regions not counted.
        max_detections: how many detections of a picture and class were looked at, the highest scores first.
    """

    figures: dict[str, float | None]
    by_class: list[ClassMetrics]
    images: int
    objects: int
    max_detections: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        return asdict(self)


def coco_metrics(
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    *,
    max_detections: int = 100,
) -> CocoMetrics:
    """Compares what was found with what there is.

    Args:
        ground_truths: one entry a picture.
        detections: one entry a picture, in the same order; boxes in the same pixels.
        class_names: the names that class ids index, alike for both.
        max_detections: the most detections of a picture and class that count.

    Raises:
        ValueError: there are not as many entries of the one as of the other.
    """
    if len(ground_truths) != len(detections):
        raise ValueError(f"{len(ground_truths)} ground truths cannot be compared with {len(detections)} detections")
    limits = [min(1, max_detections), min(10, max_detections), max_detections]
    evaluation = _evaluate(ground_truths, detections, class_names, limits)
    objects = np.zeros(len(class_names), int)
    for truth in ground_truths:
        objects += np.bincount(truth.class_ids[~truth.is_crowd], minlength=len(class_names))
    # [IoU threshold, recall level, class, size, limit of detections], -1 where there is no ground truth
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, _ALL_SIZES, -1]
    by_class = [
        ClassMetrics(name, int(objects[index]), _mean(precision[:, :, index]), _mean(precision[_IOU_50, :, index]))
        for index, name in enumerate(class_names)
    ]
    figures = {name: _known(value) for name, value in zip(_names(limits), evaluation.stats, strict=True)}
    return CocoMetrics(figures, by_class, len(ground_truths), int(objects.sum()), max_detections)


def _evaluate(
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    limits: list[int],
):
    """Runs hotcoco; the result (a `hotcoco.COCOeval`) holds the matches, from which it can tell much more."""
    import hotcoco

    images = [
        {"id": index, "height": int(truth.image_size[0]), "width": int(truth.image_size[1])}
        for index, truth in enumerate(ground_truths)
    ]
    truth = hotcoco.COCO.from_arrays(
        images,
        [{"id": index, "name": name} for index, name in enumerate(class_names)],
        _image_numbers([len(each.class_ids) for each in ground_truths]),
        _joined([each.class_ids for each in ground_truths], (), np.int64),
        _to_width_height(_joined([each.boxes for each in ground_truths], (4,), np.float64)),
        iscrowd=_joined([each.is_crowd for each in ground_truths], (), np.bool_),
    )
    rows = np.column_stack(
        [
            _image_numbers([len(each) for each in detections]),
            _to_width_height(_joined([each.boxes for each in detections], (4,), np.float64)),
            _joined([each.scores for each in detections], (), np.float64),
            _joined([each.class_ids for each in detections], (), np.int64),
        ]
    )
    evaluation = hotcoco.COCOeval(truth, truth.load_res(rows), "bbox")
    evaluation.params.max_dets = limits
    # It prints its table, and warns of other limits than COCO's; both are said better elsewhere.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        evaluation.run()
    return evaluation


def _names(limits: list[int]) -> list[str]:
    precisions = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"]
    return [*precisions, *(f"AR_{limit}" for limit in limits), "AR_small", "AR_medium", "AR_large"]


def _image_numbers(counts: list[int]) -> np.ndarray:
    """[N] int64, for each of the joined rows the number of its picture."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), np.asarray(counts, np.int64))


def _joined(arrays: list[np.ndarray], row_shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty((0, *row_shape), dtype), *(np.asarray(array, dtype) for array in arrays)])


def _to_width_height(boxes: np.ndarray) -> np.ndarray:
    """[N, 4] float64 from corners to COCO's (x_min, y_min, width, height)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _mean(precision: np.ndarray) -> float | None:
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else None


def _known(value: float) -> float | None:
    return None if value == -1 else float(value)
