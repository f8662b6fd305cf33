"""The contract of a detector, and stable names for its weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import keras
import tensorflow as tf

from luminoth.backbones.layers import WeightedLayer
from luminoth.errors import ModelError
from luminoth.types import Batch, DetectorOutput


class Examination(NamedTuple):
    """What evaluation wants to know of a batch.

    Attributes:
        losses: as `compute_losses` gives them.
        detections: as `detect` gives them.
        proposals: the boxes that a second stage chose from, P a picture, class ids all 0; None where there is only
            one stage.
    """

    losses: dict[str, tf.Tensor]
    detections: DetectorOutput
    proposals: DetectorOutput | None = None


class Observed(NamedTuple):
    """What a training step gives: the losses, and figures beside them that say how training fares.

    Attributes:
        losses: as `compute_losses` gives them.
        gauges: float32 scalars by name, such as the share of sampled RoIs that show an object. Nothing depends on them.
    """

    losses: dict[str, tf.Tensor]
    gauges: dict[str, tf.Tensor]


class DetectionModel(keras.Model):
    """A detector: pictures in, boxes out; or a batch in, losses out.

    The training loop, the evaluator and the predictor know nothing more of a model. All variables exist as
    soon as it is constructed. Pixels come in as RGB, 0 to 255; the model normalises them itself, because how
    they must be normalised belongs to the weights.

    Attributes:
        num_classes: C, without the background.
        compute_type: type of pixels and features inside the network; losses and boxes are float32 always.
        size_multiple: height and width that the network pads its pictures to are multiples of this.
    """

    num_classes: int
    compute_type: tf.DType = tf.float32
    size_multiple: int = 1

    @abstractmethod
    def compute_losses(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The losses of a batch, each a weighted float32 scalar; their sum is what training minimises.

        (Not named `losses`: that is a property of every Keras model, which holds the regularisers' terms.)

        Args:
            batch: see `luminoth.types.Batch`.
            training: whether batch norm and dropout behave as in training.
            seed: [2] int32, for the random choice of samples; the same seed chooses the same. Or [B, 2], a seed for
                each picture: what is chosen in it depends on its own alone (`luminoth.boxes.sampling.picture_seeds`).

        The losses are means over the pictures, so that those of a batch are the mean of those of its halves.
        """

    def observe(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> Observed:
        """The losses of a batch with gauges, for the training loop.

        A model overrides this where it has gauges to show; they should be by-products of the losses, free of charge.

        Args: see `compute_losses`.
        """
        return Observed(self.compute_losses(batch, training=training, seed=seed), {})

    def samples(self, batch: Batch, *, seed: tf.Tensor) -> dict[str, DetectorOutput]:
        """What the losses of a batch are measured on, by name, for pictures that show it: boxes, class id 0 for what
        stands for an object and 1 for background, scores all 1. Nothing where a model samples nothing.

        Args: see `compute_losses`.
        """
        return {}

    @abstractmethod
    def detect(
        self, images: tf.Tensor, image_sizes: tf.Tensor, *, min_score: tf.Tensor | float | None = None
    ) -> DetectorOutput:
        """Finds the objects in a batch of pictures.

        Args:
            images: [B, H, W, 3] float32, RGB, 0 to 255, zeros below and to the right of each picture.
            image_sizes: [B, 2], (height, width) of each picture within its padding.
            min_score: lowest score reported, 0 to 1; None: as the model was configured.

        Returns:
            Boxes in pixels of `images`, inside their picture, by descending score.
        """

    def examine(
        self, batch: Batch, *, seed: tf.Tensor, min_score: tf.Tensor | float, max_proposals: int
    ) -> Examination:
        """Losses, detections and proposals of a batch with its ground truth, for evaluation.

        A model overrides this where it can share work between them.

        Args:
            batch: see `luminoth.types.Batch`.
            seed: as for `compute_losses`.
            min_score: as for `detect`.
            max_proposals: P, the most proposals given of a picture.
        """
        losses = self.compute_losses(batch, training=False, seed=seed)
        return Examination(losses, self.detect(batch.images, batch.image_sizes, min_score=min_score))

    def freeze(self) -> None:
        """Prepares the weights for inference: batch norm folded into the kernels, once, in the type of the features.

        Later changes of the weights have no effect any more. The prepared kernels are plain tensors beside the
        graph, not constants in it: that is as fast, and does not keep several copies of the weights.
        """
        for layer in self._flatten_layers(include_self=False):
            if isinstance(layer, WeightedLayer):
                layer.freeze(self.compute_type)

    def regularization_loss(self) -> tf.Tensor:
        """The sum of the weight decay terms of all trainable kernels, a float32 scalar."""
        return tf.add_n(self.losses) if self.losses else tf.constant(0.0)


def named_weights(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Every variable of a model under a stable name, such as `backbone/block1/unit1/conv1/kernel`.

    The name is the path of layer names from `layer` (not included) down to the variable. Checkpoints,
    converters and freezing rules use these names. Random generators' states are left out: no layer here has any.

    Raises:
        ModelError: two variables would have the same name.
    """
    found: dict[str, keras.Variable] = {}
    _collect(layer, "", found)
    return found


def _collect(layer: keras.layers.Layer, prefix: str, found: dict[str, keras.Variable]) -> None:
    # `_trainable_variables` and friends hold a layer's own variables only, `variables` those of sublayers as well.
    for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
        name = prefix + variable.name
        if name in found:
            raise ModelError(f"two weights of the model are named {name}; give their layers different names")
        found[name] = variable
    for sublayer in layer._flatten_layers(include_self=False, recursive=False):
        _collect(sublayer, f"{prefix}{sublayer.name}/", found)
