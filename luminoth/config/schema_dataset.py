"""The section `dataset`: where the records are, how pictures are resized and varied."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from luminoth.config.fields import List, Place, PositiveInt, Section, Text, check_order, key, section
from luminoth.config.schema_augmentation import Augmentation, Flip


class ImagePreprocessing(Section):
    """Either keeps the aspect ratio (`min_size`, `max_size`) or stretches (`fixed_height`, `fixed_width`)."""

    min_size: PositiveInt | None = key(600, "Pixels of the shorter side, unless `max_size` forbids; empty: as it is.")
    min_size_train: List[PositiveInt] = key(
        (), "Training draws a picture's `min_size` from these (multi-scale); all else uses `min_size`. Empty: no draw."
    )
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
        check_order(self, "min_size", "max_size")
        if self.min_size_train and self.fixed_height is not None:
            raise PydanticCustomError(
                "either", "has min_size_train beside fixed_height and fixed_width; accepted: one or the other"
            )
        if self.min_size_train and self.max_size is not None and max(self.min_size_train) > self.max_size:
            raise PydanticCustomError(
                "order",
                "has {largest} in min_size_train above max_size {max_size}; accepted: each at most max_size",
                {"largest": max(self.min_size_train), "max_size": self.max_size},
            )
        return self


class DatasetConfig(Section):
    """Which records to read, and what is done to their pictures."""

    type: Literal["object_detection", "tfrecord"] = key("object_detection", "Both mean TFRecords.")
    dir: Place | None = key(None, "Folder of the records and `classes.json`, or its `gs://` address.")
    split: Text = key("train", "Which split to train on: `<split>.tfrecords`.")
    image_preprocessing: ImagePreprocessing = section(ImagePreprocessing, "How pictures are resized.")
    data_augmentation: List[Augmentation] = key((Augmentation(flip=Flip()),), "What is varied in training, in order.")
