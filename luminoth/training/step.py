"""One update of the weights, compiled: losses, gradients, clipping, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from luminoth.errors import TrainingError
from luminoth.training.optimizers import clip_gradients
from luminoth.types import Batch

# (batch, updates done before, learning rate) -> losses, total_loss, no_reg_loss and gradient_norm
TrainStep = Callable[[Batch, int, float], dict[str, float]]


def make_train_step(
    model: Any,
    optimizer: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
    batch_spec: Any,
    *,
    seed: int,
    clip_by_norm: float | None = None,
    clip_by_global_norm: float | None = None,
    xla: bool = False,
) -> TrainStep:
    """Makes the function that trains a model on one batch.

    What is random in a step (which anchors and RoIs are sampled) depends on `seed` and the step's number
    alone, so that a resumed run repeats it.

    Args:
        model: a `DetectionModel` with all its variables.
        optimizer: built on `model.trainable_variables`.
        strategy: what model and optimizer were made under.
        batch_spec: `tf.TypeSpec`s of the batches (`dataset.element_spec`); one trace serves them all.
        seed: the run's seed.
        clip_by_norm, clip_by_global_norm: see `clip_gradients`.
        xla: compile with XLA, anew for every size of batch; the model must be built for it.

    Returns:
        A function of the batch, the number of updates done before and the learning rate. It returns numbers
        on the host: each loss by its name, `total_loss` (their sum), `no_reg_loss` (without
        `regularization_loss`) and `gradient_norm` (before clipping).
    """
    replicas = strategy.num_replicas_in_sync

    def replica_step(batch: Batch, step_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = model.compute_losses(batch, training=True, seed=step_seed)
            total = tf.add_n(list(losses.values()))
            # The optimizer adds the replicas' gradients up.
            replica_loss = total / replicas
        variables = model.trainable_variables
        gradients = tape.gradient(replica_loss, [variable.value for variable in variables])
        # A weight without influence on the loss has no gradient (a head that is switched off).
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        if not pairs:
            raise TrainingError("no weight is trainable: see model.base_network.trainable and fine_tune_from")
        clipped, norm = clip_gradients(
            [gradient for gradient, _ in pairs], by_norm=clip_by_norm, by_global_norm=clip_by_global_norm
        )
        optimizer.apply(clipped, [variable for _, variable in pairs])
        without_regularization = [value for name, value in losses.items() if name != "regularization_loss"]
        return {
            **losses,
            "total_loss": total,
            "no_reg_loss": tf.add_n(without_regularization),
            "gradient_norm": norm,
        }

    # Without AutoGraph, which models do without: tracing a ResNet takes half the time.
    @tf.function(
        input_signature=[batch_spec, tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)],
        autograph=False,
        jit_compile=xla,
    )
    def step_on_all_replicas(batch: Batch, step: tf.Tensor, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        optimizer.learning_rate.assign(learning_rate)
        step_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int32), step)
        values = strategy.run(replica_step, args=(batch, step_seed))
        return {name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None) for name, value in values.items()}

    def train_step(batch: Batch, step: int, learning_rate: float) -> dict[str, float]:
        values = step_on_all_replicas(batch, tf.constant(step, tf.int32), tf.constant(learning_rate, tf.float32))
        # A handful of scalars, fetched at once: the host has to look for NaN after each step anyway.
        return {name: float(value) for name, value in values.items()}

    return train_step
