"""ByteTrack (Zhang et al. 2022): an id for each object, kept from frame to frame.

Its idea: a detection with a low score is not thrown away. What is surely seen is tied to the tracks first, by where
they are expected; the tracks left over are then looked for among the doubtful detections, where hidden and blurred
objects are. A doubtful detection never begins a track, so that few false ones come of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luminoth.boxes.host import overlaps
from luminoth.inference.tracking import motion
from luminoth.inference.tracking.assignment import cheapest_pairs
from luminoth.inference.tracking.motion import Motion
from luminoth.types import Detections

UNTRACKED = -1

# Costs are 1 - IoU; the limits are those of the authors' code.
_LIMIT_SURE, _LIMIT_DOUBTFUL, _LIMIT_UNCONFIRMED = 0.8, 0.5, 0.7
# Two tracks that overlap so much follow the same object.
_SAME_OBJECT_IOU = 0.85
# How much surer than `sure_score` a detection is that begins a track.
_BEGIN_MARGIN = 0.1


@dataclass
class _Track:
    track_id: int
    class_id: int
    motion: Motion  # of one box
    first_frame: int
    last_frame: int
    is_confirmed: bool


class Tracker:
    """Follows objects through the frames of one video.

    Detections are tied to tracks of their own class only.

    Args:
        sure_scores: a detection with at least that score is sure, the others are doubtful: one number, or [C], one
            for each class. Give all detections down to `DOUBTFUL_SCORE`.
        patience: frames for which a track that is not seen is looked for.
    """

    DOUBTFUL_SCORE = 0.1

    def __init__(self, *, sure_scores: float | np.ndarray = 0.5, patience: int = 30) -> None:
        self._sure_scores, self._patience = np.asarray(sure_scores), patience
        self._tracks: list[_Track] = []
        self._frame = 0
        self._next_id = 1

    def update(self, detections: Detections) -> np.ndarray:
        """Takes the next frame's detections; returns the track of each, [N] int64, `UNTRACKED` where it has none.

        A track's id, counted from 1, comes with the second frame in a row that it is seen in (the video's first frame
        apart), so that what flickers once gets none.
        """
        self._frame += 1
        self._predict()
        ids = np.full(len(detections), UNTRACKED, np.int64)
        asked = self._sure_scores if self._sure_scores.ndim == 0 else self._sure_scores[detections.class_ids]
        is_sure = detections.scores >= asked
        sure, doubtful = np.flatnonzero(is_sure), np.flatnonzero(~is_sure & (detections.scores >= self.DOUBTFUL_SCORE))
        # Also where what is asked is near 1.
        begins = detections.scores >= np.minimum(asked + _BEGIN_MARGIN, (asked + 1) / 2)
        confirmed = [track for track in self._tracks if track.is_confirmed]
        unconfirmed = [track for track in self._tracks if not track.is_confirmed]

        confirmed, sure = self._tie(confirmed, detections, sure, _LIMIT_SURE, ids, by_score=True)
        seen_lately = [track for track in confirmed if track.last_frame == self._frame - 1]
        self._tie(seen_lately, detections, doubtful, _LIMIT_DOUBTFUL, ids)
        unconfirmed, sure = self._tie(unconfirmed, detections, sure, _LIMIT_UNCONFIRMED, ids, by_score=True)
        for track in unconfirmed:
            self._tracks.remove(track)
        for index in sure:
            if begins[index]:
                ids[index] = self._begin(detections, index)
        self._forget()
        return ids

    def _predict(self) -> None:
        if not self._tracks:
            return
        believed = _stacked([track.motion for track in self._tracks])
        unseen = np.flatnonzero([track.last_frame < self._frame - 1 for track in self._tracks])
        predicted = motion.predict(motion.without_growth(believed, unseen))
        for row, track in enumerate(self._tracks):
            track.motion = _row(predicted, row)

    def _tie(
        self,
        tracks: list[_Track],
        detections: Detections,
        candidates: np.ndarray,
        limit: float,
        ids: np.ndarray,
        by_score: bool = False,
    ) -> tuple[list[_Track], np.ndarray]:
        """Ties candidates to tracks and notes their ids; returns the tracks and the candidates left over."""
        if not tracks or not len(candidates):
            return tracks, candidates
        boxes = detections.boxes[candidates].astype(float)
        shared = overlaps(motion.boxes_of(_stacked([track.motion for track in tracks])), boxes)
        if by_score:
            shared = shared * detections.scores[candidates]
        same_class = np.array([track.class_id for track in tracks])[:, None] == detections.class_ids[candidates]
        pairs = cheapest_pairs(np.where(same_class, 1.0 - shared, np.inf), limit)
        if pairs:
            rows, columns = (np.array(each) for each in zip(*pairs, strict=True))
            corrected = motion.correct(_stacked([tracks[row].motion for row in rows]), boxes[columns])
            for number, (row, column) in enumerate(pairs):
                track = tracks[row]
                track.motion, track.last_frame, track.is_confirmed = _row(corrected, number), self._frame, True
                ids[candidates[column]] = track.track_id
        tied_rows, tied_columns = {row for row, _ in pairs}, [column for _, column in pairs]
        left = [track for row, track in enumerate(tracks) if row not in tied_rows]
        return left, np.delete(candidates, tied_columns)

    def _begin(self, detections: Detections, index: int) -> int:
        """Begins a track; its id if that is told already."""
        track = _Track(
            track_id=self._next_id,
            class_id=int(detections.class_ids[index]),
            motion=motion.begin(detections.boxes[index : index + 1]),
            first_frame=self._frame,
            last_frame=self._frame,
            is_confirmed=self._frame == 1,
        )
        self._next_id += 1
        self._tracks.append(track)
        return track.track_id if track.is_confirmed else UNTRACKED

    def _forget(self) -> None:
        """Drops what was not seen for too long, and of two tracks of one object the one that was followed for less."""
        self._tracks = [track for track in self._tracks if self._frame - track.last_frame <= self._patience]
        seen = [track for track in self._tracks if track.last_frame == self._frame]
        lost = [track for track in self._tracks if track.last_frame < self._frame]
        if not seen or not lost:
            return
        shared = overlaps(*(motion.boxes_of(_stacked([track.motion for track in each])) for each in (seen, lost)))
        for row, column in np.argwhere(shared > _SAME_OBJECT_IOU):
            one, other = seen[row], lost[column]
            if one.class_id == other.class_id:
                loser = min(one, other, key=lambda track: track.last_frame - track.first_frame)
                self._tracks = [track for track in self._tracks if track is not loser]


def _stacked(motions: list[Motion]) -> Motion:
    return Motion(*(np.concatenate(parts) for parts in zip(*motions, strict=True)))


def _row(believed: Motion, row: int) -> Motion:
    return Motion(*(part[row : row + 1] for part in believed))
