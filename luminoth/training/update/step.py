"""One update of the weights, compiled: losses, gradients, their mean over all replicas, clipping, optimizer.

    micro-batch ── on each replica: losses, gradients, statistics ──┐
    micro-batch ── ...                                              ├── mean ── clipped ── optimizer, averages
    micro-batch ── ...                                              ┘  (one all-reduce of everything)

All that an update assigns, it assigns after the all-reduce. So a worker that is lost on the way leaves the others with
the whole state of the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from luminoth.backbones.layers import statistics_collected
from luminoth.boxes.sampling import picture_seeds
from luminoth.errors import TrainingError
from luminoth.training.update.loss_scale import LossScale, all_finite
from luminoth.training.update.moving_average import MovingAverage
from luminoth.training.update.optimizers import clip_gradients
from luminoth.types import Batch

# Names of a step's values that nothing depends on begin with this; they are means over the replicas.
GAUGES = "gauges/"

# The value that says whether a worker asks to stop: the share of replicas whose worker does.
STOP = "stop"

# (batch or micro-batches, updates done before, learning rate, whether this worker asks to stop) -> losses, total_loss,
# no_reg_loss, gradient_norm, stop and gauges
TrainStep = Callable[..., dict[str, float]]


class _Sums(NamedTuple):
    """What the replicas and micro-batches of an update are averaged over; in one replica, or of all of them.

    Attributes:
        gradients: of the trained weights that have one.
        statistics: next values of batch norm's statistics.
        values: losses and gauges by name.
    """

    gradients: list[tf.Tensor]
    statistics: list[tf.Tensor]
    values: dict[str, tf.Tensor]


class _Mean(NamedTuple):
    """The same as means over everything, gradients unscaled and clipped; equal on all replicas."""

    gradients: list[tf.Tensor]
    statistics: list[tf.Tensor]
    values: dict[str, tf.Tensor]
    is_finite: tf.Tensor


def make_train_step(
    model: Any,
    optimizer: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
    batch_spec: Any,
    *,
    seed: int,
    clip_by_norm: float | None = None,
    clip_by_global_norm: float | None = None,
    average: MovingAverage | None = None,
    loss_scale: LossScale | None = None,
    xla: bool = False,
) -> TrainStep:
    """Makes the function that trains a model on one batch, or on several micro-batches as if they were one.

    Losses and gradients are means over all pictures of an update, on whatever replica and in whatever micro-batch they
    are. What is random for a picture (which anchors and RoIs are sampled) depends on `seed`, the step's number and the
    picture's number in the update alone: so a resumed run repeats it, and a divided batch draws what it would in one
    piece. Batch norm that is trained is the exception: it normalises by the pictures that are together in one replica
    and micro-batch; its statistics are averaged over all of them.

    Args:
        model: a `DetectionModel` with all its variables.
        optimizer: built on `model.trainable_variables` (`make_optimizer`).
        strategy: what model and optimizer were made under.
        batch_spec: `tf.TypeSpec`s of the batches (`dataset.element_spec`); one trace serves them all.
        seed: the run's seed.
        clip_by_norm, clip_by_global_norm: of the update's gradient, see `clip_gradients`.
        average: follows the weights; None: no averages are kept.
        loss_scale: for float16. An update whose gradients overflow is left out; its `gradient_norm` reads 0.
        xla: compile with XLA, anew for every size of batch, on one replica; the model must be built for it.

    Returns:
        A function of this worker's rows of the batch, which its replicas share (or a list of micro-batches of equal
        size), the number of updates done before, the learning rate and whether this worker asks to stop. It returns
        numbers on the host: each loss by its name, `total_loss` (their sum), `no_reg_loss` (without
        `regularization_loss`), `gradient_norm` (before clipping), the model's gauges as `gauges/<name>`, and `stop`,
        above 0 where any worker asked. They are equal on all workers.
    """
    replicas = strategy.num_replicas_in_sync
    local_replicas = 1 if replicas == 1 else len(strategy.extended.worker_devices)
    trained: list[keras.Variable] = []  # those that have a gradient, known when a step is traced
    followed: list[keras.Variable] = []  # batch norm's statistics, likewise

    def differentiate(batch: Batch, step: tf.Tensor, micro_batch: tf.Tensor) -> _Sums:
        """In one replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        batch = _rows_of(batch, replica % local_replicas, local_replicas)
        count = tf.shape(batch.images)[0]
        step_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int32), step)
        seeds = picture_seeds(step_seed, count, count * (replicas * micro_batch + replica))
        with tf.GradientTape() as tape, statistics_collected() as statistics:
            losses, gauges = model.observe(batch, training=True, seed=seeds)
            total = tf.add_n(list(losses.values()))
            scaled = total if loss_scale is None else loss_scale.scale(total)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # A weight without influence on the loss has no gradient (a head that is switched off).
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        if not pairs:
            raise TrainingError("no weight is trainable: see model.base_network.trainable and fine_tune_from")
        trained[:], followed[:] = [variable for _, variable in pairs], [variable for variable, _ in statistics]
        without_regularization = [value for name, value in losses.items() if name != "regularization_loss"]
        values = {
            **losses,
            "total_loss": total,
            "no_reg_loss": tf.add_n(without_regularization),
            **{GAUGES + name: value for name, value in gauges.items()},
        }
        gradients = [tf.convert_to_tensor(gradient) for gradient, _ in pairs]
        return _Sums(gradients, [value for _, value in statistics], values)

    def reduce(sums: _Sums, micro_batches: int, stop: tf.Tensor) -> _Mean:
        """In one replica, together with the others."""
        sums = sums._replace(values={**sums.values, STOP: stop * micro_batches})
        mean = _mean_over_replicas(sums, replicas, micro_batches)
        gradients = mean.gradients if loss_scale is None else loss_scale.unscale(mean.gradients)
        is_finite = tf.constant(True) if loss_scale is None else all_finite(gradients)
        clipped, norm = clip_gradients(gradients, by_norm=clip_by_norm, by_global_norm=clip_by_global_norm)
        return _Mean(clipped, mean.statistics, {**mean.values, "gradient_norm": norm}, is_finite)

    def assign(mean: _Mean) -> None:
        """In one replica."""
        optimizer.apply(mean.gradients, trained)
        for variable, value in zip(followed, mean.statistics, strict=True):
            _assign_own(variable, value)

    def change_weights(mean: _Mean) -> None:
        strategy.run(assign, args=(mean,))
        if average is not None:
            average.update()

    def local(value: Any) -> tf.Tensor:
        return strategy.experimental_local_results(value)[0]

    def finish(sums: _Sums, micro_batches: int, learning_rate: tf.Tensor, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        """For all replicas: makes the update that `sums` ask for."""
        mean = strategy.run(reduce, args=(sums, micro_batches, stop))
        optimizer.learning_rate.assign(learning_rate)
        values = {name: local(value) for name, value in mean.values.items()}
        if loss_scale is None:
            change_weights(mean)
            return values
        is_finite = local(mean.is_finite)
        is_skipped = loss_scale.is_overflow(is_finite)
        tf.cond(is_skipped, tf.no_op, lambda: _nothing_after(change_weights, mean))
        with strategy.scope():
            loss_scale.update(is_finite)
        return {**values, "gradient_norm": tf.where(is_skipped, 0.0, values["gradient_norm"])}

    # Without AutoGraph, which models do without: tracing a ResNet takes half the time.
    compiled = {"autograph": False, "jit_compile": xla}
    integer, number = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)

    @tf.function(input_signature=[batch_spec, integer, number, number], **compiled)
    def whole_step(batch: Batch, step: tf.Tensor, learning_rate: tf.Tensor, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = strategy.run(differentiate, args=(batch, step, tf.constant(0)))
        return finish(sums, 1, learning_rate, stop)

    @tf.function(input_signature=[batch_spec, integer, integer], **compiled)
    def part(batch: Batch, step: tf.Tensor, micro_batch: tf.Tensor) -> _Sums:
        return strategy.run(differentiate, args=(batch, step, micro_batch))

    @tf.function(**compiled)
    def add(sums: _Sums, more: _Sums) -> _Sums:
        return strategy.run(lambda a, b: tf.nest.map_structure(tf.add, a, b), args=(sums, more))

    @tf.function(**compiled)
    def last(sums: _Sums, micro_batches: int, learning_rate: tf.Tensor, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        return finish(sums, micro_batches, learning_rate, stop)

    def run(batches: Sequence[Batch], step: tf.Tensor, learning_rate: tf.Tensor, stop: tf.Tensor) -> dict:
        if len(batches) == 1:
            return whole_step(batches[0], step, learning_rate, stop)
        sums = part(batches[0], step, tf.constant(0))
        for index, batch in enumerate(batches[1:], start=1):
            sums = add(sums, part(batch, step, tf.constant(index)))
        return last(sums, len(batches), learning_rate, stop)

    def train_step(batch: Batch | list[Batch], step: int, learning_rate: float, stop: bool = False) -> dict[str, float]:
        values = run(
            batch if isinstance(batch, list) else [batch],
            tf.constant(step, tf.int32),
            tf.constant(learning_rate, tf.float32),
            tf.constant(float(stop)),
        )
        # A handful of scalars, fetched at once: the host has to look for NaN after each step anyway.
        return {name: float(value) for name, value in values.items()}

    return train_step


def _rows_of(batch: Batch, part: int, parts: int) -> Batch:
    """One of so many equal parts of a batch. Cut on the host, so that a device gets no more than its own."""
    if parts == 1:
        return batch
    with tf.device("/device:CPU:0"):
        count = tf.shape(batch.images)[0] // parts
        return Batch(*(field[part * count : (part + 1) * count] for field in batch))


def _mean_over_replicas(sums: _Sums, replicas: int, micro_batches: int) -> _Sums:
    """Called in each replica; the same in all of them afterwards."""
    flat = tf.nest.flatten(sums)
    if replicas > 1:
        # The identities give each tensor a device, which the strategy asks for.
        context = tf.distribute.get_replica_context()
        flat = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(tensor) for tensor in flat])
    count = replicas * micro_batches
    return tf.nest.pack_sequence_as(sums, [tensor / count for tensor in flat] if count > 1 else flat)


def _assign_own(variable: keras.Variable, value: tf.Tensor) -> None:
    """Assigns a value that all replicas have alike, in each replica to its own copy."""

    def assign_copies(strategy: tf.distribute.Strategy, value: Any) -> None:
        strategy.extended.update(variable.value, lambda copy, own: copy.assign(own), args=(value,), group=False)

    tf.distribute.get_replica_context().merge_call(assign_copies, args=(value,))


def _nothing_after(change: Callable[..., None], *args: Any) -> tf.Operation:
    """What a branch of `tf.cond` gives that is there for what it assigns."""
    change(*args)
    return tf.no_op()
