"""The values that pass between the parts of Luminoth. Imports neither TensorFlow nor Keras.

Conventions, everywhere:

* boxes are `[x_min, y_min, x_max, y_max]`, float32, absolute pixels, continuous (no `+ 1`);
* sizes are `(height, width)`;
* class ids run from 0 to C - 1, in the order of the class list; background is never among them.

Shape letters: B images in a batch, H x W their padded size, G padded ground-truth boxes an image,
D padded detections an image, N boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# The name of class ids that stand for nothing (torchvision's COCO has ten): kept in the arithmetic, never shown.
UNUSED_CLASS = "N/A"


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated picture on the host, as a reader yields it and a record stores it.

    Attributes:
        image_id: unique within its split.
        encoded: the picture as bytes of a JPEG or PNG file, upright (no EXIF rotation left to apply).
        image_size: (height, width) in pixels.
        boxes: [N, 4] float32, absolute pixels, inside the picture; N may be 0.
        class_ids: [N] int32.
        is_crowd: [N] bool; crowd regions are ignored in training and in evaluation.
        is_difficult: [N] bool; Pascal VOC's `difficult`.
        is_truncated: [N] bool; Pascal VOC's `truncated`.
        filename: where it came from, for messages.
    """

    image_id: str
    encoded: bytes
    image_size: tuple[int, int]
    boxes: np.ndarray
    class_ids: np.ndarray
    is_crowd: np.ndarray
    is_difficult: np.ndarray
    is_truncated: np.ndarray
    filename: str = ""


class Batch(NamedTuple):
    """A padded batch, as tensors (`tf.Tensor`), ready for a model.

    Attributes:
        images: [B, H, W, 3] float32, RGB, 0 to 255; zeros below and to the right of each picture.
        image_sizes: [B, 2] int32, (height, width) of each picture within its padding.
        gt_boxes: [B, G, 4] float32, pixels of `images`; zeros where there is no object.
        gt_class_ids: [B, G] int32; zeros where there is no object.
        is_object: [B, G] bool, true where a row is a real box (crowd regions included).
        is_crowd: [B, G] bool.
    """

    images: Any
    image_sizes: Any
    gt_boxes: Any
    gt_class_ids: Any
    is_object: Any
    is_crowd: Any


class BatchInfo(NamedTuple):
    """Where the pictures of a `Batch` came from, as tensors.

    Attributes:
        image_ids: [B] string.
        original_sizes: [B, 2] int32, (height, width) before resizing and augmentation.
    """

    image_ids: Any
    original_sizes: Any


class DetectorOutput(NamedTuple):
    """What a model's `detect` returns: fixed size, sorted by score, with a validity mask.

    Attributes:
        boxes: [B, D, 4] float32, pixels of the network's input; zeros where not valid.
        scores: [B, D] float32, 0 to 1, descending; zeros where not valid.
        class_ids: [B, D] int32; zeros where not valid.
        is_valid: [B, D] bool.
    """

    boxes: Any
    scores: Any
    class_ids: Any
    is_valid: Any


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one picture: NumPy, no padding, original pixels, sorted by score.

    Attributes:
        boxes: [N, 4] float32, pixels of the original picture.
        scores: [N] float32, 0 to 1.
        class_ids: [N] int32, indices into `class_names`.
        class_names: the names of all classes the detector knows.
        image_size: (height, width) of the picture.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    class_names: Sequence[str]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.class_ids.shape != (count,):
            raise ValueError(
                f"boxes, scores and class_ids must have shapes [N, 4], [N] and [N]; got "
                f"{self.boxes.shape}, {self.scores.shape} and {self.class_ids.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: np.ndarray) -> Detections:
        """The detections at `keep`, a boolean mask [N] or an index array."""
        return Detections(self.boxes[keep], self.scores[keep], self.class_ids[keep], self.class_names, self.image_size)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Luminoth's form: `[{"bbox": [x_min, y_min, x_max, y_max], "label": str, "prob": float}, ...]`.

        `bbox` are ints (rounded pixels), `prob` is rounded to 4 digits.
        """
        return [
            {
                "bbox": [round(float(value)) for value in box],
                "label": self.class_names[class_id],
                "prob": round(float(score), 4),
            }
            for box, score, class_id in zip(self.boxes, self.scores, self.class_ids, strict=True)
        ]

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`, for Roboflow's library of annotators and tools.

        Raises:
            ImportError: it is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("supervision is not installed: pip install supervision") from error
        names = np.array([self.class_names[class_id] for class_id in self.class_ids], str)
        return supervision.Detections(
            xyxy=np.asarray(self.boxes, np.float32),
            confidence=self.scores,
            class_id=np.asarray(self.class_ids, int),
            data={"class_name": names},
        )
