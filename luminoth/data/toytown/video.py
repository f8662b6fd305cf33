"""A film of toytown: cars keep their lanes and stop at the red light, people walk and cross."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np

from luminoth.data.toytown.backdrop import LIGHT_WEIGHTS, LIGHTS, draw_backdrop, random_stage
from luminoth.data.toytown.dataset import check_image_size
from luminoth.data.toytown.people import draw_person
from luminoth.data.toytown.scene import (
    Actor,
    SceneObject,
    clutter,
    draw_vehicle,
    render,
    traffic_light,
    visible_objects,
)
from luminoth.data.toytown.vehicles import draw_bicycle
from luminoth.data.toytown.visibility import Actor, SceneObject, visible_objects
from luminoth.errors import DataError, OutputError

VIDEO_SIZE = (480, 720)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")

# Seconds of a traffic light's round, which begins in the middle of green.
_PHASES = (("green", 1.4), ("amber", 0.7), ("red", 4.4), ("green", 2.5))
_CRUISE, _ACCELERATION, _BRAKING = 4.2, 2.2, 3.0  # m/s, m/s², m/s²; slow, as in a toy town
_STOP_BEFORE_CROSSING, _GAP = 2.1, 0.9  # metres
_STEP_LENGTH = 1.5  # metres of two steps


def write_toytown_video(
    path: str | os.PathLike,
    *,
    seconds: float = 8.0,
    fps: int = 25,
    seed: int = 0,
    image_size: tuple[int, int] = VIDEO_SIZE,
    progress: Callable[[], None] | None = None,
) -> list[list[SceneObject]]:
    """Draws a street with moving objects and writes it as H.264 (yuv420p).

    It is written beside `path` and renamed when whole.

    Args:
        path: the file, which does not exist yet, with one of `VIDEO_SUFFIXES`.
        seconds: the length, above 0.
        fps: frames a second, 1 or more.
        seed: which street.
        image_size: (height, width) in pixels, both even. The larger it is, the more detail; the things
            in it keep their share of the picture.
        progress: called after each frame.

    Returns:
        For each frame the objects in it, as `draw_scene` gives them.

    Raises:
        DataError: an argument is not acceptable.
        OutputError: the file is there already, or its suffix is not known.
    """
    target = Path(path)
    frames = _check_arguments(target, seconds, fps, image_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.stem}-unfinished{target.suffix}")
    truth = []
    try:
        with _VideoFile(unfinished, fps, image_size) as video:
            for pixels, objects in animate(seed, frames, fps, image_size):
                video.write(pixels)
                truth.append(objects)
                if progress is not None:
                    progress()
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return truth


def count_frames(seconds: float, fps: int) -> int:
    """How many frames a film has; at least one."""
    return max(1, round(seconds * fps))


def animate(seed: int, frames: int, fps: int, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, list[SceneObject]]]:
    """Yields each frame, [H, W, 3] uint8 RGB, with the objects that can be seen in it."""
    street = _Street(Random(f"toytown video {seed}"), size)
    for _ in range(frames):
        actors = street.actors()
        yield render(street.backdrop, actors), visible_objects(actors, size)
        street.advance(1 / fps)


@dataclass
class _Vehicle:
    """A vehicle in a lane; `travelled` is in metres along its lane, from where its lane enters the picture."""

    actor: Actor
    length: float
    travelled: float
    speed: float = _CRUISE


@dataclass
class _Lane:
    """The vehicles of a lane, the foremost first, and the metre at which they wait at red."""

    y: float
    direction: int
    scale: float
    stop: float
    length: float
    vehicles: list[_Vehicle]

    def advance(self, seconds: float, must_stop: bool) -> None:
        """Moves all of them: each brakes for the one before it and for the light."""
        ahead = math.inf
        for vehicle in self.vehicles:
            room = ahead - vehicle.travelled - vehicle.length / 2 - _GAP
            to_light = self.stop - vehicle.travelled - vehicle.length / 2
            if must_stop and to_light >= -0.2 and vehicle.speed**2 < 2.2 * _BRAKING * max(to_light, 0.3):
                room = min(room, to_light)
            safe = math.sqrt(2 * _BRAKING * max(room, 0.0))
            vehicle.speed = min(vehicle.speed + _ACCELERATION * seconds, _CRUISE, safe)
            vehicle.travelled += vehicle.speed * seconds
            ahead = vehicle.travelled - vehicle.length / 2
        first, last = self.vehicles[0], self.vehicles[-1]
        if first.travelled - first.length / 2 > self.length:  # it left: it comes again behind the last
            first.travelled = min(last.travelled - last.length / 2 - 4, 0) - first.length / 2 - _GAP
            self.vehicles.append(self.vehicles.pop(0))

    def actors(self, width: int) -> Iterator[Actor]:
        for vehicle in self.vehicles:
            column = vehicle.travelled * self.scale
            vehicle.actor.x = column if self.direction > 0 else width - column
            yield vehicle.actor


@dataclass
class _Walker:
    """Someone on a pavement, or on the crossing: then `crossing` is how many metres to its middle line."""

    looks: str
    x: float
    y: float
    speed: float
    crosses: bool = False
    walked: float = 0.0


class _Street:
    """All that moves, and the time."""

    def __init__(self, random: Random, size: tuple[int, int]) -> None:
        self._stage = stage = replace(random_stage(random, size), crossing=random.uniform(-1.5, 1.5))
        self._light = light = random.choices(LIGHTS, LIGHT_WEIGHTS)[0]
        self.backdrop = draw_backdrop(random, stage, light)
        self._time = 0.0
        self._still = [clutter(random, stage, light) for _ in range(4)]
        self._still += [self._parked_bicycle(random) for _ in range(2)]
        self._lanes = [self._lane(random, number) for number in range(len(stage.lanes))]
        self._walkers = [self._walker(random, number) for number in range(4)] + self._crossing_walkers(random)
        self._light_looks = random.random()

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._time += seconds
        state, lasting = self._signal()
        for lane in self._lanes:
            lane.advance(seconds, must_stop=state != "green")
        for walker in self._walkers:
            if walker.crosses and not self._may_cross(walker, state, lasting):
                continue
            walker.walked += abs(walker.speed) * seconds
            self._move(walker, seconds)

    def actors(self) -> list[Actor]:
        """Everything on the street as it is now."""
        actors = [*self._still, *self._traffic_lights()]
        for lane in self._lanes:
            actors += lane.actors(self._stage.width)
        return actors + [self._person(walker) for walker in self._walkers]

    def _signal(self) -> tuple[str, float]:
        """The traffic light's state, and for how many seconds it has had it."""
        time = self._time % sum(duration for _, duration in _PHASES)
        for state, duration in _PHASES:
            if time < duration:
                return state, time
            time -= duration
        raise AssertionError("the phases cover the whole round")

    def _traffic_lights(self) -> list[Actor]:
        stage, (state, _) = self._stage, self._signal()
        places = ((2.0, stage.road[1] + 0.02 * stage.height), (-2.0, stage.road[0] - 0.012 * stage.height))
        actors = []
        for offset, y in places:
            x = stage.across(stage.crossing + offset * stage.directions[-1], y)
            actors += traffic_light(Random(self._light_looks), stage, self._light, x, y, state)
        return actors

    def _lane(self, random: Random, number: int) -> _Lane:
        stage, y, direction = self._stage, self._stage.lanes[number], self._stage.directions[number]
        scale = stage.scale_at(y)
        stop_column = stage.across(stage.crossing - direction * _STOP_BEFORE_CROSSING, y)
        stop = (stop_column if direction > 0 else stage.width - stop_column) / scale
        lane = _Lane(y, direction, scale, stop, stage.width / scale, [])
        travelled = random.uniform(0.6, 1.0) * lane.length
        for label in random.sample(("car", "car", "car", "bus", "truck"), 5):
            actor = draw_vehicle(random, stage, self._light, label, number)
            length = actor.sprite.width
            lane.vehicles.append(_Vehicle(actor, length, travelled - length / 2))
            travelled -= length + random.uniform(2.0, 6.0)
        return lane

    def _parked_bicycle(self, random: Random) -> Actor:
        stage = self._stage
        y = random.choice(
            (stage.road[0] - 0.01 * stage.height, stage.road[1] + random.uniform(0.02, 0.05) * stage.height)
        )
        sprite = draw_bicycle(stage.scale_at(y), random, self._light.lamps_on)
        return Actor("bicycle", sprite, random.uniform(0.05, 0.95) * stage.width, y)

    def _walker(self, random: Random, number: int) -> _Walker:
        stage = self._stage
        far = random.uniform(stage.base + 0.012 * stage.height, stage.road[0] - 0.012 * stage.height)
        near = random.uniform(stage.road[1] + 0.03 * stage.height, 0.99 * stage.height)
        speed = random.uniform(0.9, 1.3) * random.choice((-1, 1))
        return _Walker(f"walker {random.random()}", random.uniform(0, stage.width), far if number % 2 else near, speed)

    def _crossing_walkers(self, random: Random) -> list[_Walker]:
        stage = self._stage
        far, near = stage.road[0] - 0.02 * stage.height, stage.road[1] + 0.03 * stage.height
        starts = ((near, -1, random.uniform(-1.0, 0.0)), (far, 1, random.uniform(0.2, 1.0)))
        return [
            _Walker(
                f"crossing {random.random()}", stage.across(stage.crossing + metres, y), y, way * 1.25, crosses=True
            )
            for y, way, metres in starts
        ]

    def _may_cross(self, walker: _Walker, state: str, lasting: float) -> bool:
        far, near = self._stage.road
        on_the_road = far < walker.y < near
        arrived = walker.walked > 0 and not on_the_road and (walker.y <= far - 1) == (walker.speed < 0)
        return (
            on_the_road
            or (not arrived and state == "red" and 0.9 < lasting < 2.0)
            or (walker.walked > 0 and not arrived)
        )

    def _move(self, walker: _Walker, seconds: float) -> None:
        stage = self._stage
        scale = stage.scale_at(walker.y)
        if not walker.crosses:
            walker.x += walker.speed * scale * seconds
            margin = 0.6 * scale
            if not -margin <= walker.x <= stage.width + margin:  # left the picture: comes in again over there
                walker.x = -margin if walker.x > 0 else stage.width + margin
            return
        metres = (walker.x - stage.width / 2) / scale
        walker.y += walker.speed * 0.62 * scale * seconds  # the ground is seen at a slant
        walker.x = stage.across(metres, walker.y)

    def _person(self, walker: _Walker) -> Actor:
        stride = 2 * math.pi * walker.walked / _STEP_LENGTH
        scale = self._stage.scale_at(walker.y)
        sprite = draw_person(scale, Random(walker.looks), self._light.lamps_on, stride)
        return Actor("person", sprite if walker.speed > 0 else sprite.flipped(), walker.x, walker.y)


class _VideoFile:
    """Takes RGB frames and writes them as H.264."""

    def __init__(self, path: Path, fps: int, image_size: tuple[int, int]) -> None:
        import av  # here, since it is only needed for films

        self._av = av
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("h264", rate=fps, options={"crf": "21", "preset": "medium"})
        self._stream.height, self._stream.width = image_size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 2  # the encoder's output depends on how many there are

    def write(self, pixels: np.ndarray) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _VideoFile:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _check_arguments(target: Path, seconds: float, fps: int, image_size: tuple[int, int]) -> int:
    if not seconds > 0:
        raise DataError(f"seconds: got {seconds}; accepted is more than 0")
    if fps < 1:
        raise DataError(f"fps: got {fps}; accepted is 1 or more")
    check_image_size(image_size)
    if image_size[0] % 2 or image_size[1] % 2:
        raise DataError(
            f"image size: {image_size[1]} x {image_size[0]} pixels; a video's width and height must be even"
        )
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise OutputError(f"{target}: not the name of a video; accepted are {', '.join(VIDEO_SUFFIXES)}")
    if target.exists():
        raise OutputError(f"{target}: the file is there already; name a new one, or delete this one first")
    return count_frames(seconds, fps)
