"""Another implementation's numbers, and weights that any program can rebuild from their names.

`torchvision/<model>.json` and `detectron2/<model>.json` list a model's tensors, each with the rule it is filled by;
the `.npz` beside it holds what that implementation computed with them for two pictures. See README.md.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from luminoth.checkpoints.convert.mapping import Library, convert_weights
from luminoth.config import load_config
from luminoth.models.base import DetectionModel, named_weights
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule
from luminoth.types import Batch

FOLDER = Path(__file__).parent
MODELS = Path(__file__).parents[2] / "luminoth" / "checkpoints" / "convert" / "models"


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 in [-1, 1), from SplitMix64 seeded with the CRC-32 of `name`."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode())) * np.uint64(0xD1342543DE82EF95)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    return (unit * 2.0 - 1.0).astype(np.float32).reshape(shape)


def filled(name: str, shape: tuple[int, ...], role: str, scale: float) -> np.ndarray:
    """One tensor of a model."""
    if role == "counter":
        return np.zeros(shape, np.int64)
    values = uniform(name, shape)
    if role in ("conv", "linear"):
        fan_in = int(np.prod(shape[1:], dtype=np.int64))
        return values * np.float32(np.sqrt(6.0 / fan_in) * scale)
    if role == "gain":
        return (1.0 + 0.2 * values) * np.float32(scale)
    if role == "variance":
        return 1.0 + 0.3 * values
    return values * np.float32(0.1 * scale)  # bias, shift, mean


def rebuilt_state(manifest: Path) -> dict[str, np.ndarray]:
    """The state dict that a manifest describes, in its library's names and layouts."""
    tensors = json.loads(manifest.read_text())["tensors"]
    return {t["name"]: filled(t["name"], tuple(t["shape"]), t["role"], t["scale"]) for t in tensors}


class Golden:
    """One model of ours with rebuilt weights, and what the other implementation says.

    Attributes:
        name: of the published model.
        model: with all batch norm trainable, so that every gradient can be had.
        values: of the `.npz`.
        library: names of the other implementation.
    """

    def __init__(
        self, name: str, model: DetectionModel, values: dict[str, np.ndarray], resize: ResizeRule, library: Library
    ) -> None:
        self.name, self.model, self.values, self.library = name, model, values, library
        self._resize = resize
        # One trace each serves both pictures, whatever their sizes.
        pixels, size = tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((1, 2), tf.int32)
        boxes, class_ids = tf.TensorSpec((1, None, 4)), tf.TensorSpec((1, None), tf.int32)
        self._forward = tf.function(self._all_stages, input_signature=[pixels, size, boxes], autograph=False)
        self._backward = tf.function(
            self._losses_and_gradients, input_signature=[pixels, size, boxes, class_ids], autograph=False
        )
        self._trained = {path: v for path, v in named_weights(model).items() if v.trainable}

    def network_input(self, image: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Resized pixels [1, h, w, 3] of a picture and its size [1, 2]."""
        pixels = self._resize(tf.constant(self.values[image]))[tf.newaxis]
        return pixels, tf.shape(pixels)[tf.newaxis, 1:3]

    def forward(self, image: str) -> dict:
        """Every stage's output for a picture; the head's for the golden's first 40 proposals."""
        rois = tf.constant(self.values[f"{image}/proposals"][np.newaxis, :40])
        return self._forward(*self.network_input(image), rois)

    def backward(
        self, image: str, boxes: np.ndarray, class_ids: np.ndarray
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The losses of a picture, and the gradient of their sum for each weight, named and shaped as ours.

        Args:
            image: its key.
            boxes: [G, 4], in pixels of the network's input.
            class_ids: [G].
        """
        pixels, size = self.network_input(image)
        truth = tf.constant(boxes[None], tf.float32), tf.constant(class_ids[None], tf.int32)
        losses, gradients = self._backward(pixels, size, *truth)
        arrays = {path: gradient.numpy() for path, gradient in zip(self._trained, gradients, strict=True)}
        return {name: float(value) for name, value in losses.items()}, arrays

    def _all_stages(self, pixels: tf.Tensor, size: tf.Tensor, rois: tf.Tensor) -> dict:
        model = self.model
        network_input = model.network_input(pixels, size)
        maps = model.extract(network_input, training=False)
        rpn = model.first_stage(network_input, maps)
        proposals = model._rpn_stages.propose(rpn, size)
        if model.fpn is None:  # before the tail
            pooled = model._roi_stages.pool(maps, rois, strides=model.backbone.strides)
        else:
            pooled = model.pool(maps, rois, training=False)
        return {
            "network_input": network_input,
            "maps": maps,
            "rpn": rpn,
            "proposals": proposals,
            "pooled": pooled,
            "head": model.second_stage(maps, rois),
            "detections": model._roi_stages.select(
                model.second_stage(maps, proposals.boxes), proposals, size, min_score=model._roi_stages.min_score
            ),
        }

    def _losses_and_gradients(self, pixels: tf.Tensor, size: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor):
        is_object = tf.ones_like(class_ids, tf.bool)
        batch = Batch(pixels, size, boxes, class_ids, is_object, ~is_object)
        with tf.GradientTape() as tape:
            # Batch norm is in inference mode, as the goldens have it.
            losses = self.model.compute_losses(batch, training=False, seed=tf.constant([1, 2]))
            total = tf.add_n(list(losses.values()))
        return losses, tape.gradient(total, [variable.value for variable in self._trained.values()])


def load_golden(folder: str, name: str, model_name: str, library: Library, *overrides: str) -> Golden:
    """Builds the model `model_name` with the weights that the manifest `folder`/`name` describes."""
    config = load_config(
        [MODELS / f"{model_name}.yml"],
        [
            "model.base_network.train_batch_norm=true",
            "model.base_network.fine_tune_from=null",
            "model.base_network.arg_scope.weight_decay=0",
            *overrides,
        ],
    )
    model = build_model(config, config.model.network.num_classes)
    weights = named_weights(model)
    state = rebuilt_state(FOLDER / folder / f"{name}.json")
    converted = convert_weights(state, {path: tuple(v.shape) for path, v in weights.items()}, library)
    for path, variable in weights.items():
        variable.assign(converted[path])
    with np.load(FOLDER / folder / f"{name}.npz") as values:
        golden = dict(values)
    return Golden(name, model, golden, ResizeRule(**config.dataset.image_preprocessing.model_dump()), library)


def assert_close(ours, theirs, what: str, tolerance: float = 1e-3) -> None:
    """Every number within `tolerance` of the spread (standard deviation) of theirs."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, what
    worst = np.abs(ours - theirs).max() / max(theirs.std(), 1e-12)
    assert worst <= tolerance, f"{what}: off by {worst:.2e} of the spread"


def sampled(features) -> np.ndarray:
    """The strided sample of a map [1, H, W, C] that the goldens keep."""
    features = np.asarray(features)[0]
    return features[:: max(1, features.shape[0] // 5), :: max(1, features.shape[1] // 5), ::8]


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[N, M] of boxes [N, 4] and [M, 4]."""
    low, high = np.maximum(boxes[:, None, :2], others[None, :, :2]), np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def share_matched(ours: tuple, theirs: tuple, score_tolerance: float = 1e-3, least_iou: float = 0.99) -> float:
    """Share of the larger set of (boxes, scores, labels) with a partner, one to one, of same label, IoU and score."""
    boxes, scores, labels = ours
    other_boxes, other_scores, other_labels = theirs
    fits = iou(boxes, other_boxes) > least_iou
    fits &= np.abs(scores[:, None] - other_scores[None]) < score_tolerance
    fits &= labels[:, None] == other_labels[None]
    free, matched = np.ones(len(other_boxes), bool), 0
    for row in fits:
        partners = np.flatnonzero(row & free)
        if len(partners):
            free[partners[0]] = False
            matched += 1
    return matched / max(len(boxes), len(other_boxes), 1)
