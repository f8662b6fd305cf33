"""Where boxes will be in the next frame: a Kalman filter with constant velocity.

The state is (centre x, centre y, width / height, height) and the speed of each, as in DeepSORT (Wojke et al. 2017) and
ByteTrack; what is not known is in proportion to the height, so that near and far objects behave alike. All functions
work on T boxes at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Standard deviations a frame, in heights; of the ratio, absolute.
_POSITION = 1.0 / 20.0
_SPEED = 1.0 / 160.0
_RATIO, _RATIO_SPEED, _RATIO_MEASURED = 1e-2, 1e-5, 1e-1

_STEP = np.eye(8)
_STEP[:4, 4:] = np.eye(4)


class Motion(NamedTuple):
    """What is believed of T boxes.

    Attributes:
        mean: [T, 8] float64.
        covariance: [T, 8, 8].
    """

    mean: np.ndarray
    covariance: np.ndarray


def begin(boxes: np.ndarray) -> Motion:
    """Of boxes [T, 4] that were seen once."""
    state = _from_boxes(boxes)
    heights = state[:, 3]
    speeds = np.zeros_like(state)
    deviations = _deviations(heights, 2 * _POSITION, _RATIO, 10 * _SPEED, _RATIO_SPEED)
    return Motion(np.concatenate([state, speeds], axis=1), _diagonal(deviations))


def predict(motion: Motion) -> Motion:
    """One frame later."""
    noise = _diagonal(_deviations(motion.mean[:, 3], _POSITION, _RATIO, _SPEED, _RATIO_SPEED))
    return Motion(motion.mean @ _STEP.T, _STEP @ motion.covariance @ _STEP.T + noise)


def correct(motion: Motion, boxes: np.ndarray) -> Motion:
    """After boxes [T, 4] were seen."""
    heights = motion.mean[:, 3]
    measured = np.stack([_POSITION * heights] * 2 + [np.full_like(heights, _RATIO_MEASURED), _POSITION * heights], 1)
    expected_covariance = motion.covariance[:, :4, :4] + _diagonal(measured)
    # The gain [T, 8, 4] is P H' S^-1; S is symmetric, so that it is the transpose of S^-1 (P H')'.
    gain = np.linalg.solve(expected_covariance, motion.covariance[:, :4, :]).transpose(0, 2, 1)
    surprise = _from_boxes(boxes) - motion.mean[:, :4]
    return Motion(
        motion.mean + (gain @ surprise[:, :, None])[:, :, 0],
        motion.covariance - gain @ expected_covariance @ gain.transpose(0, 2, 1),
    )


def without_growth(motion: Motion, rows: np.ndarray) -> Motion:
    """The same, where the boxes at `rows` neither grow nor shrink: nobody sees whether they do."""
    mean = motion.mean.copy()
    mean[rows, 7] = 0.0
    return Motion(mean, motion.covariance)


def boxes_of(motion: Motion) -> np.ndarray:
    """[T, 4] float64."""
    x, y, ratio, height = motion.mean[:, :4].T
    half_width, half_height = ratio * height / 2, height / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)


def _from_boxes(boxes: np.ndarray) -> np.ndarray:
    x_min, y_min, x_max, y_max = np.asarray(boxes, float).reshape(-1, 4).T
    height = np.maximum(y_max - y_min, 1e-3)
    return np.stack([(x_min + x_max) / 2, (y_min + y_max) / 2, (x_max - x_min) / height, height], axis=1)


def _deviations(heights: np.ndarray, place: float, ratio: float, speed: float, ratio_speed: float) -> np.ndarray:
    of_place, of_speed = place * heights, speed * heights
    ratios, ratio_speeds = np.full_like(heights, ratio), np.full_like(heights, ratio_speed)
    return np.stack([of_place, of_place, ratios, of_place, of_speed, of_speed, ratio_speeds, of_speed], axis=1)


def _diagonal(deviations: np.ndarray) -> np.ndarray:
    """[T, K, K] with the squares of [T, K] on the diagonals."""
    return np.square(deviations)[:, :, None] * np.eye(deviations.shape[1])
