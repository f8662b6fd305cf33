"""A street in motion: cars keep their lanes and stop at the red light, people walk and cross."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from luminoth.data.toytown.backdrop import LIGHT_WEIGHTS, LIGHTS, Stage, draw_backdrop, random_stage
from luminoth.data.toytown.people import draw_person
from luminoth.data.toytown.scene import clutter, draw_vehicle, traffic_light
from luminoth.data.toytown.vehicles import draw_bicycle
from luminoth.data.toytown.visibility import Actor

# Seconds of a traffic light's round, which begins in the middle of green.
_PHASES = (("green", 1.0), ("amber", 0.7), ("red", 5.0), ("green", 2.5))
_CRUISE, _ACCELERATION, _BRAKING = 4.2, 2.2, 3.0  # m/s, m/s², m/s²; slow, as in a toy town
_STOP_BEFORE_CROSSING, _GAP = 2.1, 0.9  # metres
_STEP_LENGTH = 1.5  # metres of two steps
_SLANT = 0.62  # a metre into the depth is so many metres up the picture


@dataclass
class _Vehicle:
    """A vehicle in a lane.

    Attributes:
        travelled: metres from where its lane enters the picture to its middle.
        waits: whether it stops for the light, decided when that leaves green; None while it is green.
    """

    actor: Actor
    length: float
    travelled: float
    speed: float = _CRUISE
    waits: bool | None = None


@dataclass
class _Lane:
    """The vehicles of a lane, the foremost first, and the metre at which they wait at red."""

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
            if not must_stop:
                vehicle.waits = None
            elif vehicle.waits is None:
                vehicle.waits = to_light > 0 and vehicle.speed**2 <= 2 * _BRAKING * to_light
            if vehicle.waits:
                room = min(room, to_light)
            safe = math.sqrt(2 * _BRAKING * max(room, 0.0))
            vehicle.speed = min(vehicle.speed + _ACCELERATION * seconds, _CRUISE, safe)
            vehicle.travelled += vehicle.speed * seconds
            ahead = vehicle.travelled - vehicle.length / 2
        first, last = self.vehicles[0], self.vehicles[-1]
        if first.travelled - first.length / 2 > self.length:  # it left: it comes again behind the last
            first.travelled = min(last.travelled - last.length / 2 - 4, 0) - first.length / 2 - _GAP
            first.waits = None
            self.vehicles.append(self.vehicles.pop(0))

    def actors(self, width: int) -> Iterator[Actor]:
        for vehicle in self.vehicles:
            column = vehicle.travelled * self.scale
            vehicle.actor.x = column if self.direction > 0 else width - column
            yield vehicle.actor


@dataclass
class _Walker:
    """Someone on a pavement: `speed` in m/s, above 0 to the right; `walked` in metres."""

    looks: str
    x: float
    y: float
    speed: float
    walked: float = 0.0
    walking: bool = True

    def advance(self, stage: Stage, seconds: float, signal: tuple[str, float]) -> None:
        """Walks on; who leaves the picture comes in again at its other side."""
        scale = stage.scale_at(self.y)
        margin = 0.6 * scale
        self.walked += abs(self.speed) * seconds
        self.x += self.speed * scale * seconds
        if not -margin <= self.x <= stage.width + margin:
            self.x = -margin if self.speed > 0 else stage.width + margin


@dataclass
class _Crosser(_Walker):
    """Someone who waits at the crossing until the traffic has red, and goes over; `speed` is below 0 for going away."""

    def advance(self, stage: Stage, seconds: float, signal: tuple[str, float]) -> None:
        state, lasting = signal
        self.walking = self.walking or (state == "red" and 1.0 < lasting < 1.6)
        if not self.walking:
            return
        scale = stage.scale_at(self.y)
        metres = (self.x - stage.width / 2) / scale
        self.walked += abs(self.speed) * seconds
        self.y += self.speed * _SLANT * scale * seconds
        self.x = stage.across(metres, self.y)
        far, near = _waiting_rows(stage)
        if not far <= self.y <= near:  # over there: turns round, for the next red
            self.y = min(max(self.y, far), near)
            self.speed, self.walking = -self.speed, False


def _waiting_rows(stage: Stage) -> tuple[float, float]:
    """The rows on both sides of the road where one waits to cross."""
    return stage.road[0] - 0.02 * stage.height, stage.road[1] + 0.03 * stage.height


class Street:
    """A street for pictures of `size`, with all that moves on it, and the time."""

    def __init__(self, random: Random, size: tuple[int, int]) -> None:
        self._stage = stage = replace(random_stage(random, size), crossing=random.uniform(-1.5, 1.5))
        self._light = light = random.choices(LIGHTS, LIGHT_WEIGHTS)[0]
        self.backdrop = draw_backdrop(random, stage, light)
        self._time = 0.0
        self._still = [clutter(random, stage, light) for _ in range(4)]
        self._still += [self._parked_bicycle(random) for _ in range(2)]
        self._lanes = [self._lane(random, number) for number in range(len(stage.lanes))]
        self._walkers = [self._walker(random, number) for number in range(4)] + self._crossers(random)
        self._light_looks = f"light {random.random()}"

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._time += seconds
        signal = self._signal()
        for lane in self._lanes:
            lane.advance(seconds, must_stop=signal[0] != "green")
        for walker in self._walkers:
            walker.advance(self._stage, seconds, signal)

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
        lane = _Lane(direction, scale, stop, stage.width / scale, [])
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

    def _crossers(self, random: Random) -> list[_Walker]:
        stage = self._stage
        far, near = _waiting_rows(stage)
        starts = ((near, -1, random.uniform(-1.0, 0.0)), (far, 1, random.uniform(0.2, 1.0)))
        return [
            _Crosser(
                f"crosser {random.random()}", stage.across(stage.crossing + metres, y), y, way * 1.5, walking=False
            )
            for y, way, metres in starts
        ]

    def _person(self, walker: _Walker) -> Actor:
        swing = 0.5 * math.sin(2 * math.pi * walker.walked / _STEP_LENGTH) if walker.walking else 0.05
        scale = self._stage.scale_at(walker.y)
        sprite = draw_person(scale, Random(walker.looks), self._light.lamps_on, swing)
        return Actor("person", sprite if walker.speed > 0 else sprite.flipped(), walker.x, walker.y)
