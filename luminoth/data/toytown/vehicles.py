"""Cars, buses, trucks and bicycles, seen from the side and looking to the right.

Each function takes the scale in pixels a metre, a `random.Random` that decides model and colours, and
whether the lamps are on. The proportions are those of toys: long vehicles are shorter than real ones.
"""

from __future__ import annotations

from random import Random

from luminoth.data.toytown.sprite import Colour, Sprite, mix, shade

_PAINTS: list[Colour] = [
    (196, 52, 48), (38, 84, 156), (232, 232, 228), (52, 56, 62), (150, 156, 162), (226, 168, 44),
    (46, 122, 94), (108, 172, 206), (136, 44, 72), (222, 112, 52), (92, 112, 60), (98, 70, 140), (214, 196, 160),
]  # fmt: skip
_BUS_PAINTS: list[Colour] = [
    (200, 40, 44), (242, 182, 36), (30, 110, 176), (56, 142, 84), (234, 236, 234), (236, 124, 40), (104, 68, 140),
    (36, 150, 160),
]  # fmt: skip
_CARGO_PAINTS: list[Colour] = [
    (238, 238, 232), (216, 204, 176), (64, 118, 170), (206, 84, 60), (120, 160, 110), (232, 190, 80), (160, 166, 174),
]  # fmt: skip
_TYRE: Colour = (30, 31, 34)
_GLASS: Colour = (134, 170, 188)
_HEADLAMP: Colour = (255, 240, 200)
_TAILLAMP: Colour = (214, 40, 36)
_CABIN_LIGHT: Colour = (255, 226, 160)


def draw_car(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A saloon, hatchback, estate or off-roader, about 3.7 m x 1.45 m."""
    paint = random.choice(_PAINTS)
    length, roof = random.uniform(3.45, 3.95), random.uniform(1.32, 1.5)
    model = random.choice(("saloon", "hatchback", "estate"))
    sprite = Sprite(length, roof + 0.05, scale)
    wheel, waist, sill = 0.33, roof * 0.6, 0.22
    nose = length * random.uniform(0.7, 0.76)
    tail = {"saloon": 0.2, "hatchback": 0.06, "estate": 0.02}[model] * length
    front_top, rear_top = nose - 0.5, tail + {"saloon": 0.45, "hatchback": 0.35, "estate": 0.16}[model]
    # cabin, then the glass in it, then the lower body over both
    sprite.polygon(
        [(tail, waist - 0.1), (rear_top, roof), (front_top, roof), (nose + 0.15, waist - 0.1)], paint, radius=0.18
    )
    glass = _GLASS if not lamps_on else (58, 74, 92)
    inset = 0.09
    sprite.polygon(
        [(tail + 0.17, waist), (rear_top + 0.08, roof - inset), (front_top - 0.05, roof - inset), (nose - 0.08, waist)],
        glass,
        radius=0.08,
    )
    middle = (rear_top + front_top) / 2 + 0.02
    sprite.polygon([(middle - 0.55, waist), (middle - 0.35, waist), (middle - 0.05, roof - inset),
                    (middle - 0.2, roof - inset)], shade(glass, 1.3))  # fmt: skip
    sprite.box(middle - 0.045, waist, middle + 0.045, roof - 0.05, paint)
    bonnet, boot = waist * 0.93, waist * (0.98 if model == "saloon" else 1.02)
    sprite.polygon(
        [(0.02, sill), (0.0, boot * 0.75), (0.08, boot), (tail + 0.3, waist + 0.02), (nose, waist + 0.02),
         (length - 0.2, bonnet), (length, bonnet * 0.7), (length, sill)],
        paint, radius=0.12,
    )  # fmt: skip
    sprite.box(0.06, sill, length - 0.06, sill + 0.13, shade(paint, 0.62), radius=0.05)
    sprite.box(0.2, waist - 0.075, length - 0.55, waist - 0.03, shade(paint, 1.28))
    for door in (middle, middle - 0.82, middle + 0.8):
        sprite.line([(door, sill + 0.14), (door, waist - 0.02)], 0.025, shade(paint, 0.7))
    sprite.box(middle - 0.3, waist - 0.19, middle - 0.14, waist - 0.14, shade(paint, 0.6))
    sprite.box(middle + 0.5, waist - 0.19, middle + 0.66, waist - 0.14, shade(paint, 0.6))
    _lamps(sprite, length, bonnet - 0.2, lamps_on, size=0.2)
    for x in (0.2 * length, 0.8 * length):
        _wheel(sprite, x, wheel, arch=shade(paint, 0.35))
    return sprite


def draw_bus(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A city bus, about 6.8 m x 2.8 m, now and then a double-decker."""
    paint = random.choice(_BUS_PAINTS)
    band = random.choice([shade(paint, 1.75), shade(paint, 0.55), (240, 240, 236)])
    double = random.random() < 0.22
    length = random.uniform(5.6, 6.2) if double else random.uniform(6.3, 7.2)
    roof = random.uniform(3.6, 3.8) if double else random.uniform(2.6, 2.85)
    sprite = Sprite(length, roof + 0.2, scale)
    if not double:
        for start in random.sample((0.9, 2.4, 3.9), random.choice((1, 2))):
            sprite.box(start, roof - 0.02, start + 1.1, roof + 0.15, shade(paint, 0.8), radius=0.06)
    sprite.box(0, 0.28, length, roof, paint, radius=0.22)
    sprite.box(0.05, roof - 0.16, length - 0.1, roof - 0.06, shade(paint, 1.35), radius=0.05)
    sprite.box(0.02, 0.3, length - 0.02, 0.48, shade(paint, 0.6), radius=0.06)
    sprite.box(0.0, 0.8, length, 0.98, band)
    deck_height = 1.06 if not double else 0.95
    for deck in range(2 if double else 1):
        sill = 1.2 + deck * 1.32
        _bus_windows(sprite, random, length, sill, sill + deck_height, lamps_on, with_doors=deck == 0)
    if double:
        sprite.box(0.0, 2.26, length, 2.38, band)
    sprite.box(length - 0.95, roof - 0.4, length - 0.1, roof - 0.18, (28, 28, 30), radius=0.03)
    sprite.box(
        length - 0.85, roof - 0.34, length - 0.3, roof - 0.25, (250, 170, 40), glow=(170, 110, 20) if lamps_on else None
    )
    _lamps(sprite, length, 0.62, lamps_on, size=0.22)
    for x in (0.2 * length, 0.76 * length):
        _wheel(sprite, x, 0.42, arch=shade(paint, 0.35))
    return sprite


def _bus_windows(sprite, random, length, sill, top, lamps_on, *, with_doors) -> None:
    glass, glow = (_CABIN_LIGHT, shade(_CABIN_LIGHT, 0.82)) if lamps_on else (shade(_GLASS, 0.85), None)
    sprite.box(0.14, sill - 0.05, length - 0.04, top + 0.05, (44, 48, 56), radius=0.1)
    count = 6
    pane = (length - 1.05) / count
    for index in range(count):
        left = 0.2 + index * pane
        sprite.box(left, sill, left + pane - 0.1, top, glass, radius=0.07, glow=glow)
        if not lamps_on:
            sprite.polygon([(left + 0.15, sill), (left + 0.35, sill), (left + 0.62, top), (left + 0.42, top)],
                           shade(glass, 1.25))  # fmt: skip
        if random.random() < 0.35:  # a passenger
            head = left + pane / 2 - 0.05
            sprite.box(head - 0.2, sill, head + 0.2, sill + 0.22, (70, 74, 92), radius=0.1)
            sprite.disc(head, sill + 0.34, 0.14, (120, 84, 66))
    sprite.polygon([(length - 0.74, sill), (length - 0.1, sill), (length - 0.16, top), (length - 0.74, top)], glass,
                   radius=0.07, glow=glow)  # fmt: skip
    if with_doors:
        for left in (0.36 * length, 0.845 * length):
            sprite.box(left, 0.42, left + 0.62, top, (44, 48, 56), radius=0.06)
            for half in (0.04, 0.33):
                sprite.box(left + half, 0.5, left + half + 0.25, top - 0.06, glass, radius=0.04, glow=glow)


def draw_truck(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A lorry with a cab and a cargo box, a tank, a tipper or an open load, about 5.8 m x 2.7 m."""
    cab = random.choice(_PAINTS)
    length, roof = random.uniform(5.2, 6.2), random.uniform(2.05, 2.3)
    load = random.choice(("box", "box", "box", "tank", "tipper", "crates"))
    sprite = Sprite(length, 2.95, scale)
    bed_end = length - 1.72
    sprite.box(0.1, 0.42, length - 0.4, 0.68, (58, 60, 66))
    _LOADS[load](sprite, random, bed_end)
    # cab: body, windscreen and door window, grille
    left = length - 1.6
    sprite.polygon(
        [(left, 0.36), (left, roof), (length - 0.42, roof), (length - 0.06, 1.28), (length, 0.36)], cab, radius=0.14
    )
    glass = _GLASS if not lamps_on else (58, 74, 92)
    sprite.polygon([(left + 0.5, 1.32), (left + 0.5, roof - 0.16), (length - 0.5, roof - 0.16), (length - 0.19, 1.32)],
                   glass, radius=0.07)  # fmt: skip
    sprite.polygon([(left + 0.62, 1.32), (left + 0.8, 1.32), (left + 1.0, roof - 0.16), (left + 0.82, roof - 0.16)],
                   shade(glass, 1.3))  # fmt: skip
    sprite.box(left + 0.04, roof - 0.1, length - 0.5, roof - 0.04, shade(cab, 1.3))
    sprite.line([(left + 0.42, 0.6), (left + 0.42, roof - 0.2)], 0.03, shade(cab, 0.68))
    sprite.box(left + 0.5, 1.12, left + 0.68, 1.18, shade(cab, 0.55))
    sprite.box(left, 0.36, length, 0.56, shade(cab, 0.55), radius=0.05)
    _lamps(sprite, length, 0.74, lamps_on, size=0.2, tail=0.55)
    wheels = [0.13 * length, 0.27 * length, 0.83 * length] if random.random() < 0.6 else [0.2 * length, 0.83 * length]
    for x in wheels:
        _wheel(sprite, x, 0.42, arch=(40, 40, 44))
    return sprite


def _load_box(sprite: Sprite, random: Random, end: float) -> None:
    paint, top = random.choice(_CARGO_PAINTS), random.uniform(2.5, 2.85)
    sprite.box(0, 0.62, end, top, paint, radius=0.06)
    sprite.box(0, 0.62, end, 0.76, shade(paint, 0.7))
    sprite.box(0.04, top - 0.1, end - 0.04, top - 0.03, shade(paint, 1.4))
    accent = random.choice(_PAINTS)
    decoration = random.randrange(4)
    if decoration == 0:
        sprite.box(0, 1.25, end, 1.6, accent)
    elif decoration == 1:
        sprite.disc(end / 2, 1.62, 0.5, accent)
        sprite.disc(end / 2, 1.62, 0.28, paint)
    elif decoration == 2:
        for rib in range(1, 9):
            x = end * rib / 9
            sprite.line([(x, 0.8), (x, top - 0.14)], 0.035, shade(paint, 0.84))
    else:
        sprite.polygon([(0.2, 0.8), (1.1, 0.8), (2.4, top - 0.15), (1.5, top - 0.15)], accent)


def _load_tank(sprite: Sprite, random: Random, end: float) -> None:
    paint = random.choice([(206, 210, 214), (222, 226, 228), (200, 120, 60)])
    sprite.box(0.0, 0.74, end, 2.25, paint, radius=0.45)
    sprite.box(0.25, 1.85, end - 0.25, 2.0, shade(paint, 1.6), radius=0.06)
    sprite.box(0.2, 0.95, end - 0.2, 1.15, shade(paint, 0.75), radius=0.06)
    for x in (end * 0.3, end * 0.65):
        sprite.box(x - 0.2, 2.2, x + 0.2, 2.36, shade(paint, 0.6), radius=0.04)
        sprite.line([(x, 0.8), (x, 2.2)], 0.04, shade(paint, 0.7))


def _load_tipper(sprite: Sprite, random: Random, end: float) -> None:
    paint = random.choice([(222, 140, 36), (204, 172, 46), (92, 120, 84), (150, 70, 50)])
    heap = random.choice([(132, 106, 78), (120, 118, 114), (196, 176, 128)])
    sprite.polygon([(0.2, 1.6), (1.0, 2.15), (end * 0.55, 2.5), (end - 0.8, 2.1), (end - 0.1, 1.6)], heap, radius=0.3)
    sprite.polygon([(0.25, 0.66), (0.0, 1.85), (end, 1.85), (end - 0.05, 0.66)], paint, radius=0.06)
    sprite.box(0.0, 1.74, end, 1.87, shade(paint, 0.75))
    for rib in range(1, 6):
        x = 0.15 + (end - 0.2) * rib / 6
        sprite.line([(x, 0.72), (x, 1.74)], 0.07, shade(paint, 0.8))


def _load_crates(sprite: Sprite, random: Random, end: float) -> None:
    x = 0.1
    while x < end - 0.7:
        width, height = random.uniform(0.7, 1.1), random.uniform(0.7, 1.35)
        width = min(width, end - x)
        wood = random.choice([(186, 140, 90), (164, 120, 76), (204, 164, 112), (96, 128, 150)])
        sprite.box(x, 0.8, x + width - 0.04, 0.8 + height, wood)
        sprite.line([(x + 0.06, 0.86), (x + width - 0.1, 0.74 + height)], 0.05, shade(wood, 0.78))
        sprite.box(x, 0.72 + height, x + width - 0.04, 0.8 + height, shade(wood, 0.8))
        x += width
    sprite.box(0, 0.62, end, 1.0, (96, 98, 104))
    sprite.box(0, 0.9, end, 0.98, (140, 142, 148))


_LOADS = {"box": _load_box, "tank": _load_tank, "tipper": _load_tipper, "crates": _load_crates}


def draw_bicycle(scale: float, random: Random, lamps_on: bool) -> Sprite:
    """A bicycle without a rider, about 1.8 m x 1.1 m."""
    paint = random.choice([colour for colour in _PAINTS if colour != (232, 232, 228)])
    sprite = Sprite(1.86, 1.16, scale)
    rear, front, radius = (0.37, 0.37), (1.49, 0.37), 0.36
    crank, saddle, head = (0.83, 0.36), (0.68, 0.86), (1.32, 0.88)
    for x, y in (rear, front):
        for spoke in ((0, radius), (radius * 0.86, radius * 0.5), (radius * 0.86, -radius * 0.5)):
            sprite.line([(x - spoke[0], y - spoke[1]), (x + spoke[0], y + spoke[1])], 0.012, (150, 152, 156))
        sprite.ring(x, y, radius, 0.075, _TYRE)
        sprite.disc(x, y, 0.06, (90, 92, 96))
    if random.random() < 0.5:
        sprite.polygon(
            [(0.02, 0.55), (0.15, 0.76), (0.5, 0.78), (0.5, 0.74), (0.2, 0.7), (0.07, 0.53)], shade(paint, 0.6)
        )
    tube = 0.075
    sprite.line([rear, crank], tube, paint)
    sprite.line([rear, saddle], tube * 0.8, paint)
    sprite.line([crank, saddle], tube, paint)
    sprite.line([crank, head], tube * 1.1, paint)
    if random.random() < 0.65:
        sprite.line([(0.7, 0.8), head], tube, paint)
    sprite.line([head, front], tube, shade(paint, 0.8))
    sprite.line([head, (1.28, 1.04)], 0.06, (60, 62, 66))
    sprite.line([(1.28, 1.04), (1.46, 1.08), (1.34, 1.02)], 0.07, (44, 44, 48))
    sprite.line([saddle, (0.66, 0.95)], 0.05, (60, 62, 66))
    sprite.box(0.5, 0.94, 0.86, 1.03, (44, 36, 34), radius=0.05)
    sprite.disc(crank[0], crank[1], 0.1, (70, 72, 76))
    sprite.line([(0.76, 0.2), crank, (0.9, 0.52)], 0.045, (60, 62, 66))
    if random.random() < 0.4:  # a basket
        sprite.box(1.42, 0.78, 1.72, 1.0, (168, 124, 76), radius=0.04)
        sprite.line([(1.44, 0.9), (1.7, 0.9)], 0.03, (130, 92, 54))
    if lamps_on:
        sprite.disc(1.45, 0.8, 0.06, _HEADLAMP, _HEADLAMP)
    return sprite


def _wheel(sprite: Sprite, x: float, radius: float, arch: Colour) -> None:
    sprite.disc(x, radius, radius + 0.05, arch)
    sprite.disc(x, radius, radius, _TYRE)
    sprite.disc(x, radius, radius * 0.58, (176, 180, 186))
    sprite.disc(x, radius, radius * 0.44, (126, 130, 138))
    sprite.disc(x, radius, radius * 0.16, (214, 216, 220))


def _lamps(sprite: Sprite, length: float, y: float, lamps_on: bool, *, size: float, tail: float | None = None) -> None:
    """A headlamp at the right end and a tail lamp at the left, at height `y` (`tail`: the latter's own)."""
    rear = y if tail is None else tail
    sprite.box(length - 0.17, y, length - 0.02, y + size, _HEADLAMP, radius=0.05, glow=_HEADLAMP if lamps_on else None)
    sprite.box(
        0.02, rear, 0.13, rear + size, mix(_TAILLAMP, (0, 0, 0), 0.1), radius=0.03, glow=_TAILLAMP if lamps_on else None
    )
