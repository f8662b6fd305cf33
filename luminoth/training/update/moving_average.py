"""The exponential moving average of a model's weights, which evaluates better than the last step's weights do.

Polyak and Juditsky 1992; the form with a warm-up is TensorFlow's `ExponentialMovingAverage` with `num_updates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from luminoth.checkpoints.weights_file import AVERAGES, AVERAGES_MADE
from luminoth.models.base import named_weights


class MovingAverage:
    """Averages of all weights that training changes: the trained ones, and the batch-norm statistics beside them.

    With n averages made so far, `average += (1 - d) * (weight - average)`, where d is the smaller one of `decay` and
    n / (n + 9). So the first one is a copy of the weights and the start of training is soon forgotten: after n
    updates an average reaches back over about n / 9 of them, until that is 1 / (1 - decay).

    Statistics are averaged and not copied, as timm and torchvision's references do it: those of the last step belong
    to the last step's weights.

    Args:
        model: a `DetectionModel`, with all its variables and frozen where it will be. Variables are made under the
            distribution strategy in scope, which must be the model's.
        decay: at least 0, below 1; such as 0.9998.

    Attributes:
        variables: what a checkpoint holds, by the names it has there: `averages/<path of the weight>`, float32, and
            `moving_average/updates`, how many averages were made.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._decay, self._strategy = decay, tf.distribute.get_strategy()
        changing = _changing_weights(model)
        averages = {name: _like(weight, name) for name, weight in changing.items()}
        self._pairs = [(weight, averages[name]) for name, weight in changing.items()]
        self._updates = tf.Variable(
            0, dtype=tf.int64, trainable=False, name="updates", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self.variables: dict[str, tf.Variable] = {
            **{f"{AVERAGES}/{name}": average for name, average in averages.items()},
            AVERAGES_MADE: self._updates,
        }

    @property
    def decay(self) -> float:
        """How much of the averages stays at the next update; it rises to the decay asked for."""
        updates = int(self._updates.numpy())
        return min(self._decay, updates / (updates + 9))

    def update(self) -> None:
        """Takes the weights as they are now into the averages; after each step that changed them.

        Within `tf.function` or without; in all replicas of the strategy or outside of them. In a `tf.cond`, outside.
        """
        updates = tf.cast(self._updates.read_value(), tf.float32)
        share = tf.maximum(1.0 - self._decay, 9.0 / (updates + 9.0))

        # The difference, and not two products: what equals its average stays equal to the last bit.
        def approach(average: tf.Variable, weight: tf.Tensor, share: tf.Tensor) -> None:
            average.assign_add(share * (weight - average))

        self._on_each_device(approach, share)
        self._updates.assign_add(1)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """While the block runs, the model has the averages as its weights, for evaluation; afterwards its own again.

        They change places, to the last bit and without a third copy: a checkpoint must not be saved inside. Before the
        first update there are no averages, and nothing changes.
        """
        if int(self._updates.numpy()) == 0:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @tf.function(autograph=False)
    def _exchange(self) -> None:
        def exchange(average: tf.Variable, weight: tf.Variable) -> None:
            before = tf.identity(average)
            average.assign(weight)
            weight.assign(before)

        self._on_each_device(exchange)

    def _on_each_device(self, change: Callable[..., None], *args: Any) -> None:
        """Calls `change(average, weight, *args)` for each pair, with each device's own copies of both."""

        def everywhere(strategy: tf.distribute.Strategy, *args: Any) -> None:
            for weight, average in self._pairs:
                strategy.extended.update(average, change, args=(weight, *args), group=False)

        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.strategy is self._strategy:
            replica.merge_call(everywhere, args=args)
        else:
            with self._strategy.scope():
                everywhere(self._strategy, *args)


def _changing_weights(model: keras.Model) -> dict[str, tf.Variable]:
    """Weights that are trained, and those that are not but lie in a layer with trained ones: batch-norm statistics."""
    weights = {name: weight for name, weight in named_weights(model).items() if weight.dtype == "float32"}
    trained = {id(weight) for weight in model.trainable_variables}
    layers = {name.rpartition("/")[0] for name, weight in weights.items() if id(weight) in trained}
    return {name: weight.value for name, weight in weights.items() if name.rpartition("/")[0] in layers}


def _like(weight: tf.Variable, name: str) -> tf.Variable:
    return tf.Variable(weight, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
