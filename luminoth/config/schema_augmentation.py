"""The entries of `dataset.data_augmentation`: one section a kind, and the mapping with one key that chooses it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from luminoth.config.fields import (
    Accepts,
    Fraction,
    List,
    NonNegativeNumber,
    PositiveFraction,
    PositiveInt,
    PositiveNumber,
    Section,
    check_order,
    key,
    tuple_from_list,
)

PixelValue = Annotated[float, Field(ge=0, le=255)]
Colour = Annotated[
    PixelValue | Annotated[tuple[PixelValue, PixelValue, PixelValue], BeforeValidator(tuple_from_list)],
    Accepts("a number from 0 to 255 or a list of three (red, green, blue)"),
]
HueDelta = Annotated[float, Field(ge=0, le=0.5), Accepts("a number from 0 to 0.5")]
EnlargingRatio = Annotated[float, Field(ge=1), Accepts("a number of at least 1")]


class Flip(Section):
    """Mirrors the picture and its boxes."""

    left_right: bool = key(True, "Swap left and right.")
    up_down: bool = key(False, "Swap top and bottom.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")


class Resize(Section):
    """Stretches height and width, each to a size of its own drawn between the two."""

    min_size: PositiveInt = key(600, "Least height and width, in pixels.")
    max_size: PositiveInt = key(980, "Largest height and width, in pixels.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_size", "max_size")
        return self


class Patch(Section):
    """Cuts out a random part, if the centre of an object stays in it."""

    min_height: PositiveInt = key(600, "Least height of the part, in pixels.")
    min_width: PositiveInt = key(600, "Least width of the part, in pixels.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")


class Brightness(Section):
    """Adds one random amount to all pixels."""

    max_delta: Fraction = key(0.3, "Most that is added or taken, as a share of the full range.")


class Hue(Section):
    """Turns all hues by one random amount."""

    max_delta: HueDelta = key(0.2, "Most that hues turn, as a share of the whole circle.")


class Saturation(Section):
    """Multiplies the saturation by one random factor."""

    lower: NonNegativeNumber = key(0.8, "Least factor.")
    upper: NonNegativeNumber = key(1.2, "Largest factor.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "lower", "upper")
        return self


class Contrast(Section):
    """Multiplies the distance to the mean by one random factor."""

    lower: NonNegativeNumber = key(0.8, "Least factor.")
    upper: NonNegativeNumber = key(1.2, "Largest factor.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "lower", "upper")
        return self


class Distortion(Section):
    """Changes light and colours; the boxes stay."""

    brightness: Brightness | None = key(None, "Change the brightness; empty: do not.")
    contrast: Contrast | None = key(None, "Change the contrast; empty: do not.")
    hue: Hue | None = key(None, "Change the hue; empty: do not.")
    saturation: Saturation | None = key(None, "Change the saturation; empty: do not.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")


class Expand(Section):
    """Lays the picture somewhere on a larger canvas, so that objects become smaller."""

    fill: Colour = key(0.0, "Colour of the canvas.")
    min_ratio: EnlargingRatio = key(1.0, "Least size of the canvas, in pictures.")
    max_ratio: EnlargingRatio = key(4.0, "Largest size of the canvas, in pictures.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_ratio", "max_ratio")
        return self


class LargeScaleJitter(Section):
    """Resizes by a factor from a wide range, then cuts or fills up to a square (Simple Copy-Paste)."""

    size: PositiveInt = key(1024, "Height and width of the square, in pixels.")
    min_scale: PositiveNumber = key(0.1, "Least factor; with 1 the picture just fits the square.")
    max_scale: PositiveNumber = key(2.0, "Largest factor.")
    min_visible: Fraction = key(0.1, "Drop objects of which less is seen, as a share of their area.")
    fill: Colour = key((124.0, 117.0, 104.0), "Colour of what the picture does not cover.")
    prob: Fraction = key(1.0, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_scale", "max_scale")
        return self


class SsdCrop(Section):
    """Cuts out a part as SSD does: the whole picture, any part, or one that overlaps an object enough."""

    min_ious: List[Fraction] = key((0.1, 0.3, 0.5, 0.7, 0.9), "Least IoU of the part and an object; one is drawn.")
    min_scale: PositiveFraction = key(0.3, "Least height and width of the part, as shares of the picture's.")
    max_scale: PositiveFraction = key(1.0, "Largest height and width of the part.")
    max_aspect: EnlargingRatio = key(2.0, "How many times longer one side of the part may be than the other.")
    prob: Fraction = key(1.0, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_scale", "max_scale")
        return self


class RandomCrop(Section):
    """Cuts out a random part that shows all or most of one object at least."""

    min_scale: PositiveFraction = key(0.5, "Least height and width of the part, as shares of the picture's.")
    max_scale: PositiveFraction = key(1.0, "Largest height and width of the part.")
    min_kept: Fraction = key(0.7, "Least share of one object's area that the part shows; 1: all of it.")
    min_visible: Fraction = key(0.1, "Drop objects of which less is seen, as a share of their area.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_scale", "max_scale")
        return self


class Photometric(Section):
    """Changes light and colours as SSD and torchvision do: each of its steps happens every other time."""

    brightness: Fraction = key(0.125, "Most that is added or taken, as a share of the full range.")
    contrast: Fraction = key(0.5, "Factors go from 1 minus this to 1 plus this.")
    saturation: Fraction = key(0.5, "Likewise.")
    hue: HueDelta = key(0.05, "Most that hues turn, as a share of the whole circle.")
    swap_channels: bool = key(True, "Whether red, green and blue may change places.")
    prob: Fraction = key(1.0, "Probability that a picture is treated.")


class Grey(Section):
    """Takes the colours away."""

    prob: Fraction = key(0.1, "Probability that a picture is treated.")


class Mosaic(Section):
    """Four pictures around a point, on a canvas of the first one's size (YOLOv4)."""

    min_scale: PositiveNumber = key(0.5, "Least factor; with 0.5 a picture fits a quarter of the canvas.")
    max_scale: PositiveNumber = key(1.0, "Largest factor; with 1 a picture fits the canvas, and a part of it is seen.")
    min_visible: Fraction = key(0.1, "Drop objects of which less is seen, as a share of their area.")
    fill: Colour = key((124.0, 117.0, 104.0), "Colour of what no picture covers.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_scale", "max_scale")
        return self


class Mixup(Section):
    """Blends the picture with another one; the objects of both count."""

    alpha: PositiveNumber = key(32.0, "The shares come from Beta(alpha, alpha): the larger, the nearer to a half.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")


class CopyPaste(Section):
    """Pastes the boxes of some objects of another picture over this one."""

    share: Fraction = key(0.5, "Probability that an object is pasted; one always is.")
    min_scale: PositiveNumber = key(0.5, "Least factor; with 1 the other picture just fits this one.")
    max_scale: PositiveNumber = key(1.0, "Largest factor.")
    max_hidden: Fraction = key(0.5, "Drop objects of which more is hidden; boxes of the others shrink to what is seen.")
    prob: Fraction = key(0.5, "Probability that a picture is treated.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self, "min_scale", "max_scale")
        return self


class Augmentation(Section):
    """One entry of `data_augmentation`: a mapping with one key, the kind, over its settings."""

    flip: Flip | None = key(None, "Mirror.")
    resize: Resize | None = key(None, "Resize.")
    patch: Patch | None = key(None, "Cut out a part.")
    distortion: Distortion | None = key(None, "Change light and colours.")
    expand: Expand | None = key(None, "Shrink onto a larger canvas.")
    large_scale_jitter: LargeScaleJitter | None = key(None, "Resize by far, to a square.")
    ssd_crop: SsdCrop | None = key(None, "Cut out a part, as SSD.")
    random_crop: RandomCrop | None = key(None, "Cut out a part that shows an object.")
    photometric: Photometric | None = key(None, "Change light and colours, as SSD.")
    grey: Grey | None = key(None, "Take the colours away.")
    mosaic: Mosaic | None = key(None, "Join four pictures.")
    mixup: Mixup | None = key(None, "Blend two pictures.")
    copy_paste: CopyPaste | None = key(None, "Paste another picture's objects.")

    @property
    def kind(self) -> str:
        """Its one key, as `flip`."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def settings(self) -> Section:
        """The settings of that kind; each kind has `prob`."""
        return getattr(self, self.kind)

    @model_validator(mode="before")
    @classmethod
    def _check_one_key(cls, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        if len(entry) != 1:
            raise PydanticCustomError(
                "one_key",
                "has the keys {keys}; accepted: a mapping with one key, one of {kinds}",
                {"keys": ", ".join(map(str, entry)) or "(none)", "kinds": ", ".join(cls.model_fields)},
            )
        kind = next(iter(entry))
        if kind not in cls.model_fields:
            raise PydanticCustomError(
                "one_key",
                "is of the kind {kind}; accepted: one of {kinds}",
                {"kind": str(kind), "kinds": ", ".join(cls.model_fields)},
            )
        # `- flip:` with nothing below it means a flip with its defaults.
        return {kind: {} if entry[kind] is None else entry[kind]}

    @model_serializer
    def _as_one_key(self) -> dict[str, Any]:
        return {self.kind: self.settings.model_dump(mode="json")}
