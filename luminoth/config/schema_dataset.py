"""The section `dataset`: where the records are, how pictures are resized and varied."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from luminoth.config.fields import (
    Accepts,
    Fraction,
    List,
    NonNegativeNumber,
    PositiveInt,
    Section,
    Text,
    key,
    section,
    tuple_from_list,
)

PixelValue = Annotated[float, Field(ge=0, le=255)]
Colour = Annotated[
    PixelValue | Annotated[tuple[PixelValue, PixelValue, PixelValue], BeforeValidator(tuple_from_list)],
    Accepts("a number from 0 to 255 or a list of three (red, green, blue)"),
]
HueDelta = Annotated[float, Field(ge=0, le=0.5), Accepts("a number from 0 to 0.5")]
EnlargingRatio = Annotated[float, Field(ge=1), Accepts("a number of at least 1")]


def _check_order(section: Section, low: str, high: str) -> None:
    """Refuses a section whose key `low` is above its key `high`."""
    low_value, high_value = getattr(section, low), getattr(section, high)
    if low_value is not None and high_value is not None and low_value > high_value:
        raise PydanticCustomError(
            "order",
            "has {low} {low_value} above {high} {high_value}; accepted: {low} at most {high}",
            {"low": low, "low_value": low_value, "high": high, "high_value": high_value},
        )


class ImagePreprocessing(Section):
    """Either keeps the aspect ratio (`min_size`, `max_size`) or stretches (`fixed_height`, `fixed_width`)."""

    min_size: PositiveInt | None = key(600, "Pixels of the shorter side, unless `max_size` forbids; empty: as it is.")
    max_size: PositiveInt | None = key(1024, "Most pixels of the longer side; empty: no limit.")
    fixed_height: PositiveInt | None = key(None, "Stretch to this height; goes before `min_size` and `max_size`.")
    fixed_width: PositiveInt | None = key(None, "Stretch to this width; both or neither.")
    method: Literal["antialias", "bilinear", "pil"] = key(
        "antialias",
        "All bilinear: averaging where it shrinks; never averaging (torchvision); on whole grey levels (Detectron2).",
    )
    rounding: Literal["nearest", "down"] = key("nearest", "How new sizes become whole pixels; torchvision rounds down.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.fixed_height is None) != (self.fixed_width is None):
            stated, absent = ("fixed_height", "fixed_width")[:: 1 if self.fixed_height else -1]
            raise PydanticCustomError(
                "both_or_neither",
                "has {stated} without {absent}; accepted: both or neither",
                {"stated": stated, "absent": absent},
            )
        _check_order(self, "min_size", "max_size")
        return self


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
        _check_order(self, "min_size", "max_size")
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
        _check_order(self, "lower", "upper")
        return self


class Contrast(Section):
    """Multiplies the distance to the mean by one random factor."""

    lower: NonNegativeNumber = key(0.8, "Least factor.")
    upper: NonNegativeNumber = key(1.2, "Largest factor.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_order(self, "lower", "upper")
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
        _check_order(self, "min_ratio", "max_ratio")
        return self


class Augmentation(Section):
    """One entry of `data_augmentation`: a mapping with one key, the kind, over its settings."""

    flip: Flip | None = key(None, "Mirror.")
    resize: Resize | None = key(None, "Resize.")
    patch: Patch | None = key(None, "Cut out a part.")
    distortion: Distortion | None = key(None, "Change light and colours.")
    expand: Expand | None = key(None, "Shrink onto a larger canvas.")

    @property
    def kind(self) -> str:
        """`flip`, `resize`, `patch`, `distortion` or `expand`."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def settings(self) -> Flip | Resize | Patch | Distortion | Expand:
        """The settings of that kind; each has `prob`."""
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


class DatasetConfig(Section):
    """Which records to read, and what is done to their pictures."""

    type: Literal["object_detection", "tfrecord"] = key("object_detection", "Both mean TFRecords.")
    dir: Text | None = key(None, "Folder of the records and `classes.json`.")
    split: Text = key("train", "Which split to train on: `<split>.tfrecords`.")
    image_preprocessing: ImagePreprocessing = section(ImagePreprocessing, "How pictures are resized.")
    data_augmentation: List[Augmentation] = key((Augmentation(flip=Flip()),), "What is varied in training, in order.")
