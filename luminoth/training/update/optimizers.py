"""Optimizers, whose rate may differ from weight to weight, and gradient clipping.

Where published forms of an optimizer differ, these are TensorFlow 1's and so Luminoth's; the differences are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from luminoth.errors import ConfigError


def make_optimizer(
    settings: Any, variables: Sequence[keras.Variable], multipliers: Sequence[float] | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer `train.optimizer` asks for, built: all of its variables exist.

    Its learning rate is set at each step by the training loop. Weight decay (adamw) leaves alone what has
    fewer than two dimensions: biases and batch norm's scale and offset.

    Args:
        settings: `config.train.optimizer`.
        variables: the weights to train.
        multipliers: of the learning rate, one for each of `variables`; None: 1 for all. An update is exactly what an
            optimizer with that rate would make of the gradient, as torch's parameter groups do it.
    """
    initial_rate = 0.0  # assigned before each update
    match settings.type:
        case "momentum":
            optimizer = Momentum(initial_rate, momentum=settings.momentum, nesterov=settings.nesterov)
        case "gradient_descent":
            optimizer = SGD(initial_rate)
        case "adam":
            optimizer = Adam(initial_rate, settings.beta1, settings.beta2, settings.epsilon)
        case "adamw":
            optimizer = AdamW(initial_rate, settings.beta1, settings.beta2, settings.epsilon)
            optimizer.decay = settings.weight_decay
        case "rmsprop":
            optimizer = RMSprop(initial_rate, settings.decay, settings.momentum, settings.epsilon, settings.centered)
        case other:
            raise ConfigError(
                f"train.optimizer.type: {other!r} is not one of momentum, adam, adamw, gradient_descent, rmsprop"
            )
    optimizer.build(list(variables))
    optimizer.set_multipliers(variables, [1.0] * len(variables) if multipliers is None else multipliers)
    return optimizer


class _RatePerWeight:
    """Gives each weight a learning rate of its own, and sums up no gradients; to be put before an optimizer's class."""

    def set_multipliers(self, variables: Sequence[keras.Variable], multipliers: Sequence[float]) -> None:
        """Multiplies the learning rate of each of the variables it was built on."""
        self._multipliers = {
            self._get_variable_index(variable): multiplier
            for variable, multiplier in zip(variables, multipliers, strict=True)
        }

    def _all_reduce_sum_gradients(self, gradients_and_variables: Any) -> Any:
        """The training step has added the replicas' gradients up already: their sum is what is clipped."""
        return gradients_and_variables

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        multiplier = self._multipliers[self._get_variable_index(variable)]
        if multiplier != 1.0:
            learning_rate = tf.convert_to_tensor(learning_rate) * multiplier
        super().update_step(gradient, variable, learning_rate)


class _Momentum(keras.optimizers.SGD):
    """The velocity is made of gradients and the rate applies to all of it, in TensorFlow 1 and torch alike:

        v = momentum * v + g         weight -= rate * v        (Nesterov: rate * (g + momentum * v))

    Keras' own multiplies by the rate before, so that a rate that falls tenfold acts only ten updates later (Goyal et
    al. 2017, section 3).
    """

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        gradient = tf.cast(gradient, variable.dtype)
        if self.momentum == 0:
            self.assign_sub(variable, learning_rate * gradient)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * tf.convert_to_tensor(velocity) + gradient)
        direction = tf.convert_to_tensor(velocity)
        if self.nesterov:
            direction = gradient + self.momentum * direction
        self.assign_sub(variable, learning_rate * direction)


class _AdamW(keras.optimizers.Adam):
    """Adam after `weight -= rate * decay * weight` (Loshchilov and Hutter 2019, algorithm 2), kernels only."""

    decay = 0.0

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        if len(variable.shape) > 1:
            self.assign_sub(variable, learning_rate * self.decay * tf.convert_to_tensor(variable))
        super().update_step(gradient, variable, learning_rate)


# A checkpoint holds the name of the class its optimizer's state belongs to.


class SGD(_RatePerWeight, keras.optimizers.SGD):
    """Plain gradient descent."""


class Momentum(_RatePerWeight, _Momentum):
    """See `_Momentum`."""


class Adam(_RatePerWeight, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) in the form before its section 2.1: epsilon is added to the root of the mean square
    before that is corrected for its start, as in TensorFlow 1; torch adds it afterwards."""


class AdamW(_RatePerWeight, _AdamW):
    """See `_AdamW`; epsilon as in `Adam`."""


class RMSprop(_RatePerWeight, keras.optimizers.RMSprop):
    """RMSProp; epsilon is added under the root, as in TensorFlow 1, and the mean square starts at 0, as in torch."""


def clip_gradients(
    gradients: Sequence[tf.Tensor], *, by_norm: float | None, by_global_norm: float | None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Shortens gradients that are too long, first each by itself, then all together.

    Args:
        gradients: one tensor a variable.
        by_norm: the longest any one may be (L2 norm); None leaves them.
        by_global_norm: the longest all of them as one vector may be; None leaves them.

    Returns:
        The gradients and, as a scalar, their global norm before any clipping.
    """
    norm = tf.linalg.global_norm(gradients)
    clipped = list(gradients)
    if by_norm is not None:
        clipped = [tf.clip_by_norm(gradient, by_norm) for gradient in clipped]
    if by_global_norm is not None:
        clipped, _ = tf.clip_by_global_norm(clipped, by_global_norm)
    return clipped, norm
