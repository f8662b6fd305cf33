"""Objects followed through a video: an id that stays with each, how many there were, and who crossed a line.

    assignment.py    the cheapest pairs of rows and columns
    motion.py        where a box will be in the next frame (a Kalman filter)
    tracker.py       ByteTrack: detections of a frame -> ids
    counting.py      unique objects by class; crossings of a line
    following.py     all of it for one video

NumPy only. An own implementation, of few lines: what libraries there are bring OpenCV and SciPy along.
"""

from luminoth.inference.tracking.counting import CountLine, ObjectCounts
from luminoth.inference.tracking.following import Following
from luminoth.inference.tracking.tracker import UNTRACKED, Tracker

__all__ = ["UNTRACKED", "CountLine", "Following", "ObjectCounts", "Tracker"]
