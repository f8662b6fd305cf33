"""How sure AP and AP50 are: their 95 % intervals over the pictures that happen to be in the split.

The bias-corrected percentile bootstrap (Efron and Tibshirani 1993, section 14.3, without acceleration): pictures are
drawn as many times as there are, with replacement, and the figures computed for each such draw. A picture that is drawn
twice gives the same right detections twice in a row, so that the AP of classes with few objects is higher in the draws
than it is: how far the draws lie off the figure itself shifts the ends of the interval. It tells what other pictures of
the same kind could have given; it tells nothing of another training run, nor of pictures of another kind.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from luminoth.evaluation.average_precision import PrecisionCurves, mean_over_classes
from luminoth.evaluation.matching import IOU_50, IOU_THRESHOLDS, Matching

LEVEL = 0.95
_MOST_THREADS = 4  # NumPy lets go of the interpreter, but memory does not get faster


@dataclass(frozen=True)
class Interval:
    """From where to where a figure lies, with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassInterval:
    """The interval of one class's AP50; None when it could not be measured."""

    name: str
    AP50: Interval | None


@dataclass(frozen=True)
class Bootstrap:
    """The 95 % intervals of one set of detections.

    Attributes:
        AP, AP50: of the means over classes; None when there is nothing to measure.
        by_class: in the order of the class list.
        resamples: how many draws.
    """

    AP: Interval | None
    AP50: Interval | None
    by_class: list[ClassInterval]
    resamples: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        return {"level": LEVEL, **asdict(self)}


@dataclass(frozen=True, eq=False)
class Samples:
    """Figures of R draws of pictures. The draws depend on seed and number of pictures alone, so samples of two sets of
    detections on the same pictures may be compared draw by draw. NaN: not measurable in this draw.

    Attributes:
        AP, AP50: [R] float64.
        by_class: [R, K] float64, AP50.
    """

    AP: np.ndarray
    AP50: np.ndarray
    by_class: np.ndarray


def bootstrap(matching: Matching, class_names: Sequence[str], *, resamples: int = 1000, seed: int = 0) -> Bootstrap:
    """The intervals of AP and AP50, over all classes and by class.

    Args:
        matching: of all pictures.
        class_names: K names.
        resamples: how many draws; 1,000 settle the ends of an interval to about a fiftieth of its width.
        seed: the same one gives the same intervals.
    """
    samples = draw_samples(matching, resamples=resamples, seed=seed)
    plain = PrecisionCurves.of(matching).average_precision(np.ones(matching.images, np.int32))
    by_class = [
        ClassInterval(name, corrected_interval(samples.by_class[:, index], plain[IOU_50, index]))
        for index, name in enumerate(class_names)
    ]
    return Bootstrap(
        corrected_interval(samples.AP, mean_over_classes(plain)),
        corrected_interval(samples.AP50, mean_over_classes(plain[IOU_50])),
        by_class,
        resamples,
    )


def draw_samples(matching: Matching, *, resamples: int, seed: int) -> Samples:
    """The figures of `resamples` draws of pictures."""
    curves = PrecisionCurves.of(matching)
    images = matching.images

    def draw(number: int) -> np.ndarray:
        chosen = np.random.default_rng([seed, number]).integers(0, max(images, 1), images)
        return curves.average_precision(np.bincount(chosen, minlength=images).astype(np.int32))

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        drawn = list(threads.map(draw, range(resamples)))
    precision = np.array(drawn).reshape(resamples, len(IOU_THRESHOLDS), matching.classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where nothing can be measured, the mean is NaN
        return Samples(
            np.nanmean(precision, axis=(1, 2)), np.nanmean(precision[:, IOU_50], axis=1), precision[:, IOU_50]
        )


def interval(samples: np.ndarray) -> Interval | None:
    """The percentile interval of samples [R], those that are NaN left out; None when all are.

    For differences: what lifts both figures in the draws cancels in them.
    """
    measured = samples[~np.isnan(samples)]
    if not len(measured):
        return None
    low, high = np.quantile(measured, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def corrected_interval(samples: np.ndarray, figure: float | None) -> Interval | None:
    """The interval of samples [R] of a figure, its ends shifted by how far the samples lie off the figure."""
    measured = samples[~np.isnan(samples)]
    if not len(measured) or figure is None or np.isnan(figure):
        return None
    normal, count = NormalDist(), len(measured)
    close = np.isclose(measured, figure, rtol=0, atol=1e-12)  # summed up in another order
    below = float(np.mean((measured < figure) & ~close) + 0.5 * np.mean(close))
    shift = 2 * normal.inv_cdf(min(max(below, 0.5 / count), 1 - 0.5 / count))
    ends = [normal.cdf(shift + normal.inv_cdf(share)) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    low, high = np.quantile(measured, ends)
    return Interval(float(low), float(high))
