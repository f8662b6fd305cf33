"""Whether one set of detections is really better than another on the same pictures: a paired bootstrap.

Both are measured on the same draws of pictures, so what makes a draw hard or easy is the same for both and cancels out:
the interval of the difference is much narrower than those of the two figures let one think.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.evaluation.average_precision import PrecisionCurves, mean_over_classes
from luminoth.evaluation.bootstrap import LEVEL, Interval, draw_samples, interval
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.matching import IOU_50, Matching, match_detections
from luminoth.evaluation.pictures import PictureScores, score_pictures
from luminoth.evaluation.thresholds import find_thresholds
from luminoth.types import Detections


@dataclass(frozen=True)
class Difference:
    """A figure of the old and of the new.

    Attributes:
        old, new: 0 to 1, or None when it cannot be measured.
        difference: new less old, or None.
        interval: the 95 % interval of the difference, or None.
        share_better: the share of draws in which the new one is better, ties counted half, or None.
    """

    old: float | None
    new: float | None
    difference: float | None
    interval: Interval | None
    share_better: float | None

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval lies on one side of 0, else `unclear`."""
        if self.interval is None or self.interval.low <= 0 <= self.interval.high:
            return "unclear"
        return "better" if self.interval.low > 0 else "worse"


@dataclass(frozen=True)
class PictureChange:
    """A picture: its number, its name in the records, and the errors in it (wrong detections and missed objects, each
    at its own best thresholds) of old and new."""

    image: int
    image_id: str
    old_errors: int
    new_errors: int


@dataclass(frozen=True)
class Comparison:
    """Old against new.

    Attributes:
        AP, AP50: over all classes.
        by_class: AP50 by class, name -> difference; classes in the order of the class list.
        wins, losses, ties: classes whose AP50 is higher, lower, the same; those without objects are in none.
        improved, worsened: the pictures whose number of errors fell or rose most, the most first.
        images, resamples: how many pictures, and draws of them.
    """

    AP: Difference
    AP50: Difference
    by_class: dict[str, Difference]
    wins: int
    losses: int
    ties: int
    improved: list[PictureChange]
    worsened: list[PictureChange]
    images: int
    resamples: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values with verdicts, ready for `json.dumps`."""
        values = asdict(self)
        differences = {"AP": self.AP, "AP50": self.AP50}
        for name, each in differences.items():
            values[name]["verdict"] = each.verdict
        for name, each in self.by_class.items():
            values["by_class"][name]["verdict"] = each.verdict
        return {"level": LEVEL, **values}


def compare(
    ground_truths: Sequence[GroundTruth],
    old: Sequence[Detections],
    new: Sequence[Detections],
    class_names: Sequence[str],
    *,
    max_detections: int = 100,
    resamples: int = 1000,
    seed: int = 0,
    pictures: int = 10,
) -> Comparison:
    """Compares two sets of detections of the same pictures.

    Args:
        ground_truths: one entry a picture.
        old, new: one entry a picture each, in the same order.
        class_names: the names that class ids index, alike for all.
        max_detections: the most detections of a picture and class that count.
        resamples: how many draws of pictures.
        seed: the same one gives the same intervals.
        pictures: how many to name that improved, and that worsened.

    Raises:
        ValueError: there are not as many entries of one as of another.
    """
    both = [
        match_detections(ground_truths, each, len(class_names), max_detections=max_detections) for each in (old, new)
    ]
    plain = [PrecisionCurves.of(each).average_precision(np.ones(each.images, np.int32)) for each in both]
    drawn = [draw_samples(each, resamples=resamples, seed=seed) for each in both]

    def difference(figure: Any, samples: Any) -> Difference:
        return _difference(*(figure(each) for each in plain), *(samples(each) for each in drawn))

    by_class = {
        name: difference(
            lambda each, index=index: mean_over_classes(each[IOU_50, index]),
            lambda each, index=index: each.by_class[:, index],
        )
        for index, name in enumerate(class_names)
    }
    changes = [each.difference for each in by_class.values() if each.difference is not None]
    improved, worsened = _changed_pictures(ground_truths, *(_scores_of_pictures(each, class_names) for each in both))
    return Comparison(
        AP=difference(mean_over_classes, lambda each: each.AP),
        AP50=difference(lambda each: mean_over_classes(each[IOU_50]), lambda each: each.AP50),
        by_class=by_class,
        wins=sum(change > 0 for change in changes),
        losses=sum(change < 0 for change in changes),
        ties=sum(change == 0 for change in changes),
        improved=improved[:pictures],
        worsened=worsened[:pictures],
        images=len(ground_truths),
        resamples=resamples,
    )


def _difference(old: float | None, new: float | None, old_samples: np.ndarray, new_samples: np.ndarray) -> Difference:
    change = new_samples - old_samples
    measured = change[~np.isnan(change)]
    share = float(np.mean((measured > 0) + 0.5 * (measured == 0))) if len(measured) else None
    return Difference(old, new, None if old is None or new is None else new - old, interval(change), share)


def _scores_of_pictures(matching: Matching, class_names: Sequence[str]) -> PictureScores:
    return score_pictures(matching, find_thresholds(matching, class_names).limits())


def _changed_pictures(
    ground_truths: Sequence[GroundTruth], old: PictureScores, new: PictureScores
) -> tuple[list[PictureChange], list[PictureChange]]:
    """Those with fewer errors, and those with more; the greatest change first."""
    change = new.errors - old.errors
    order = np.argsort(change, kind="stable").tolist()
    described = {
        image: PictureChange(image, ground_truths[image].image_id, int(old.errors[image]), int(new.errors[image]))
        for image in order
        if change[image]
    }
    improved = [described[image] for image in order if change[image] < 0]
    worsened = [described[image] for image in np.argsort(-change, kind="stable").tolist() if change[image] > 0]
    return improved, worsened
