"""Objects whose shape and size are far more typical of another class of the same data.

Objects are points in a plane: log of height / width, and log of size. Where a point lies, it is asked how densely its
own class lies there, itself left out and generously blurred, and how densely each other class, hardly blurred; both as
shares of their class, so that a rare class is not drowned by a frequent one. An object is suspicious when another
class is at least 20 times (C - 1) as dense as its own, for with more classes C one or the other is there by chance.
Classes of many shapes are no trouble, as they were with one normal distribution for each. Objects at the picture's
edge and those marked as cut off are no evidence, for their shape is not their own.

Measured: toytown's 300 and 2,000 pictures of seed 1 and 2 (1,241 and 8,086 objects that count) give 0 and 1 alarms;
with 2 % of the labels exchanged 11 and 97, of which 11 and 96 are right, so that half of the wrong labels are found.
80 made-up classes of heavy tails that overlap (105,000 objects) give 10 alarms; with 2 % exchanged 40, 35 of them
right, of 2,106. Shape is weak evidence: it tells people from cars, not cats from dogs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.survey import SplitSurvey

_FEWEST = 50  # objects of a class that are enough to know its shapes
_TIMES_AS_DENSE = 20.0  # for each other class
_LEAST_NEAR = 10.0  # objects of the other class around the place
_BIN = 0.05
_OWN_BLUR, _OTHER_BLUR = 0.3, 0.1  # standard deviations, as logarithms: 35 % and 10 % of a length
_LOWEST, _HIGHEST = (
    np.asarray([-4.0, -8.0]),
    np.asarray([4.0, 1.0]),
)  # of the plane; what lies beyond is moved to its edge


def shape_concerns(surveys: Sequence[SplitSurvey], classes: Sequence[str]) -> Iterator[Concern]:
    """Objects that may have another's label, the most suspicious first."""
    if not surveys:
        return
    objects = [_usable_objects(survey) for survey in surveys]
    values = np.concatenate([_logarithms(survey, chosen) for survey, chosen in zip(surveys, objects, strict=True)])
    ids = np.concatenate([survey.class_ids[chosen] for survey, chosen in zip(surveys, objects, strict=True)])
    suspicion, likelier = find_misfits(values, ids, len(classes))
    ends = np.cumsum([0, *map(len, objects)])
    entries = []
    for index in np.argsort(-suspicion, kind="stable")[: int((suspicion > 0).sum())]:
        split = int(np.searchsorted(ends, index, side="right")) - 1
        survey, box = surveys[split], objects[split][index - ends[split]]
        entries.append(_entry(survey, box, classes[ids[index]], classes[likelier[index]]))
    if entries:
        text = "objects with the shape and size of another class"
        yield Concern("unlikely_shape", Severity.LOOK, text, entries, "`lumi dataset show` shows them")


def find_misfits(values: np.ndarray, class_ids: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Which points are typical of another class than theirs.

    Args:
        values: [N, 2], the logarithms of height / width and of the size.
        class_ids: [N].
        classes: C, how many there are.

    Returns:
        [N] float64, how many times as dense the other class is there; 0 where nothing is odd;
        [N] int64, that class.
    """
    bins = np.ceil((_HIGHEST - _LOWEST) / _BIN).astype(int)
    cells = ((np.clip(values, _LOWEST, _HIGHEST - _BIN / 2) - _LOWEST) / _BIN).astype(int)  # [N, 2]
    counts = np.bincount(class_ids, minlength=classes)
    own_blurs, other_blurs = ([_blur(size, deviation) for size in bins] for deviation in (_OWN_BLUR, _OTHER_BLUR))
    own = np.full(len(values), np.inf)
    # Of all classes the densest at each place, and the densest but one, for those that are of the densest.
    dense, dense_class = np.zeros((2, *bins)), np.full((2, *bins), -1)
    for class_id in np.flatnonzero(counts >= _FEWEST).tolist():
        chosen = class_ids == class_id
        of_class = np.zeros(bins)
        np.add.at(of_class, tuple(cells[chosen].T), 1)
        around = own_blurs[0] @ of_class @ own_blurs[1] - 1  # an object counts 1 at its own place
        own[chosen] = np.maximum(around[tuple(cells[chosen].T)], 1e-6) / (counts[class_id] - 1)
        near = other_blurs[0] @ of_class @ other_blurs[1]
        _keep_densest(np.where(near >= _LEAST_NEAR, near / counts[class_id], 0), class_id, dense, dense_class)
    # Blurred counts become densities by what a point is spread over.
    dense *= (_OWN_BLUR / _OTHER_BLUR) ** 2
    places = tuple(cells.T)
    rank = (dense_class[0][places] == class_ids).astype(int)
    likelier = dense_class[(rank, *places)]
    ratio = dense[(rank, *places)] / own
    return np.where(ratio > _TIMES_AS_DENSE * (classes - 1), ratio, 0.0), likelier


def _blur(size: int, deviation: float) -> np.ndarray:
    """[size, size]: what each cell gives to each other, 1 to itself."""
    apart = (np.arange(size)[:, None] - np.arange(size)) * _BIN
    return np.exp(-0.5 * (apart / deviation) ** 2)


def _keep_densest(density: np.ndarray, class_id: int, dense: np.ndarray, dense_class: np.ndarray) -> None:
    """Takes a class's densities [h, w] into the two largest so far, `dense` [2, h, w], and whose they are."""
    is_first, is_second = density > dense[0], density > dense[1]
    for values, new in ((dense, density), (dense_class, np.full(density.shape, class_id))):
        values[1] = np.where(is_first, values[0], np.where(is_second, new, values[1]))
        values[0] = np.where(is_first, new, values[0])


def _usable_objects(survey: SplitSurvey) -> np.ndarray:
    sides = survey.boxes[:, 2:] - survey.boxes[:, :2]
    return np.flatnonzero(survey.is_object & ~survey.is_cut & (sides > 1).all(axis=1))


def _logarithms(survey: SplitSurvey, chosen: np.ndarray) -> np.ndarray:
    """[n, 2] float64: of height / width, and of the size as a share of the picture's."""
    boxes, sizes = survey.boxes[chosen].astype(np.float64), survey.image_sizes[survey.image_of_box[chosen]]
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return np.stack([np.log(height / width), np.log(height * width / sizes.prod(axis=1)) / 2], axis=1)


def _entry(survey: SplitSurvey, box: int, own: str, other: str) -> Entry:
    image = int(survey.image_of_box[box])
    x_min, y_min, x_max, y_max = survey.boxes[box]
    detail = f"{own} of {x_max - x_min:.0f} x {y_max - y_min:.0f} px at ({x_min:.0f}, {y_min:.0f}), more like {other}"
    return Entry(survey.split, survey.image_ids[image], f"{survey.split}: {survey.names[image]}", detail)
