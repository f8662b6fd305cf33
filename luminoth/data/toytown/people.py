"""People on foot, looking to the right."""

from __future__ import annotations

import math
from random import Random

from luminoth.data.toytown.sprite import Colour, Sprite, shade

_SKINS: list[Colour] = [(245, 208, 178), (226, 178, 140), (190, 136, 98), (142, 94, 66), (98, 64, 46)]
_HAIRS: list[Colour] = [(40, 30, 26), (88, 58, 36), (150, 104, 56), (214, 178, 110), (150, 148, 146), (150, 70, 36)]
_TOPS: list[Colour] = [
    (206, 60, 62), (52, 98, 170), (240, 236, 226), (66, 140, 104), (236, 178, 60), (120, 76, 150), (40, 44, 54),
    (232, 124, 76), (110, 178, 204), (224, 130, 160), (112, 118, 70),
]  # fmt: skip
_LEGS: list[Colour] = [(44, 56, 88), (50, 50, 56), (94, 80, 66), (120, 124, 132), (66, 84, 74), (150, 124, 92)]
_HIP, _SHOULDER = 0.82, 1.36


def draw_person(scale: float, random: Random, lamps_on: bool, swing: float | None = None) -> Sprite:
    """Someone standing or walking, 1.2 m (a child) to 1.85 m tall.

    Args:
        swing: how far the legs are apart: 0 upright, 0.5 and -0.5 the widest of a step; None draws one at random.
    """
    tall = random.uniform(1.18, 1.35) if random.random() < 0.15 else random.uniform(1.6, 1.85)
    skin, hair, top, legs = (random.choice(colours) for colours in (_SKINS, _HAIRS, _TOPS, _LEGS))
    skirt, long_hair, bag, hat, standing = (random.random() < odds for odds in (0.25, 0.4, 0.3, 0.18, 0.25))
    own_swing = math.sin(random.uniform(0, 2 * math.pi)) * (0.06 if standing else 0.5)
    swing = own_swing if swing is None else swing

    # the body is laid out 1.78 m tall and scaled to its height
    size = tall / 1.78
    sprite = Sprite(1.0 * size, 1.84 * size, scale)
    sprite.scale = scale * size  # coordinates below are those of the 1.78 m body
    x = 0.5
    sleeve = shade(top, 0.82)
    _leg(sprite, x, -swing, shade(legs if not skirt else skin, 0.75))
    _arm(sprite, x, swing, shade(sleeve, 0.85), skin)
    _leg(sprite, x, swing, legs if not skirt else skin)
    if skirt:
        sprite.polygon([(x - 0.15, 1.0), (x + 0.15, 1.0), (x + 0.27, 0.52), (x - 0.27, 0.52)], legs, radius=0.05)
    if long_hair:
        sprite.box(x - 0.17, 1.34, x + 0.04, 1.7, hair, radius=0.1)
    sprite.box(x - 0.06, 1.36, x + 0.06, 1.5, shade(skin, 0.85))
    sprite.polygon([(x - 0.17, 0.8), (x - 0.2, 1.4), (x + 0.19, 1.42), (x + 0.16, 0.8)], top, radius=0.1)
    if bag:
        sprite.box(x - 0.34, 0.98, x - 0.14, 1.36, random.choice(_TOPS), radius=0.08)
    sprite.disc(x, 1.61, 0.165, hair)
    sprite.ellipse(x + 0.035, 1.585, 0.13, 0.145, skin)
    if hat:
        colour = random.choice(_TOPS)
        sprite.box(x - 0.15, 1.66, x + 0.14, 1.82, colour, radius=0.1)
        sprite.box(x - 0.1, 1.65, x + 0.26, 1.7, shade(colour, 0.8))
    _arm(sprite, x, -swing, sleeve, skin)
    return sprite


def _leg(sprite: Sprite, x: float, swing: float, colour: Colour) -> None:
    knee = (x + 0.36 * swing + 0.03, 0.46)
    foot = (x + 0.62 * swing, 0.09 + max(0.0, -swing) * 0.12)
    sprite.line([(x, _HIP + 0.05), knee, foot], 0.17, colour)
    sprite.box(foot[0] - 0.08, foot[1] - 0.09, foot[0] + 0.19, foot[1] + 0.03, (48, 40, 38), radius=0.05)


def _arm(sprite: Sprite, x: float, swing: float, sleeve: Colour, skin: Colour) -> None:
    elbow = (x + 0.3 * swing - 0.02, 1.08)
    hand = (x + 0.62 * swing + 0.06, 0.84 + abs(swing) * 0.1)
    sprite.line([(x, _SHOULDER - 0.05), elbow, hand], 0.115, sleeve)
    sprite.disc(hand[0], hand[1] - 0.02, 0.065, skin)
