"""How much rare classes are made to count: pictures shown more often, and weights for the loss. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luminoth.data.labels import Labels

_WEIGHT_LIMITS = 0.1, 10.0
_UNIT = 2**16  # shares of a repetition are counted in whole parts, so that sums are exact


def repeat_factors(labels: Labels, num_classes: int, threshold: float) -> np.ndarray:
    """How often each picture is to be shown in an epoch (LVIS, Gupta et al. 2019, appendix B.2).

    A class's factor is `max(1, sqrt(threshold / f))`, where f is the share of the pictures that show it; a picture's is
    the highest of its classes.

    Args:
        labels: of the P pictures.
        num_classes: C.
        threshold: the share below which a class is rare, above 0.

    Returns:
        [P] float64, 1 or more; 1 for pictures without objects.
    """
    pictures, classes = labels.shows(num_classes)
    shares = np.bincount(classes, minlength=num_classes) / max(len(labels.objects), 1)
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(shares, np.finfo(float).tiny)))
    factors = np.ones(len(labels.objects))
    np.maximum.at(factors, pictures, of_class[classes])
    return factors


def balanced_class_weights(labels: Labels, num_classes: int) -> list[float]:
    """Weights of classes by how rare their objects are: `n ** -0.5` of n objects, to a mean of 1 over all objects.

    With that mean, objects together count as much against background as without weights. Weights lie between 0.1 and
    10; classes without an object have 1.
    """
    counts = np.bincount(labels.class_ids, minlength=num_classes)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -0.5, 0.0)
    mean = (weights * counts).sum() / max(counts.sum(), 1)
    weights = np.clip(weights / mean, *_WEIGHT_LIMITS) if mean > 0 else weights
    return np.where(counts > 0, weights, 1.0).tolist()


class Repeats:
    """How often each picture is shown in an epoch, drawn anew for every epoch around its factor.

    The fraction of a factor is a probability: 1.3 is one time in seven epochs of ten, two times in three. The pictures'
    draws hang together in such a way that every epoch has the same number of pictures, the sum of the factors rounded:
    the pictures' fractions are laid behind one another in random order, and where a mark of a ruler falls, whose
    marks are 1 apart, that picture is shown once more (systematic sampling). So a place in the data is a number and
    nothing else, and the number of steps is known beforehand.

    Args:
        factors: [P], 1 or more.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        factors = np.asarray(factors, np.float64)
        self._whole = np.floor(factors).astype(np.int64)
        self._parts = _to_whole_sum(np.rint((factors - self._whole) * _UNIT).astype(np.int64))
        self.images = len(factors)
        self.per_epoch = int(self._whole.sum() + self._parts.sum() // _UNIT)

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """[P] int64, times that each picture is shown in an epoch; their sum is `per_epoch`."""
        random = np.random.default_rng([seed % 2**64, epoch])
        order = np.argsort(random.random(self.images), kind="stable")
        start = int(random.random() * _UNIT)
        marks = (start + np.cumsum(self._parts[order])) // _UNIT
        times = self._whole.copy()
        times[order] += np.diff(marks, prepend=0)
        return times


def _to_whole_sum(parts: np.ndarray) -> np.ndarray:
    """Parts whose sum is the nearest whole number of units, each changed in proportion; zeros stay zero."""
    total = int(parts.sum())
    if total == 0:
        return parts
    wanted = (total + _UNIT // 2) // _UNIT * _UNIT
    scaled = parts * wanted // total
    missing = wanted - int(scaled.sum())  # by rounding down, fewer than there are parts above zero
    scaled[np.flatnonzero(parts)[:missing]] += 1
    return scaled
