"""What can be seen of each thing in a scene: exact boxes and masks, behind whatever stands in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.data.toytown.sprite import SUPERSAMPLING, Sprite

MIN_VISIBLE = 0.25  # of an object's pixels; one that shows less is not an object of the picture
_DIFFICULT_VISIBLE = 0.5


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object as it can be seen.

    Attributes:
        label: one of `CLASSES`.
        box: (x_min, y_min, x_max, y_max), whole pixels, continuous: a box of one pixel has x_max = x_min + 1.
        truncated: the picture's edge cuts it.
        difficult: less than half of it can be seen.
        visible: the share of it that can be seen, 0.25 to 1.
        mask: [y_max - y_min, x_max - x_min] bool, the pixels of the box that are the object's.
    """

    label: str
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool
    visible: float
    mask: np.ndarray


@dataclass(eq=False)
class Actor:
    """A sprite with its place on the supersampled canvas.

    Attributes:
        label: its class; None for clutter.
        sprite: how it looks.
        x: the column of its middle.
        ground: the row it stands on, which is also what decides who is in front of whom.
        lift: how many rows it is above that.
        lane: the index of the lane it drives in, if it does.
    """

    label: str | None
    sprite: Sprite
    x: float
    ground: float
    lift: float = 0.0
    lane: int | None = None

    @property
    def left(self) -> int:
        return round(self.x - self.sprite.colour.width / 2)

    @property
    def top(self) -> int:
        return round(self.ground - self.lift) - self.sprite.colour.height + 1


def far_to_near(actors: Sequence[Actor]) -> list[Actor]:
    """The order in which actors are drawn."""
    return sorted(actors, key=lambda actor: actor.ground)


def visible_objects(actors: Sequence[Actor], size: tuple[int, int]) -> list[SceneObject]:
    """What can be seen of each labelled actor, from far to near; those that show too little are left out.

    Args:
        actors: everything that stands in the scene.
        size: (height, width) of the final picture.
    """
    sights = [_Sight(actor, size) for actor in far_to_near(actors)]
    owners = _owners(sights, size)
    objects = []
    for number, sight in enumerate(sights, start=1):
        if sight.actor.label is None:
            continue
        seen = _describe(sight, owners[sight.window] == number)
        if seen is not None:
            objects.append(seen)
    return objects


def visible_shares(actors: Sequence[Actor], size: tuple[int, int]) -> list[float]:
    """For each actor, in the given order, the share of its pixels that can be seen; 1 for clutter."""
    sights = [_Sight(actor, size) for actor in far_to_near(actors)]
    owners = _owners(sights, size)
    shares = {
        sight.actor: np.count_nonzero(owners[sight.window] == number) / sight.area
        for number, sight in enumerate(sights, start=1)
        if sight.actor.label is not None
    }
    return [shares.get(actor, 1.0) for actor in actors]


class _Sight:
    """An actor and the part of its sprite that lies within the canvas."""

    def __init__(self, actor: Actor, size: tuple[int, int]) -> None:
        alpha = actor.sprite.alpha
        height, width = (length * SUPERSAMPLING for length in size)
        self.actor, self.area = actor, max(1, actor.sprite.area)
        self.top, self.left = min(max(actor.top, 0), height), min(max(actor.left, 0), width)
        bottom = min(max(actor.top + alpha.shape[0], self.top), height)
        right = min(max(actor.left + alpha.shape[1], self.left), width)
        self.window = slice(self.top, bottom), slice(self.left, right)
        self.alpha = alpha[self.top - actor.top : bottom - actor.top, self.left - actor.left : right - actor.left]


def _owners(sights: Sequence[_Sight], size: tuple[int, int]) -> np.ndarray:
    """[H, W] of the canvas: 1 + the index of the sight in front, 0 for the backdrop."""
    owners = np.zeros([length * SUPERSAMPLING for length in size], np.uint8)
    for number, sight in enumerate(sights, start=1):
        owners[sight.window][sight.alpha] = number
    return owners


def _describe(sight: _Sight, mask: np.ndarray) -> SceneObject | None:
    """The object that shows `mask` of itself, or None if that is too little."""
    visible = np.count_nonzero(mask) / sight.area
    covered = _shrunk(mask, sight.top, sight.left)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    if visible < MIN_VISIBLE or not len(rows):
        return None
    y, x = sight.top // SUPERSAMPLING, sight.left // SUPERSAMPLING
    return SceneObject(
        label=sight.actor.label,
        box=(x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1),
        truncated=np.count_nonzero(sight.alpha) < sight.area,
        difficult=visible < _DIFFICULT_VISIBLE,
        visible=visible,
        mask=covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
    )


def _shrunk(mask: np.ndarray, top: int, left: int) -> np.ndarray:
    """The pixels of the final picture of which a mask that begins at (top, left) covers half or more."""
    before = (top % SUPERSAMPLING, left % SUPERSAMPLING)
    after = tuple(-(start + length) % SUPERSAMPLING for start, length in zip(before, mask.shape, strict=True))
    padded = np.pad(mask, tuple(zip(before, after, strict=True))).astype(np.uint8)
    offsets = range(SUPERSAMPLING)
    counts = sum(padded[row::SUPERSAMPLING, column::SUPERSAMPLING] for row in offsets for column in offsets)
    return counts * 2 >= SUPERSAMPLING**2
