"""Records as tensors: what the training pipeline reads. `records.py` writes them, and reads them without TensorFlow.

Read are the form of the TensorFlow Object Detection API (`tf.train.Example`, boxes as fractions of the picture) and the
one Luminoth 0.2 wrote (`tf.train.SequenceExample` with `image_raw` and boxes in pixels).
"""

from __future__ import annotations

import tensorflow as tf

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TEXTS = ("image/encoded", "image/source_id", "image/filename", "image_raw", "filename")
_NUMBERS = ("image/height", "image/width")
_NUMBERS_OF_OBJECTS = ("image/object/class/label", "image/object/is_crowd", "image/object/group_of")

# Every name of both forms, all optional; see `parse_record`.
_CONTEXT_FEATURES = {
    **{name: tf.io.FixedLenFeature([], tf.string, "") for name in _TEXTS},
    **{name: tf.io.FixedLenFeature([], tf.int64, 0) for name in _NUMBERS},
    **{name: tf.io.RaggedFeature(tf.int64) for name in _NUMBERS_OF_OBJECTS},
    **{f"image/object/bbox/{side}": tf.io.RaggedFeature(tf.float32) for side in _SIDES},
}
_SIZES = {name: tf.io.FixedLenFeature([], tf.int64, 0) for name in (*_NUMBERS, "height", "width")}
_LIST_FEATURES = {name: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True) for name in ("label", *_SIDES)}


def parse_record(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads one record of either form; made for `tf.data.Dataset.map`.

    The two forms differ on the wire only in where they keep things: an `Example`'s features are a
    `SequenceExample`'s context. So one parse with every name optional reads both, record by record.

    Args:
        serialized: scalar string.

    Returns:
        encoded: scalar string, the bytes of a JPEG or PNG file;
        image_id: scalar string;
        boxes: [N, 4] float32, absolute pixels, as stored (they are not clipped here);
        class_ids: [N] int32, from 0;
        is_crowd: [N] bool.

    Raises:
        tf.errors.InvalidArgumentError: when run on a record of neither form, or with a label below 1.
    """
    context, lists = tf.io.parse_single_sequence_example(serialized, _CONTEXT_FEATURES, _LIST_FEATURES)
    is_luminoth = tf.strings.length(context["image_raw"]) > 0
    encoded = tf.where(is_luminoth, context["image_raw"], context["image/encoded"])
    message = "a record has neither image/encoded nor image_raw: not a record of pictures"
    with tf.control_dependencies([tf.debugging.assert_positive(tf.strings.length(encoded), message)]):
        boxes, class_ids, is_crowd = tf.cond(
            is_luminoth, lambda: _luminoth_objects(lists), lambda: _object_detection_api_objects(context)
        )
    return {
        "encoded": encoded,
        "image_id": _first_given(context["image/source_id"], context["image/filename"], context["filename"]),
        "boxes": tf.ensure_shape(boxes, [None, 4]),
        "class_ids": tf.ensure_shape(class_ids, [None]),
        "is_crowd": tf.ensure_shape(is_crowd, [None]),
    }


def parse_size(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(height, width) of the picture of one record of either form, two float32 scalars, without decoding it.

    Raises:
        tf.errors.InvalidArgumentError: when run on a record of neither form.
    """
    stated, _ = tf.io.parse_single_sequence_example(serialized, _SIZES)
    height, width = (tf.maximum(stated[f"image/{side}"], stated[side]) for side in ("height", "width"))

    def measured() -> tuple[tf.Tensor, tf.Tensor]:
        record = parse_record(serialized)
        shape = tf.shape(tf.io.decode_image(record["encoded"], channels=3, expand_animations=False), tf.int64)
        return shape[0], shape[1]

    height, width = tf.cond((height > 0) & (width > 0), lambda: (height, width), measured)
    return tf.cast(height, tf.float32), tf.cast(width, tf.float32)


def _luminoth_objects(lists: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    boxes = tf.cast(tf.stack([lists[side] for side in _SIDES], axis=-1), tf.float32)  # [N, 4]
    return boxes, tf.cast(lists["label"], tf.int32), tf.zeros_like(lists["label"], tf.bool)


def _object_detection_api_objects(context: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    height, width = _size(context)
    fractions = tf.stack([context[f"image/object/bbox/{side}"] for side in _SIDES], axis=-1)  # [N, 4]
    labels = tf.cast(context["image/object/class/label"], tf.int32)
    with tf.control_dependencies(
        [
            tf.debugging.assert_positive(labels, "image/object/class/label must count from 1 (0 is the background)"),
            tf.debugging.assert_equal(tf.size(labels), tf.shape(fractions)[0], "a record has not one label a box"),
        ]
    ):
        boxes = fractions * tf.stack([width, height, width, height])
    is_crowd = _flags(context["image/object/is_crowd"], labels) | _flags(context["image/object/group_of"], labels)
    return boxes, labels - 1, is_crowd


def _size(context: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """(height, width) as float32; from the picture itself in records that do not state it."""
    height, width = context["image/height"], context["image/width"]

    def measured():
        shape = tf.shape(tf.io.decode_image(context["image/encoded"], channels=3, expand_animations=False), tf.int64)
        return shape[0], shape[1]

    height, width = tf.cond((height > 0) & (width > 0), lambda: (height, width), measured)
    return tf.cast(height, tf.float32), tf.cast(width, tf.float32)


def _flags(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[N] bool; an optional feature that is absent means no."""
    return tf.cond(tf.size(values) > 0, lambda: values > 0, lambda: tf.zeros_like(like, tf.bool))


def _first_given(*names: tf.Tensor) -> tf.Tensor:
    chosen = names[-1]
    for name in reversed(names[:-1]):
        chosen = tf.where(tf.strings.length(name) > 0, name, chosen)
    return chosen
