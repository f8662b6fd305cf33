"""Which pictures went worst, over all and for each class, and their pixels.

How bad a picture is, is the number of errors in it: wrong detections and missed objects, at the best score threshold of
each class and an IoU of 0.5. An error is of the class that was said, that of a missed object of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from luminoth.data.records import decode_example, read_records
from luminoth.evaluation.analysis import Analysis
from luminoth.evaluation.matching import IOU_50
from luminoth.image import read_image


def class_errors(analysis: Analysis) -> np.ndarray:
    """[P, K] int64, the errors of each picture by class; their sums are `analysis.pictures.errors`."""
    matching, limits = analysis.matching, analysis.thresholds.limits()
    is_looked_at = matching.scores >= limits[matching.found_class_ids]
    matched = matching.matched[IOU_50]
    is_wrong = is_looked_at & (matched < 0)
    is_missed = ~matching.is_crowd
    is_missed[matched[is_looked_at & (matched >= 0)]] = False
    counts = np.zeros((matching.images, matching.classes), np.int64)
    np.add.at(counts, (matching.found_images[is_wrong], matching.found_class_ids[is_wrong]), 1)
    np.add.at(counts, (matching.truth_images[is_missed], matching.truth_class_ids[is_missed]), 1)
    return counts


def choose_worst(analysis: Analysis, *, per_class: int, most: int) -> list[int]:
    """The pictures with the most errors over all and of each class, the worst first; none without an error.

    Args:
        analysis: of all pictures.
        per_class: how many over all, and how many of each class.
        most: how many in all. The worst of each class come in before the second worst of any.
    """
    errors, f1 = analysis.pictures.errors, analysis.pictures.f1
    order = np.lexsort((f1, -errors))  # the worst first; stable, so equal ones stay in the order of the records
    by_class = class_errors(analysis)[order]
    queues = [analysis.pictures.worst(per_class)]
    for own in by_class.T:
        ranked = np.argsort(-own, kind="stable")[:per_class]
        queues.append(order[ranked[own[ranked] > 0]].tolist())
    rounds = (queue[turn] for turn in range(per_class) for queue in queues if turn < len(queue))
    chosen = set(list(dict.fromkeys(rounds))[:most])
    return [image for image in order.tolist() if image in chosen]


def read_pictures(files: Sequence[str | os.PathLike], images: Iterable[int]) -> dict[int, np.ndarray]:
    """The pixels of some pictures of record files, uint8 RGB [H, W, 3] by number; no other is decoded.

    Args:
        files: record files.
        images: numbers of pictures in the order of the records, from 0.

    Raises:
        DataError: a file is missing or damaged.
    """
    wanted = set(images)
    pictures: dict[int, np.ndarray] = {}
    for number, serialized in enumerate(read_records(files)):
        if len(pictures) == len(wanted):
            break
        if number in wanted:
            pictures[number] = read_image(decode_example(serialized).encoded)
    return pictures
