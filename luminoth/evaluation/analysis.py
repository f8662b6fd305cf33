"""Everything that is told of one set of detections: figures, how sure they are, thresholds, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luminoth.evaluation.bootstrap import Bootstrap, bootstrap
from luminoth.evaluation.calibration import Calibration, calibrate
from luminoth.evaluation.confusion import Confusion, confuse
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.matching import Matching, match_detections
from luminoth.evaluation.metrics import CocoMetrics, coco_metrics
from luminoth.evaluation.pictures import PictureFindings, PictureScores, explain_picture, score_pictures
from luminoth.evaluation.thresholds import Thresholds, best_to_dict, find_thresholds
from luminoth.evaluation.tide import ErrorAnalysis, analyse_errors
from luminoth.evaluation.voc import VocMetrics, voc_metrics
from luminoth.types import Detections


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known of one set of detections.

    Attributes:
        class_names: the names of the K classes.
        coco: COCO's figures; also by class and by size.
        voc: Pascal VOC's, by both rules.
        intervals: of AP and AP50, 95 %.
        thresholds: the score to ask for, with precision and recall by score.
        confusion: what is taken for what, at these thresholds.
        errors: TIDE's kinds and what each costs.
        calibration: scores against precision.
        pictures: what is right, wrong and missed in each picture, at these thresholds.
        matching: what all but the first was computed from.
    """

    class_names: list[str]
    coco: CocoMetrics
    voc: VocMetrics
    intervals: Bootstrap
    thresholds: Thresholds
    confusion: Confusion
    errors: ErrorAnalysis
    calibration: Calibration
    pictures: PictureScores
    matching: Matching

    def explain(self, image: int) -> PictureFindings:
        """What is right, wrong and missed in one picture, at the best thresholds."""
        return explain_picture(self.matching, self.errors.of_found, self.thresholds.limits(), image)

    def to_dict(self) -> dict[str, Any]:
        """All but curves and pictures as plain values, ready for `json.dumps`."""
        coco = self.coco.to_dict()
        return {
            "images": coco["images"],
            "objects": coco["objects"],
            "max_detections": coco["max_detections"],
            "metrics": coco["figures"],
            "by_class": coco["by_class"],
            "objects_by_size": coco["objects_by_size"],
            "voc": self.voc.to_dict(),
            "intervals": self.intervals.to_dict(),
            "thresholds": self.thresholds.to_dict(),
            "threshold_of_all": best_to_dict(self.thresholds.overall),
            "confusion": self.confusion.to_dict(),
            "errors": self.errors.to_dict(),
            "calibration": self.calibration.to_dict(),
        }


def analyse(
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    *,
    max_detections: int = 100,
    resamples: int = 1000,
    seed: int = 0,
) -> Analysis:
    """Tells everything of a set of detections.

    Args:
        ground_truths: one entry a picture.
        detections: one entry a picture, in the same order; boxes in the same pixels.
        class_names: the names that class ids index, alike for both.
        max_detections: the most detections of a picture and class that count.
        resamples: draws of pictures for the intervals, which take most of the time.
        seed: of these draws; the same one gives the same intervals.

    Raises:
        ValueError: there are not as many entries of the one as of the other.
    """
    coco = coco_metrics(ground_truths, detections, class_names, max_detections=max_detections)
    matching = match_detections(ground_truths, detections, len(class_names), max_detections=max_detections)
    thresholds = find_thresholds(matching, class_names)
    limits = thresholds.limits()
    return Analysis(
        class_names=list(class_names),
        coco=coco,
        voc=voc_metrics(matching, class_names),
        intervals=bootstrap(matching, class_names, resamples=resamples, seed=seed),
        thresholds=thresholds,
        confusion=confuse(matching, class_names, limits),
        errors=analyse_errors(matching, class_names),
        calibration=calibrate(matching),
        pictures=score_pictures(matching, limits),
        matching=matching,
    )
