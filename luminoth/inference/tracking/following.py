"""One video, followed: detections of its frames in, objects with ids out, and what was counted at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luminoth.inference.tracking.counting import CountLine, ObjectCounts
from luminoth.inference.tracking.tracker import UNTRACKED, Tracker
from luminoth.types import Detections

_PATIENCE_SECONDS = 1.0


class Following:
    """Follows the objects of one video.

    Args:
        frame_rate: frames a second, of those that are looked at. What is not seen is looked for during a second.
        sure_scores: see `Tracker`.
        lines: where crossings are counted.

    Attributes:
        counts: the different objects so far.
        lines: as given; with their crossings so far.
    """

    def __init__(
        self, frame_rate: float, sure_scores: float | np.ndarray = 0.5, lines: Sequence[CountLine] = ()
    ) -> None:
        self._tracker = Tracker(sure_scores=sure_scores, patience=max(1, round(_PATIENCE_SECONDS * frame_rate)))
        self.counts, self.lines = ObjectCounts(), list(lines)

    def follow(self, detections: Detections) -> list[dict[str, Any]]:
        """The followed objects of the next frame, as `Detections.to_dicts` gives them, with `track`: their number.

        One that crosses a line in this frame also has `crossed`, as in `line 1 to_right`.

        Args:
            detections: of the frame, down to `Tracker.DOUBTFUL_SCORE`.
        """
        track_ids = self._tracker.update(detections)
        followed = np.flatnonzero(track_ids != UNTRACKED)
        detections, track_ids = detections.select(followed), track_ids[followed]
        self.counts.update(detections, track_ids)
        crossings = [line.update(detections, track_ids) for line in self.lines]
        objects = []
        for index, found in enumerate(detections.to_dicts()):
            found["track"] = int(track_ids[index])
            crossed = [f"line {number} {way[index]}" for number, way in enumerate(crossings, start=1) if way[index]]
            objects.append(found | ({"crossed": ", ".join(crossed)} if crossed else {}))
        return objects
