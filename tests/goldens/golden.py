"""Another implementation's numbers, and weights that any program can rebuild from their names.

`torchvision/<model>.json` and `detectron2/<model>.json` list a model's tensors, each with the rule it is filled by;
the `.npz` beside it holds what that implementation computed with them for two pictures. See README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from luminoth.checkpoints.convert.golden import read_golden
from luminoth.checkpoints.convert.mapping import Library, convert_weights
from luminoth.checkpoints.convert.parity import first_rois, forward_pass, numbers
from luminoth.config import load_config
from luminoth.models.base import DetectionModel, named_weights
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule
from luminoth.types import Batch

FOLDER = Path(__file__).parent
MODELS = Path(__file__).parents[2] / "luminoth" / "checkpoints" / "convert" / "models"


def rebuilt_state(manifest: Path) -> dict[str, np.ndarray]:
    """The state dict that a manifest describes, in its library's names and layouts."""
    return read_golden(manifest).state()


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
        self._forward = forward_pass(model, resize)
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
        return self._forward(self.values[image], first_rois(self.values, image))

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
    golden = read_golden(FOLDER / folder / f"{name}.json")
    converted = convert_weights(golden.state(), {path: tuple(v.shape) for path, v in weights.items()}, library)
    for path, variable in weights.items():
        variable.assign(converted[path])
    return Golden(name, model, golden.values, ResizeRule(**config.dataset.image_preprocessing.model_dump()), library)


def assert_close(ours, theirs, what: str) -> None:
    """Every number within a thousandth of the spread (standard deviation) of theirs."""
    found = numbers(what, ours, theirs)
    assert found.passed, f"{what}: off by {found.difference:.2e} of the spread"
