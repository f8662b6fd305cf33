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

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.types import Detections

_IOU_50 = 0  # position of the threshold 0.50 among COCO's ten, 0.50 to 0.95
_IOU_75 = 5
_ALL_SIZES, _SMALL, _MEDIUM, _LARGE = range(4)  # COCO's size ranges

_SMALL_AREA, _MEDIUM_AREA = 32**2, 96**2


@dataclass(frozen=True)
class ClassMetrics:
    """The figures of one class.

    Attributes:
        name: the class.
        objects: how many there are to be found, crowd regions not counted.
        AP: mean over IoU thresholds 0.50 to 0.95, or None when there are no objects.
        AP50, AP75: at an IoU of 0.50 and of 0.75, or None.
        AP_small, AP_medium, AP_large: as `AP`, of objects of that size, or None when there are none.
    """

    name: str
    objects: int
    AP: float | None
    AP50: float | None
    AP75: float | None = None
    AP_small: float | None = None
    AP_medium: float | None = None
    AP_large: float | None = None


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
        objects_by_size: how many of them are `small`, `medium` and `large`.
    """

    figures: dict[str, float | None]
    by_class: list[ClassMetrics]
    images: int
    objects: int
    max_detections: int
    objects_by_size: dict[str, int]

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
    objects, by_size = _count_objects(ground_truths, len(class_names))
    # [IoU threshold, recall level, class, size], -1 all over where a class has no objects of that size
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    by_class = _by_class(class_names, objects, precision)
    figures = {name: _known(value) for name, value in zip(_names(limits), evaluation.stats, strict=True)}
    return CocoMetrics(figures, by_class, len(ground_truths), int(objects.sum()), max_detections, by_size)


def _count_objects(ground_truths: Sequence[GroundTruth], classes: int) -> tuple[np.ndarray, dict[str, int]]:
    """How many there are of each class [K], and of each size; crowd regions are not counted."""
    is_object = ~_joined([each.is_crowd for each in ground_truths], (), np.bool_)
    class_ids = _joined([each.class_ids for each in ground_truths], (), np.int64)[is_object]
    boxes = _to_width_height(_joined([each.boxes for each in ground_truths], (4,), np.float64)[is_object])
    areas = boxes[:, 2] * boxes[:, 3]
    small, large = int((areas <= _SMALL_AREA).sum()), int((areas > _MEDIUM_AREA).sum())
    by_size = {"small": small, "medium": len(areas) - small - large, "large": large}
    return np.bincount(class_ids, minlength=classes), by_size


def _by_class(class_names: Sequence[str], objects: np.ndarray, precision: np.ndarray) -> list[ClassMetrics]:
    means = precision.mean(axis=(0, 1))  # [K, sizes]
    at_50, at_75 = (precision[threshold, :, :, _ALL_SIZES].mean(axis=0) for threshold in (_IOU_50, _IOU_75))  # [K]
    return [
        ClassMetrics(
            name=name,
            objects=int(objects[index]),
            AP=_known(means[index, _ALL_SIZES]),
            AP50=_known(at_50[index]),
            AP75=_known(at_75[index]),
            AP_small=_known(means[index, _SMALL]),
            AP_medium=_known(means[index, _MEDIUM]),
            AP_large=_known(means[index, _LARGE]),
        )
        for index, name in enumerate(class_names)
    ]


def _evaluate(
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    limits: list[int],
):
    """Runs hotcoco; the result is a `hotcoco.COCOeval`."""
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
    return np.concatenate([np.empty((0, *row_shape), dtype), *arrays], dtype=dtype, casting="unsafe")


def _to_width_height(boxes: np.ndarray) -> np.ndarray:
    """[N, 4] float64 from corners to COCO's (x_min, y_min, width, height)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _known(value: float) -> float | None:
    return None if value == -1 else float(value)
