"""One still scene: who stands where, drawn from far to near, and the boxes of what can be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from luminoth.data.toytown.backdrop import (
    LIGHT_WEIGHTS,
    LIGHTS,
    Canvas,
    Light,
    Stage,
    draw_backdrop,
    random_stage,
)
from luminoth.data.toytown.furniture import (
    POLE_HEIGHT,
    draw_bench,
    draw_bin,
    draw_kiosk,
    draw_lamp_post,
    draw_planter,
    draw_pole,
    draw_sign,
    draw_traffic_light,
    draw_tree,
)
from luminoth.data.toytown.people import draw_person
from luminoth.data.toytown.sprite import SUPERSAMPLING, Sprite
from luminoth.data.toytown.vehicles import draw_bicycle, draw_bus, draw_car, draw_truck
from luminoth.data.toytown.visibility import (
    MIN_VISIBLE,
    Actor,
    SceneObject,
    far_to_near,
    visible_objects,
    visible_shares,
)

CLASSES = ("car", "bus", "truck", "person", "bicycle", "traffic light")
DEFAULT_SIZE = (320, 480)

_CLASS_WEIGHTS = (1.45, 0.95, 1.0, 1.5, 1.15, 1.15)
_EMPTY_SHARE = 0.05
_OBJECTS = (3, 8)
_CLEARLY_VISIBLE, _BARELY_VISIBLE = 0.85, MIN_VISIBLE + 0.04
_ATTEMPTS = 25  # to find a place for an object

Draw = Callable[[float, Random, bool], Sprite]
_VEHICLES: dict[str, Draw] = {"car": draw_car, "bus": draw_bus, "truck": draw_truck}
_CLUTTER: tuple[tuple[Draw, str, float], ...] = (
    (draw_lamp_post, "kerbs", 2.0), (draw_tree, "far", 1.2), (draw_sign, "kerbs", 1.6), (draw_bin, "pavements", 2.0),
    (draw_bench, "pavements", 1.2), (draw_planter, "pavements", 1.2), (draw_kiosk, "far", 0.6),
)  # fmt: skip


@dataclass
class Scene:
    """Everything of one picture but its noise."""

    stage: Stage
    light: Light
    backdrop: Canvas
    actors: list[Actor]


def draw_scene(seed: int, index: int, size: tuple[int, int] = DEFAULT_SIZE) -> tuple[np.ndarray, list[SceneObject]]:
    """Draws picture `index` of the data set `seed`; it depends on nothing else.

    Args:
        seed: any integer.
        index: 0 or more.
        size: (height, width) in pixels.

    Returns:
        The picture, [H, W, 3] uint8 RGB, and what can be seen in it, from far to near.
    """
    scene = random_scene(Random(f"toytown scene {seed} {index}"), size)
    pixels = render(scene.backdrop, scene.actors)
    return _through_a_camera(pixels, Random(f"toytown camera {seed} {index}")), visible_objects(scene.actors, size)


def jpeg_quality(seed: int, index: int) -> int:
    """The JPEG quality with which picture `index` of data set `seed` is written."""
    return Random(f"toytown jpeg {seed} {index}").randint(78, 95)


def random_scene(random: Random, size: tuple[int, int]) -> Scene:
    """A street with its clutter and, but for some, 3 to 8 objects of which enough can be seen."""
    stage = random_stage(random, size)
    light = random.choices(LIGHTS, LIGHT_WEIGHTS)[0]
    backdrop = draw_backdrop(random, stage, light)
    actors = [clutter(random, stage, light) for _ in range(random.randint(1, 6))]
    wanted = 0 if random.random() < _EMPTY_SHARE else random.randint(*_OBJECTS)
    for label in random.choices(CLASSES, _CLASS_WEIGHTS, k=wanted):
        _add_object(random, stage, light, label, actors, size)
    return Scene(stage, light, backdrop, actors)


def _add_object(random: Random, stage: Stage, light: Light, label: str, actors: list[Actor], size) -> None:
    """Appends an object to `actors`, at a place where it can be seen and does not hide another too much."""
    least = _CLEARLY_VISIBLE if random.random() < 0.5 else _BARELY_VISIBLE
    least_of_others = [min(least, share) for share in visible_shares(actors, size)]
    for attempt in range(_ATTEMPTS):
        if attempt % 3 == 0:
            candidates = _propose(random, stage, light, label)
        x = random.uniform(-0.03, 1.03) * stage.width
        for candidate in candidates:
            candidate.x = x
        if _lane_is_taken(candidates[-1], actors):
            continue
        shares = visible_shares([*actors, *candidates], size)
        needed = least_of_others + [least] * len(candidates)
        if all(share >= need for share, need in zip(shares, needed, strict=True)):
            actors += candidates
            return


def _propose(random: Random, stage: Stage, light: Light, label: str) -> list[Actor]:
    """An object on a row where its kind belongs, last in the list, with what carries it; x is yet to be set."""
    if label in _VEHICLES:
        return [draw_vehicle(random, stage, light, label, random.randrange(len(stage.lanes)))]
    if label == "traffic light":
        return traffic_light(random, stage, light, 0.0, _kerb(random, stage))
    ground = _walkway(random, stage)
    if label == "bicycle" and random.random() < 0.4:
        ground = random.choice(stage.road) + random.uniform(-0.01, 0.02) * stage.height
    if label == "person" and random.random() < 0.15:  # crossing the road
        ground = random.uniform(*stage.road)
    sprite = (draw_person if label == "person" else draw_bicycle)(stage.scale_at(ground), random, light.lamps_on)
    return [Actor(label, sprite if random.random() < 0.5 else sprite.flipped(), 0.0, ground)]


def draw_vehicle(random: Random, stage: Stage, light: Light, label: str, lane: int) -> Actor:
    """A car, bus or truck in a lane, looking the way its traffic goes; its x is yet to be set."""
    ground = stage.lanes[lane]
    sprite = _VEHICLES[label](stage.scale_at(ground), random, light.lamps_on)
    return Actor(label, sprite if stage.directions[lane] > 0 else sprite.flipped(), 0.0, ground, lane=lane)


def traffic_light(
    random: Random, stage: Stage, light: Light, x: float, ground: float, state: str | None = None
) -> list[Actor]:
    """The pole, which is clutter, and the housing on it, which is the object."""
    scale = stage.scale_at(ground)
    pole = Actor(None, draw_pole(scale, random, light.lamps_on), x, ground)
    housing = draw_traffic_light(scale, random, light.lamps_on, state)
    return [pole, Actor("traffic light", housing, x, ground + 0.01, lift=POLE_HEIGHT * scale)]


def clutter(random: Random, stage: Stage, light: Light) -> Actor:
    """Something that is no object, at a place where it belongs."""
    draw, where, _ = random.choices(_CLUTTER, [weight for *_, weight in _CLUTTER])[0]
    if where == "kerbs":
        ground = _kerb(random, stage)
    elif where == "far":
        ground = random.uniform(stage.base, stage.road[0] - 0.01 * stage.height)
    else:
        ground = _walkway(random, stage)
    sprite = draw(stage.scale_at(ground), random, light.lamps_on)
    return Actor(None, sprite if random.random() < 0.5 else sprite.flipped(), random.random() * stage.width, ground)


def _kerb(random: Random, stage: Stage) -> float:
    """A row beside the road, on the far side or on the near one."""
    if random.random() < 0.65:
        return stage.road[0] - random.uniform(0.006, 0.02) * stage.height
    return stage.road[1] + random.uniform(0.015, 0.04) * stage.height


def _walkway(random: Random, stage: Stage) -> float:
    if random.random() < 0.55:
        return random.uniform(stage.base + 0.008 * stage.height, stage.road[0] - 0.005 * stage.height)
    return random.uniform(stage.road[1] + 0.01 * stage.height, 0.995 * stage.height)


def _lane_is_taken(candidate: Actor, actors: Sequence[Actor]) -> bool:
    if candidate.lane is None:
        return False
    width = candidate.sprite.colour.width
    in_lane = [actor for actor in actors if actor.lane == candidate.lane]
    return any(abs(actor.x - candidate.x) < 0.53 * (actor.sprite.colour.width + width) for actor in in_lane)


def render(backdrop: Canvas, actors: Sequence[Actor]) -> np.ndarray:
    """Draws the actors on a copy of the backdrop, under its light; [H, W, 3] uint8."""
    canvas = backdrop.copy()
    for actor in far_to_near(actors):
        if not actor.lift:
            first, last = actor.sprite.foot
            width, height = (last - first) * 1.06 + 0.25 * actor.sprite.scale, max(0.22 * actor.sprite.scale, 3)
            canvas.shadow(actor.left + (first + last) / 2, actor.ground, width, height)
        canvas.paste(actor.sprite, actor.left, actor.top, actor.ground)
    colour, glow = canvas.colour.reduce(SUPERSAMPLING), canvas.glow.reduce(SUPERSAMPLING)
    small = glow.reduce(4).filter(ImageFilter.GaussianBlur(glow.height / 320 * 2.2)).resize(glow.size, Image.BILINEAR)
    lit = np.asarray(colour, np.float32) * np.asarray(canvas.light.ambient, np.float32)
    lit = np.maximum(lit, np.asarray(glow, np.float32))
    lit += (255 - lit) * (canvas.light.bloom / 255 * np.asarray(small, np.float32))  # so that it does not burn out
    return np.clip(lit, 0, 255).astype(np.uint8)


def _through_a_camera(pixels: np.ndarray, random: Random) -> np.ndarray:
    """A little brightness, contrast, blur and noise."""
    blur, noise = max(0.0, random.uniform(-0.5, 0.7)), random.uniform(0.5, 5.0)
    gain, offset = random.uniform(0.92, 1.08), random.uniform(-8, 8)
    if blur > 0.2:
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur)))
    grain = np.random.default_rng(random.getrandbits(64)).standard_normal(pixels.shape[:2], np.float32)
    exposed = pixels * np.float32(gain) + np.float32(offset) + noise * grain[..., None]
    return np.clip(exposed, 0, 255).astype(np.uint8)
