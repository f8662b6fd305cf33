"""Dynamic loss scaling: float16 knows nothing below 6e-8, and gradients are often smaller.

Mixed Precision Training (Micikevicius et al. 2018), sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_INITIAL = 2.0**15
_LEAST = 1.0
_GROWTH_STEPS = 2000  # torch's and Keras' figure


class LossScale:
    """What the loss is multiplied by before its gradients are taken, and they are divided by afterwards.

    It is a power of two, so that both are exact. When gradients overflow it is halved, and that step must leave the
    weights alone; after 2,000 steps without it is doubled.

    Variables are made under the distribution strategy in scope.

    Attributes:
        variables: what a checkpoint holds, by the names it has there: `loss_scale/scale` float32,
            `loss_scale/good_steps` since the scale changed last, `loss_scale/skipped` steps since the run began.
    """

    def __init__(self, initial: float = _INITIAL, growth_steps: int = _GROWTH_STEPS) -> None:
        self._growth_steps = growth_steps
        self.scale_value = _variable(initial, tf.float32, "scale")
        self.skipped = _variable(0, tf.int64, "skipped")
        self._good_steps = _variable(0, tf.int64, "good_steps")
        self.variables: dict[str, tf.Variable] = {
            "loss_scale/scale": self.scale_value,
            "loss_scale/good_steps": self._good_steps,
            "loss_scale/skipped": self.skipped,
        }

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """The float32 loss whose gradients are to be taken."""
        return loss * self.scale_value

    def unscale(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Gradients of the loss from those of the scaled one; clip them afterwards."""
        inverse = 1.0 / self.scale_value
        return [gradient * inverse for gradient in gradients]

    def is_overflow(self, is_finite: tf.Tensor) -> tf.Tensor:
        """Whether gradients that are not finite are the scale's fault: the step is skipped then, and it shrinks.

        At the least scale, 1, they are not: training is to be stopped as without scaling.
        """
        return ~is_finite & (self.scale_value > _LEAST)

    def update(self, is_finite: tf.Tensor) -> None:
        """Follows a step, with the same answer on all replicas; after `is_overflow` was asked.

        Args:
            is_finite: bool scalar, whether all gradients were, see `all_finite`.
        """
        self.skipped.assign_add(tf.cast(self.is_overflow(is_finite), tf.int64))
        scale, good_steps = self.scale_value.read_value(), self._good_steps.read_value() + 1
        grows = good_steps >= self._growth_steps
        grown = tf.where(grows, 2.0 * scale, scale)
        self.scale_value.assign(tf.where(is_finite, grown, tf.maximum(scale / 2.0, _LEAST)))
        self._good_steps.assign(tf.where(is_finite & ~grows, good_steps, 0))


def all_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether no gradient holds NaN or infinity, a bool scalar; of one replica: let all of them agree."""
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]))


def _variable(value: float, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(
        value, dtype=dtype, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
    )
