"""What is counted of tracked objects."""

from __future__ import annotations

from collections import Counter

import numpy as np

from luminoth.errors import ConfigError
from luminoth.inference.tracking.tracker import UNTRACKED
from luminoth.types import Detections

# So far from the line, in heights of its box, an object's centre must be to be on one side of it: what stands on the
# line and trembles is counted once.
_CLEAR = 0.05


class ObjectCounts:
    """How many different objects of each class a video showed."""

    def __init__(self) -> None:
        self._classes: dict[int, Counter[str]] = {}

    def update(self, detections: Detections, track_ids: np.ndarray) -> None:
        """Takes a frame's detections and what `Tracker.update` returned for them."""
        for track_id, class_id in zip(track_ids.tolist(), detections.class_ids.tolist(), strict=True):
            if track_id != UNTRACKED:
                self._classes.setdefault(track_id, Counter())[detections.class_names[class_id]] += 1

    def by_class(self) -> dict[str, int]:
        """Class name -> objects, the most frequent first."""
        names = Counter(seen.most_common(1)[0][0] for seen in self._classes.values())
        return dict(sorted(names.items(), key=lambda item: (-item[1], item[0])))


class CountLine:
    """Counts the objects whose centre crosses a line between two points.

    Directions are as seen by someone who stands at the first point and looks at the second: `to_right` and `to_left`.
    An object that turns round and comes back is counted in the other direction as well.

    Args:
        start, end: (x, y) in pixels of the frame.

    Raises:
        ConfigError: both are the same point.
    """

    def __init__(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        if tuple(start) == tuple(end):
            raise ConfigError(f"a line needs two different points; got {start} twice")
        self.start, self.end = np.array(start, float), np.array(end, float)
        self._counts: dict[str, Counter[str]] = {"to_right": Counter(), "to_left": Counter()}
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def update(self, detections: Detections, track_ids: np.ndarray) -> list[str | None]:
        """Takes a frame's detections and what `Tracker.update` returned for them.

        Returns:
            For each detection the direction in which its object has just crossed, or None.
        """
        directions = [
            None if track_id == UNTRACKED else self._direction_of(track_id, box)
            for track_id, box in zip(track_ids.tolist(), detections.boxes.astype(float), strict=True)
        ]
        for direction, class_id in zip(directions, detections.class_ids.tolist(), strict=True):
            if direction is not None:
                self._counts[direction][detections.class_names[class_id]] += 1
        return directions

    def by_direction(self) -> dict[str, dict[str, int]]:
        """{"to_right": {class name: objects}, "to_left": {...}}."""
        return {direction: dict(sorted(counts.items())) for direction, counts in self._counts.items()}

    def _direction_of(self, track_id: int, box: np.ndarray) -> str | None:
        """Notes where a track is now; in which direction it came over the line, if it did."""
        centre = (box[:2] + box[2:]) / 2
        distance = self._distance(centre)
        if abs(distance) <= _CLEAR * (box[3] - box[1]):
            return None
        before = self._last.get(track_id)
        self._last[track_id] = (distance, centre)
        if before is None or before[0] * distance > 0 or not self._is_between(before, (distance, centre)):
            return None
        return "to_right" if distance > 0 else "to_left"

    def _distance(self, point: np.ndarray) -> float:
        """In pixels, above 0 on the right hand of someone who looks from start to end (y points down)."""
        along, to_point = self.end - self.start, point - self.start
        return float((along[0] * to_point[1] - along[1] * to_point[0]) / np.hypot(*along))

    def _is_between(self, before: tuple[float, np.ndarray], after: tuple[float, np.ndarray]) -> bool:
        """Whether the way from one place to the other meets the line within its two ends."""
        share = before[0] / (before[0] - after[0])
        meeting = before[1] + share * (after[1] - before[1])
        along = self.end - self.start
        return 0.0 <= float((meeting - self.start) @ along) <= float(along @ along)
