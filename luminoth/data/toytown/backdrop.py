"""The part of a scene in which nothing is an object: sky, houses, pavements, road, and the light over all."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from luminoth.data.toytown.furniture import draw_tree
from luminoth.data.toytown.sprite import SUPERSAMPLING, Colour, Sprite, mix, shade

# Everything in a scene is proportional to the picture's height; at this one it is as described below.
_REFERENCE_HEIGHT = 320
_ZEBRA_BARS = 7


@dataclass(frozen=True)
class Light:
    """The weather and time of day.

    Attributes:
        ambient: what the colours are multiplied by, for red, green and blue.
        sky: its colours at the top and at the horizon.
        lamps_on: whether windows, headlamps and street lamps shine.
        fog: how much of a far thing is hidden, 0 to 1.
        bloom: how far lamps shine over into what is around them.
    """

    name: str
    ambient: tuple[float, float, float]
    sky: tuple[Colour, Colour]
    lamps_on: bool = False
    fog: float = 0.0
    bloom: float = 0.35


LIGHTS = (
    Light("day", (1.0, 1.0, 1.0), ((92, 160, 222), (206, 230, 242))),
    Light("day", (1.04, 1.0, 0.92), ((112, 172, 220), (246, 232, 206))),
    Light("overcast", (0.9, 0.92, 0.95), ((168, 180, 190), (214, 220, 222))),
    Light("fog", (0.95, 0.96, 0.97), ((196, 204, 208), (216, 220, 222)), fog=0.45),
    Light("dusk", (0.8, 0.64, 0.66), ((86, 84, 148), (250, 176, 128)), lamps_on=True, bloom=0.7),
    Light("night", (0.42, 0.45, 0.62), ((24, 30, 66), (78, 84, 130)), lamps_on=True, bloom=0.9),
)
LIGHT_WEIGHTS = (34, 22, 14, 8, 11, 11)


@dataclass(frozen=True)
class Stage:
    """Where things stand. All lengths are pixels of the supersampled canvas.

    A row `y` of the ground is nearer the lower it is; a metre is `scale_at(y)` pixels there.

    Attributes:
        width, height: of the canvas.
        horizon: the row where the ground would end.
        scale: pixels a metre at the lower edge.
        base: the row where the houses stand and the far pavement begins.
        road: the rows between which the road lies; below it is the near pavement.
        lanes: the rows on which wheels roll, far to near.
        directions: 1 for each lane whose traffic goes right, -1 left.
        crossing: where a zebra crossing is, in metres to the right of the middle, if there is one.
    """

    width: int
    height: int
    horizon: float
    scale: float
    base: float
    road: tuple[float, float]
    lanes: tuple[float, ...]
    directions: tuple[int, ...]
    crossing: float | None = None

    def scale_at(self, y: float) -> float:
        """Pixels a metre for a thing that stands on row `y`."""
        return self.scale * (y - self.horizon) / (self.height - self.horizon)

    def across(self, metres: float, y: float) -> float:
        """The column of a point `metres` to the right of the middle, on row `y` of the ground."""
        return self.width / 2 + metres * self.scale_at(y)


def random_stage(random: Random, size: tuple[int, int]) -> Stage:
    """A street for a picture of `size` (height, width)."""
    height, width = (length * SUPERSAMPLING for length in size)
    unit = height / _REFERENCE_HEIGHT
    horizon = random.uniform(0.27, 0.35) * height
    base = random.uniform(0.6, 0.645) * height
    near = random.choice((0.9, 0.92, 0.95))
    road = (base + 0.055 * height, near * height)
    depth = road[1] - road[0]
    shares = random.choice(((0.38, 0.86), (0.34, 0.84), (0.22, 0.52, 0.9)))
    direction = random.choice((1, -1))
    directions = {2: (-direction, direction), 3: (-direction, -direction, direction)}[len(shares)]
    return Stage(
        width, height, horizon, random.uniform(39, 47) * unit, base, road,
        tuple(road[0] + share * depth for share in shares), directions,
        random.uniform(-6, 6) if random.random() < 0.3 else None,
    )  # fmt: skip


class Canvas:
    """The picture while it is drawn: its colours by daylight, and the light that lamps and windows give off."""

    def __init__(self, stage: Stage, light: Light) -> None:
        self.stage, self.light = stage, light
        self.colour = _vertical_gradient((stage.width, stage.height), light.sky, stage.horizon * 1.4)
        self.glow = Image.new("RGB", self.colour.size)

    def copy(self) -> Canvas:
        """A canvas to go on drawing on, while this one stays as it is."""
        other = Canvas.__new__(Canvas)
        other.stage, other.light = self.stage, self.light
        other.colour, other.glow = self.colour.copy(), self.glow.copy()
        return other

    def paste(self, sprite: Sprite, left: int, top: int, ground: float) -> None:
        """Puts a sprite in front of what is there; it stands on row `ground`, which decides how foggy it is."""
        colour, alpha = sprite.colour, sprite.colour.getchannel("A")
        if self.light.fog:
            fog = Image.new("RGBA", colour.size, (*self.light.sky[1], 255))
            colour = Image.blend(colour, fog, self._fog_at(ground))
        self.colour.paste(colour.convert("RGB"), (left, top), alpha)
        self.glow.paste(sprite.glow, (left, top), alpha)

    def shadow(self, x: float, ground: float, width: float, height: float) -> None:
        """Darkens the ground under a thing."""
        size = (max(1, round(width)), max(1, round(height)))
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=84)
        self.colour.paste((20, 22, 34), (round(x - width / 2), round(ground - height * 0.55)), mask)

    def draw_fog(self) -> None:
        """Veils the whole backdrop, the far more than the near."""
        if not self.light.fog:
            return
        stage = self.stage
        rows = Image.new("L", (1, stage.height))
        rows.putdata([round(255 * self._fog_at(y)) for y in range(stage.height)])
        self.colour.paste(self.light.sky[1], (0, 0), rows.resize(self.colour.size, Image.Resampling.NEAREST))

    def _fog_at(self, ground: float) -> float:
        stage = self.stage
        nearness = (ground - stage.base) / (stage.height - stage.base)
        return self.light.fog * (1 - 0.75 * min(max(nearness, 0.0), 1.0))


def draw_backdrop(random: Random, stage: Stage, light: Light) -> Canvas:
    """Sky, houses, pavements and road, without anything that stands on them."""
    canvas = Canvas(stage, light)
    _draw_sky(random, canvas)
    _draw_skyline(random, canvas)
    _draw_ground(random, canvas)
    _draw_houses(random, canvas)
    canvas.draw_fog()
    return canvas


def _draw_sky(random: Random, canvas: Canvas) -> None:
    stage, light = canvas.stage, canvas.light
    pen, unit = ImageDraw.Draw(canvas.colour), stage.height / _REFERENCE_HEIGHT
    if light.name == "night":
        for _ in range(50):
            x, y = random.uniform(0, stage.width), random.uniform(0, stage.base * 0.6)
            pen.ellipse((x, y, x + unit, y + unit), fill=(210, 214, 240))
    if light.name in ("day", "dusk", "night") and random.random() < 0.6:
        x, y = random.uniform(0.05, 0.95) * stage.width, random.uniform(0.05, 0.25) * stage.height
        radius = random.uniform(10, 15) * unit
        disc = {"day": (255, 246, 206), "dusk": (255, 214, 150), "night": (240, 240, 226)}[light.name]
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=disc)
        if light.name != "day":
            glow = ImageDraw.Draw(canvas.glow)
            glow.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade(disc, 0.8))
    if light.name == "fog":
        return
    for _ in range(random.randint(0, 4)):
        x, y = random.uniform(0, stage.width), random.uniform(0.04, 0.3) * stage.height
        colour = mix(light.sky[1], (255, 255, 255), 0.15 if light.lamps_on else 0.6)
        for _ in range(6):
            rx, ry = random.uniform(12, 30) * unit, random.uniform(5, 10) * unit
            dx, dy = random.uniform(-36, 36) * unit, random.uniform(-5, 5) * unit
            pen.ellipse((x + dx - rx, y + dy - ry, x + dx + rx, y + dy + ry), fill=colour)


def _draw_skyline(random: Random, canvas: Canvas) -> None:
    """Towers or hills far behind the houses."""
    stage, light = canvas.stage, canvas.light
    pen, unit = ImageDraw.Draw(canvas.colour), stage.height / _REFERENCE_HEIGHT
    colour = mix(light.sky[1], (70, 84, 110), 0.35)
    x = -20.0 * unit
    hills = random.random() < 0.35
    while x < stage.width:
        width = random.uniform(60, 160) * unit if hills else random.uniform(14, 44) * unit
        top = stage.base - random.uniform(70, 140) * unit
        if hills:
            pen.ellipse((x - width / 2, top, x + width * 1.5, stage.base * 1.4), fill=shade(colour, 0.97))
        else:
            pen.rectangle((x, top, x + width, stage.base), fill=shade(colour, random.uniform(0.92, 1.05)))
        x += width * random.uniform(0.8, 1.2)


_WALLS: list[Colour] = [
    (202, 120, 92), (222, 200, 164), (176, 184, 190), (232, 222, 206), (164, 100, 82), (146, 168, 160),
    (216, 170, 120), (190, 158, 176), (128, 140, 156), (236, 206, 150), (150, 130, 112),
]  # fmt: skip
_ROOFS: list[Colour] = [(120, 66, 56), (84, 88, 96), (110, 84, 70), (70, 80, 92), (150, 84, 60)]
_FLOOR = 2.3  # metres


def _draw_houses(random: Random, canvas: Canvas) -> None:
    stage = canvas.stage
    scale = stage.scale_at(stage.base)
    x = random.uniform(-5, 0) * scale
    green = random.random() < 0.2  # a street along a park
    hedge = random.choice([(92, 130, 74), (84, 118, 80), (120, 140, 84)])
    pen = ImageDraw.Draw(canvas.colour)
    pen.rectangle((0, stage.base - 0.9 * scale, stage.width, stage.base), fill=hedge)
    while x < stage.width:
        if random.random() < (0.75 if green else 0.15):
            sprite = draw_tree(scale, random, canvas.light.lamps_on)
            step = sprite.width * random.uniform(0.5, 1.0)
        else:
            sprite = _house(scale, random, canvas.light.lamps_on)
            step = sprite.width + (random.uniform(0.3, 1.5) if random.random() < 0.25 else 0)
        canvas.colour.paste(sprite.colour, (round(x), round(stage.base - sprite.colour.height)), sprite.colour)
        canvas.glow.paste(sprite.glow, (round(x), round(stage.base - sprite.colour.height)), sprite.colour)
        x += step * scale


def _house(scale: float, random: Random, lamps_on: bool) -> Sprite:
    wall, roof = random.choice(_WALLS), random.choice(_ROOFS)
    columns, floors = random.randint(2, 4), random.randint(2, 4)
    bay = random.uniform(1.4, 1.9)
    width, eaves = columns * bay + 0.4, floors * _FLOOR + 0.4
    gabled = random.random() < 0.5
    sprite = Sprite(width, eaves + 1.6, scale)
    if gabled:
        sprite.polygon([(0, eaves - 0.05), (width, eaves - 0.05), (width - 0.8, eaves + 1.3), (0.8, eaves + 1.3)], roof)
        if random.random() < 0.6:
            sprite.box(width * 0.7, eaves + 0.9, width * 0.7 + 0.5, eaves + 1.6, shade(wall, 0.8))
    sprite.box(0, 0, width, eaves, wall)
    sprite.box(0, eaves - 0.22, width, eaves, shade(wall, 0.8) if gabled else roof)
    sprite.box(0, 0, 0.06, eaves, shade(wall, 0.88))
    frame = random.choice([(244, 242, 236), shade(wall, 0.6), (80, 70, 66)])
    shape = random.choice(((0.72, 1.15), (0.9, 1.05), (0.6, 1.3)))
    balconies = random.random() < 0.2
    shop = random.random() < 0.45
    for floor in range(1 if shop else 0, floors):
        for column in range(columns):
            if floor == 0 and column == 0:
                continue
            left, sill = 0.2 + column * bay + (bay - shape[0]) / 2, floor * _FLOOR + 0.6
            _window(sprite, random, left, sill, shape, frame, lamps_on)
            if balconies and floor > 0:
                sprite.box(left - 0.2, sill - 0.25, left + shape[0] + 0.2, sill - 0.15, (70, 72, 76))
                sprite.box(left - 0.2, sill + 0.3, left + shape[0] + 0.2, sill + 0.35, (70, 72, 76))
    if shop:
        _shop(sprite, random, width, lamps_on)
    else:
        door = random.choice([(110, 70, 50), (60, 84, 70), (60, 74, 110), (140, 56, 50)])
        sprite.box(0.45, 0, 1.45, 2.0, frame)
        sprite.box(0.55, 0, 1.35, 1.9, door)
        sprite.disc(1.22, 0.95, 0.06, (230, 200, 120))
    return sprite


def _window(sprite, random, left, sill, shape, frame, lamps_on) -> None:
    width, height = shape
    sprite.box(left - 0.08, sill - 0.1, left + width + 0.08, sill + height + 0.08, frame)
    lit = lamps_on and random.random() < 0.5
    warm = random.choice([(255, 216, 140), (255, 196, 110), (240, 230, 200)])
    glass = warm if lit else random.choice([(120, 144, 164), (98, 120, 142), (140, 164, 176)])
    sprite.box(left, sill, left + width, sill + height, glass, glow=shade(warm, 0.85) if lit else None)
    if not lit:
        sprite.polygon([(left, sill), (left + width * 0.5, sill + height), (left, sill + height)], shade(glass, 1.2))
    sprite.box(left + width / 2 - 0.03, sill, left + width / 2 + 0.03, sill + height, frame)
    if random.random() < 0.25:
        sprite.box(left, sill + height * random.uniform(0.5, 0.8), left + width, sill + height, shade(frame, 0.92))


def _shop(sprite, random, width, lamps_on) -> None:
    colour = random.choice([(186, 64, 58), (52, 104, 92), (62, 84, 130), (220, 164, 70), (110, 70, 110), (70, 70, 74)])
    sprite.box(0.0, 0, width, 2.3, shade(colour, 0.8))
    glass = (255, 224, 160) if lamps_on else (150, 176, 186)
    glow = (225, 190, 120) if lamps_on else None
    sprite.box(0.25, 0.45, width - 1.5, 1.75, glass, glow=glow)
    sprite.box(width - 1.2, 0.0, width - 0.3, 1.75, glass, glow=glow)
    sprite.box(width - 0.8, 0.0, width - 0.74, 1.75, shade(colour, 0.7))
    for _ in range(4):
        x = random.uniform(0.3, max(0.4, width - 2.0))
        sprite.box(x, 0.45, x + 0.3, random.uniform(0.7, 1.1), random.choice(_WALLS))
    if random.random() < 0.6:
        stripes = max(4, round(width / 0.5))
        for stripe in range(stripes):
            x0, x1 = width * stripe / stripes, width * (stripe + 1) / stripes
            sprite.polygon([(x0, 2.25), (x1, 2.25), (x1, 1.7), (x0, 1.7)], colour if stripe % 2 else (240, 236, 228))
    else:
        sprite.box(0.1, 1.85, width - 0.1, 2.25, colour)
        x = 0.5
        while x < width - 0.8:
            word = random.uniform(0.15, 0.4)
            sprite.box(x, 1.97, x + word, 2.12, (240, 236, 228))
            x += word + 0.12


def _draw_ground(random: Random, canvas: Canvas) -> None:
    stage = canvas.stage
    pen, unit = ImageDraw.Draw(canvas.colour), stage.height / _REFERENCE_HEIGHT
    far, near = stage.road
    paving = random.choice([(186, 180, 172), (172, 174, 178), (200, 188, 168)])
    asphalt = random.choice([(92, 94, 100), (104, 104, 108), (82, 86, 94), (112, 108, 106)])
    verge = random.choice([paving, paving, (128, 158, 88)])
    joints, metres = shade(paving, 0.88), range(-30, 31)
    pen.rectangle((0, stage.base, stage.width, far), fill=paving)
    pen.rectangle((0, near, stage.width, stage.height), fill=verge)
    for metre in metres:
        pen.line((stage.across(metre, stage.base), stage.base, stage.across(metre, far), far), fill=joints, width=2)
        if verge == paving:
            below = stage.across(metre, stage.height), stage.height
            pen.line((stage.across(metre, near), near, *below), fill=joints, width=2)
    pen.rectangle((0, far, stage.width, near), fill=asphalt)
    for _ in range(6):  # mended places
        x, y = random.uniform(0, stage.width), random.uniform(far, near - 6 * unit)
        w, h = random.uniform(10, 70) * unit, random.uniform(2, 6) * unit
        pen.rectangle((x, y, x + w, y + h), fill=shade(asphalt, random.uniform(0.92, 1.06)))
    pen.rectangle((0, far, stage.width, far + 3 * unit), fill=shade(paving, 1.25))
    pen.rectangle((0, far + 3 * unit, stage.width, far + 5 * unit), fill=shade(asphalt, 0.75))
    pen.rectangle((0, near, stage.width, near + 4 * unit), fill=shade(paving, 1.25))
    _draw_markings(random, canvas, pen)


def _draw_markings(random: Random, canvas: Canvas, pen: ImageDraw.ImageDraw) -> None:
    """Dashes between the lanes and, now and then, a zebra crossing."""
    stage, paint = canvas.stage, random.choice([(226, 226, 220), (214, 212, 200), (230, 200, 110)])
    far, near = stage.road

    def stripe(x0: float, x1: float, y0: float, y1: float) -> None:
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        pen.polygon([(stage.across(x, y), y) for x, y in corners], fill=paint)

    offset = random.uniform(0, 3)
    for upper, lower in zip(stage.lanes, stage.lanes[1:], strict=False):
        y = upper + (lower - upper) * 0.38
        for dash in range(-12, 12):
            stripe(dash * 3 + offset, dash * 3 + offset + 1.6, y, y + 0.07 * stage.scale_at(y))
    if stage.crossing is not None:
        bar = (near - far) / _ZEBRA_BARS
        for row in range(_ZEBRA_BARS):
            top = far + (row + 0.25) * bar
            stripe(stage.crossing - 1.4, stage.crossing + 1.4, top, top + 0.55 * bar)


def _vertical_gradient(size: tuple[int, int], colours: tuple[Colour, Colour], until: float) -> Image.Image:
    column = Image.new("RGB", (1, size[1]))
    column.putdata([mix(*colours, min(1.0, y / until)) for y in range(size[1])])
    return column.resize(size, Image.Resampling.NEAREST)
