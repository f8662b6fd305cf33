"""Micro-batches in the compiled step: means over all of them, then clipping; batch norm; a scaled loss."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Conv
from luminoth.boxes.sampling import picture_seeds
from luminoth.config import config_from_dict
from luminoth.training.pieces import describe_pieces, join
from luminoth.training.update.loss_scale import LossScale
from luminoth.training.update.moving_average import MovingAverage
from luminoth.training.update.optimizers import make_optimizer
from luminoth.training.update.step import make_train_step
from luminoth.types import Batch, BatchInfo
from tests.training.tiny import TinyDetector

SEED = 7


class NormedDetector(TinyDetector):
    """The tiny detector after a convolution whose batch norm is trained."""

    def __init__(self, factor=1.0):
        self.factor = factor
        super().__init__()
        self.stem = Conv(3, 3, norm=True, train_norm=True, name="stem")

    def _boxes(self, images, training):
        if not hasattr(self, "stem"):
            return super()._boxes(images, training)
        # Keras' own batch norm behind it stays as it is.
        return super()._boxes(255.0 * self.stem(images / 255.0, training=training), training=False)

    def compute_losses(self, batch, *, training, seed):
        losses = super().compute_losses(batch, training=training, seed=seed)
        return {name: self.factor * value for name, value in losses.items()}


def make_batch(images, seed, size=24):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 8, (images, 1, 2))
    return Batch(
        images=tf.constant(random.uniform(0, 255, (images, size, size, 3)), tf.float32),
        image_sizes=tf.fill([images, 2], size),
        gt_boxes=tf.constant(np.concatenate([corners, corners + 10], axis=-1), tf.float32),
        gt_class_ids=tf.zeros([images, 1], tf.int32),
        is_object=tf.fill([images, 1], True),
        is_crowd=tf.fill([images, 1], False),
    )


def make(model, **options):
    settings = config_from_dict({"train": {"optimizer": {"type": "gradient_descent"}}}).train.optimizer
    optimizer = make_optimizer(settings, model.trainable_variables)
    spec = Batch(*(tf.TensorSpec([None] * value.ndim, value.dtype) for value in make_batch(1, 0)))
    return make_train_step(model, optimizer, tf.distribute.get_strategy(), spec, seed=SEED, **options)


def gradients_by_hand(model, batches, step):
    """Mean of the micro-batches' gradients, and of their losses."""
    step_seed = tf.random.fold_in(tf.constant([SEED, 0], tf.int32), step)
    gradients, losses, first = [], [], 0
    statistics = [variable.numpy() for variable in model.non_trainable_variables]
    for batch in batches:
        count = len(batch.images)
        with tf.GradientTape() as tape:
            seeds = picture_seeds(step_seed, count, first)
            total = tf.add_n(list(model.compute_losses(batch, training=True, seed=seeds).values()))
        gradients.append(tape.gradient(total, [variable.value for variable in model.trainable_variables]))
        losses.append(float(total))
        first += count
    for variable, value in zip(model.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    means = [np.mean([np.array(each) for each in of_weight], axis=0) for of_weight in zip(*gradients, strict=True)]
    return means, np.mean(losses)


def test_micro_batches_are_averaged_and_then_clipped():
    batches = [make_batch(2, 1), make_batch(2, 2), make_batch(2, 3)]
    for limit in (None, 0.01):
        model = NormedDetector()
        before = [variable.numpy() for variable in model.trainable_variables]
        gradients, loss = gradients_by_hand(model, batches, step=4)
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))

        values = make(model, clip_by_global_norm=limit)(batches, 4, 0.5)

        assert values["total_loss"] == pytest.approx(loss, rel=1e-5)
        assert values["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        factor = 1.0 if limit is None else limit / norm
        for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
            np.testing.assert_allclose(variable.numpy(), start - 0.5 * factor * gradient, rtol=1e-4, atol=1e-6)


def test_statistics_of_batch_norm_are_averaged_over_micro_batches():
    batches = [make_batch(2, 1), make_batch(2, 2)]
    model = NormedDetector()
    kernel = model.stem.kernel.numpy()[0, 0]
    means = [np.mean((batch.images.numpy() / 255.0) @ kernel, axis=(0, 1, 2)) for batch in batches]
    make(model)(batches, 0, 0.1)
    np.testing.assert_allclose(model.stem.moving_mean.numpy(), 0.03 * np.mean(means, axis=0), rtol=1e-4, atol=1e-6)


def test_an_update_whose_scaled_gradients_overflow_is_left_out_whole():
    batches = [make_batch(2, 1), make_batch(2, 2)]
    model = NormedDetector(factor=1e36)
    loss_scale, average = LossScale(), MovingAverage(model, 0.9)
    step = make(model, loss_scale=loss_scale, average=average)
    before = [variable.numpy() for variable in model.variables]
    for batch in (batches[0], batches):
        values = step(batch, 0, 1e-36)
        assert np.isfinite(values["total_loss"])
        assert values["gradient_norm"] == 0.0
    assert (float(loss_scale.scale_value), int(loss_scale.skipped)) == (2.0**13, 2)
    assert int(average.variables["moving_average/updates"]) == 0
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_scaled_loss_makes_the_same_update():
    batches = [make_batch(2, 1), make_batch(2, 2)]
    plain, scaled = NormedDetector(), NormedDetector()
    for variable, other in zip(scaled.variables, plain.variables, strict=True):
        variable.assign(other)
    expected = make(plain, clip_by_global_norm=0.1)(batches, 0, 0.1)
    loss_scale = LossScale()
    average = MovingAverage(scaled, 0.9)
    values = make(scaled, clip_by_global_norm=0.1, loss_scale=loss_scale, average=average)(batches, 0, 0.1)
    assert values == pytest.approx(expected, rel=1e-5)
    for variable, other in zip(scaled.variables, plain.variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-5, atol=1e-7)
    assert (int(loss_scale.skipped), int(average.variables["moving_average/updates"])) == (0, 1)


def test_a_worker_that_asks_to_stop_is_heard():
    step = make(TinyDetector())
    batches = [make_batch(1, 1), make_batch(1, 2)]
    assert [step(batches, 0, 0.0, stop)["stop"] for stop in (False, True)] == [0.0, 1.0]
    assert step(batches[0], 0, 0.0, True)["stop"] == 1.0


def test_pieces_are_joined_for_a_person():
    first, second = make_batch(2, 1, size=20), make_batch(2, 2, size=24)
    info = [BatchInfo(tf.constant([f"{name}0", f"{name}1"]), tf.constant([[9, 9]] * 2)) for name in "ab"]
    pieces = [(first, info[0]), (second, info[1])]
    batch, joined = join(pieces)
    assert describe_pieces(pieces) == "2 images of 24 x 24"
    assert [name.decode() for name in joined.image_ids.numpy()] == ["a0", "a1", "b0", "b1"]
    np.testing.assert_array_equal(batch.images[:2, :20, :20], first.images)
    assert not batch.images[:2, 20:].numpy().any()
    np.testing.assert_array_equal(batch.images[2:], second.images)
    np.testing.assert_array_equal(batch.gt_boxes, tf.concat([first.gt_boxes, second.gt_boxes], axis=0))
    assert join(pieces[:1]) is pieces[0]
