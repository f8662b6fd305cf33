"""What stands in the street: traffic lights (an object class), and everything that is none (clutter)."""

from __future__ import annotations

from random import Random

from luminoth.data.toytown.sprite import Colour, Sprite, shade

LIGHT_STATES = ("red", "amber", "green")
POLE_HEIGHT = 2.35  # metres from the ground to the bottom of a traffic light's housing

_LAMPS: dict[str, Colour] = {"red": (255, 58, 44), "amber": (255, 190, 40), "green": (60, 235, 120)}
_STEEL: Colour = (104, 110, 116)


def draw_traffic_light(scale: float, random: Random, lamps_on: bool, state: str | None = None) -> Sprite:
    """The housing with its three lamps, about 0.56 m x 1.35 m; its pole is `draw_pole`."""
    housing = random.choice([(34, 36, 38), (44, 52, 48), (52, 50, 46), (196, 152, 34), (30, 62, 50)])
    drawn = random.choices(LIGHT_STATES, (4, 2, 4))[0]
    state = drawn if state is None else state
    sprite = Sprite(0.58, 1.4, scale)
    bordered = random.random() < 0.25
    if bordered:
        sprite.box(0.0, 0.0, 0.58, 1.4, (232, 232, 226), radius=0.1)
    edge = 0.045 if bordered else 0.0
    sprite.box(edge, edge, 0.58 - edge, 1.4 - edge, housing, radius=0.1)
    for place, name in enumerate(LIGHT_STATES):
        y, lamp = 1.12 - 0.42 * place, _LAMPS[name]
        sprite.disc(0.29, y, 0.195, shade(housing, 0.5))
        if name == state:
            sprite.disc(0.29, y, 0.165, lamp, lamp)
            sprite.disc(0.26, y + 0.03, 0.07, shade(lamp, 1.6), shade(lamp, 1.6))
        else:
            sprite.disc(0.29, y, 0.15, shade(lamp, 0.3))
    return sprite


def draw_pole(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """The pole that carries a traffic light."""
    sprite = Sprite(0.5, POLE_HEIGHT + 0.5, scale)
    colour = random.choice([_STEEL, (70, 74, 78), (150, 152, 150)])
    sprite.box(0.18, 0, 0.32, POLE_HEIGHT + 0.5, colour)
    sprite.box(0.18, 0, 0.23, POLE_HEIGHT + 0.5, shade(colour, 1.3))
    sprite.box(0.1, 0, 0.4, 0.3, shade(colour, 0.8), radius=0.04)
    return sprite


def draw_lamp_post(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A street lamp, a head on a high pole: from afar a little like a traffic light."""
    sprite = Sprite(1.4, 4.9, scale)
    colour = random.choice([(70, 76, 80), (46, 64, 58), (120, 124, 126)])
    sprite.box(0.24, 0, 0.36, 4.5, colour)
    sprite.box(0.16, 0, 0.44, 0.5, shade(colour, 0.85), radius=0.04)
    lamp, glow = ((255, 236, 180), (255, 220, 150)) if lamps_on else ((226, 228, 220), None)
    if random.random() < 0.5:
        sprite.line([(0.3, 4.4), (0.6, 4.75), (1.05, 4.75)], 0.1, colour)
        sprite.box(0.85, 4.56, 1.4, 4.72, lamp, radius=0.06, glow=glow)
        sprite.box(0.8, 4.68, 1.4, 4.82, colour, radius=0.05)
    else:
        sprite.disc(0.3, 4.62, 0.26, lamp, glow)
        sprite.box(0.12, 4.3, 0.48, 4.42, colour)
    return sprite


def draw_tree(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A broad-leaved tree or a conifer."""
    tall = random.uniform(3.2, 5.2)
    sprite = Sprite(tall * 0.8, tall, scale)
    middle = tall * 0.4
    leaf = random.choice([(84, 136, 66), (70, 120, 72), (112, 148, 62), (196, 140, 56), (150, 160, 80), (60, 104, 62)])
    trunk = random.choice([(110, 80, 56), (92, 70, 54)])
    sprite.polygon(
        [(middle - 0.16, 0), (middle + 0.16, 0), (middle + 0.1, tall * 0.6), (middle - 0.1, tall * 0.6)], trunk
    )
    if random.random() < 0.2:
        for tier in range(4):
            half, base = tall * (0.32 - 0.06 * tier), tall * (0.2 + 0.2 * tier)
            points = [(middle - half, base), (middle + half, base), (middle, min(base + tall * 0.34, tall))]
            sprite.polygon(points, shade(leaf, 0.8 + 0.08 * tier), radius=0.1)
        return sprite
    crown = [(random.uniform(0.2, 0.6), random.uniform(0.48, 0.78), random.uniform(0.13, 0.2)) for _ in range(9)]
    for factor, lift in ((0.78, -0.03), (1.0, 0.0), (1.16, 0.04)):
        for x, y, radius in crown:
            shrink = 1.0 if factor < 1 else (0.82 if factor == 1.0 else 0.4)
            sprite.disc(
                tall * (x - (1 - shrink) * 0.06), tall * (y + lift), tall * radius * shrink, shade(leaf, factor)
            )
    return sprite


def draw_sign(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A road sign: round, triangular, square or a tall board."""
    sprite = Sprite(0.8, 2.75, scale)
    sprite.box(0.36, 0, 0.44, 2.5, (150, 154, 158))
    kind = random.randrange(5)
    red, white, blue = (204, 44, 44), (242, 242, 238), (40, 92, 170)
    if kind == 0:
        sprite.disc(0.4, 2.35, 0.36, red)
        sprite.disc(0.4, 2.35, 0.26, white)
    elif kind == 1:
        sprite.polygon([(0.02, 2.05), (0.78, 2.05), (0.4, 2.72)], red, radius=0.05)
        sprite.polygon([(0.19, 2.14), (0.61, 2.14), (0.4, 2.52)], white, radius=0.03)
    elif kind == 2:
        sprite.box(0.06, 2.0, 0.74, 2.68, blue, radius=0.06)
        sprite.box(0.26, 2.12, 0.38, 2.56, white)
        sprite.box(0.34, 2.34, 0.54, 2.56, white, radius=0.06)
    elif kind == 3:
        sprite.disc(0.4, 2.35, 0.36, red)
        sprite.box(0.16, 2.29, 0.64, 2.41, white)
    else:
        sprite.box(0.12, 1.6, 0.68, 2.7, random.choice([(52, 110, 78), (50, 60, 80), blue]), radius=0.05)
        for row in (1.8, 2.1, 2.4):
            sprite.box(0.2, row, random.uniform(0.4, 0.6), row + 0.1, white)
    return sprite


def draw_bin(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A litter bin, a post box or a hydrant."""
    kind = random.randrange(3)
    sprite = Sprite(0.7, 1.3, scale)
    if kind == 0:
        colour = random.choice([(64, 104, 76), (88, 92, 98), (60, 84, 120), (120, 84, 56)])
        sprite.polygon([(0.1, 0), (0.6, 0), (0.66, 0.85), (0.04, 0.85)], colour, radius=0.05)
        sprite.box(0.0, 0.82, 0.7, 0.95, shade(colour, 0.7), radius=0.05)
        for x in (0.2, 0.35, 0.5):
            sprite.line([(x, 0.1), (x, 0.75)], 0.03, shade(colour, 0.8))
    elif kind == 1:
        colour = random.choice([(200, 44, 44), (236, 190, 44), (44, 84, 160)])
        sprite.box(0.28, 0, 0.42, 0.5, _STEEL)
        sprite.box(0.06, 0.4, 0.64, 1.25, colour, radius=0.14)
        sprite.box(0.16, 0.92, 0.54, 1.0, shade(colour, 0.4))
    else:
        colour = random.choice([(204, 56, 44), (230, 180, 50)])
        sprite.box(0.2, 0, 0.5, 0.75, colour, radius=0.06)
        sprite.disc(0.35, 0.76, 0.17, shade(colour, 1.15))
        sprite.box(0.08, 0.42, 0.62, 0.58, shade(colour, 0.8), radius=0.05)
    return sprite


def draw_bench(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A park bench: two legs and slats, about as large as a bicycle."""
    sprite = Sprite(1.7, 0.95, scale)
    wood = random.choice([(150, 104, 64), (176, 132, 86), (110, 84, 62)])
    for x in (0.2, 1.44):
        sprite.box(x, 0, x + 0.09, 0.9, (58, 60, 64))
    for y in (0.42, 0.62, 0.8):
        sprite.box(0, y, 1.7, y + 0.12, wood, radius=0.03)
    return sprite


def draw_planter(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A tub with a bush."""
    sprite = Sprite(1.5, 1.2, scale)
    leaf, tub = random.choice([(86, 140, 70), (66, 116, 70)]), random.choice([(166, 128, 100), (150, 150, 146)])
    for x in (0.35, 0.6, 0.85, 1.1):
        sprite.disc(x, 0.72 + random.uniform(0, 0.12), 0.3, shade(leaf, random.uniform(0.8, 1.1)))
    for _ in range(5):
        sprite.disc(random.uniform(0.3, 1.2), random.uniform(0.7, 1.0), 0.06, random.choice(
            [(236, 110, 130), (250, 220, 100), (240, 240, 240)]))  # fmt: skip
    sprite.polygon([(0.2, 0), (1.3, 0), (1.42, 0.55), (0.08, 0.55)], tub, radius=0.04)
    sprite.box(0.04, 0.46, 1.46, 0.58, shade(tub, 0.85), radius=0.03)
    return sprite


def draw_kiosk(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A newspaper stand: a box with a window and an awning, but no wheels."""
    sprite = Sprite(2.9, 2.7, scale)
    paint = random.choice([(60, 120, 110), (178, 92, 70), (216, 200, 168), (84, 104, 140)])
    sprite.box(0.2, 0, 2.7, 2.4, paint, radius=0.04)
    inside, glow = ((255, 226, 160), (230, 190, 120)) if lamps_on else ((70, 66, 70), None)
    sprite.box(0.45, 1.0, 2.45, 1.9, inside, glow=glow)
    for _ in range(6):
        x = random.uniform(0.5, 2.2)
        sprite.box(x, 1.0, x + 0.2, random.uniform(1.2, 1.5), random.choice(
            [(200, 70, 60), (240, 220, 120), (80, 130, 180), (230, 230, 226)]))  # fmt: skip
    for stripe in range(8):
        x = 0.05 + stripe * 0.35
        sprite.polygon([(x + 0.1, 2.3), (x + 0.4, 2.3), (x + 0.35, 1.8), (x, 1.8)],
                       (238, 234, 226) if stripe % 2 else shade(paint, 0.7))  # fmt: skip
    sprite.box(0.1, 2.3, 2.8, 2.6, shade(paint, 0.6), radius=0.05)
    return sprite
