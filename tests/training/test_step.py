import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.errors import TrainingError
from luminoth.training.update.optimizers import make_optimizer
from luminoth.training.update.step import make_train_step
from luminoth.types import Batch
from tests.training.tiny import TinyDetector


def make_batch(images=2, size=24):
    random = np.random.default_rng(0)
    return Batch(
        images=tf.constant(random.uniform(0, 255, (images, size, size, 3)), tf.float32),
        image_sizes=tf.fill([images, 2], size),
        gt_boxes=tf.constant([[[2.0, 3.0, 12.0, 14.0]]] * images),
        gt_class_ids=tf.zeros([images, 1], tf.int32),
        is_object=tf.fill([images, 1], True),
        is_crowd=tf.fill([images, 1], False),
    )


def any_size(batch):
    return Batch(*(tf.TensorSpec([None] * value.ndim, value.dtype) for value in batch))


def make(model, **options):
    settings = config_from_dict({"train": {"optimizer": {"type": "gradient_descent"}}}).train.optimizer
    optimizer = make_optimizer(settings, model.trainable_variables)
    spec = any_size(make_batch())
    return make_train_step(model, optimizer, tf.distribute.get_strategy(), spec, seed=7, **options)


def test_totals_are_sums_of_the_losses():
    model, batch = TinyDetector(), make_batch()
    values = make(model)(batch, 0, 0.0)
    parts = ("rpn_reg_loss", "rcnn_reg_loss")
    assert values["no_reg_loss"] == pytest.approx(sum(values[name] for name in parts), rel=1e-6)
    assert values["total_loss"] == pytest.approx(values["no_reg_loss"] + values["regularization_loss"], rel=1e-6)


def test_an_update_follows_the_gradient():
    model, batch = TinyDetector(), make_batch()
    before = [variable.numpy() for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        seed = tf.random.fold_in(tf.constant([7, 0], tf.int32), 3)
        total = tf.add_n(list(model.compute_losses(batch, training=True, seed=seed).values()))
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])

    values = make(model)(batch, 3, 0.5)

    norm = np.sqrt(sum(np.sum(gradient.numpy() ** 2) for gradient in gradients))
    assert values["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), start - 0.5 * gradient.numpy(), rtol=1e-4, atol=1e-6)


def test_clipping_shortens_the_update_and_reports_the_norm_before_it():
    model, batch = TinyDetector(), make_batch()
    before = [variable.numpy() for variable in model.trainable_variables]
    values = make(model, clip_by_global_norm=0.01)(batch, 0, 1.0)
    moved = np.sqrt(
        sum(np.sum((v.numpy() - start) ** 2) for v, start in zip(model.trainable_variables, before, strict=True))
    )
    assert values["gradient_norm"] > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_the_seed_depends_on_the_step_alone():
    step = make(TinyDetector())
    batch = make_batch()
    losses = [step(batch, number, 0.0)["rpn_reg_loss"] for number in (0, 1, 0)]
    # Batch norm's statistics move but do not enter the losses of training.
    assert losses[0] == losses[2] != losses[1]


def test_one_trace_serves_all_sizes():
    model = TinyDetector()
    traces = []
    compute_losses = model.compute_losses
    model.compute_losses = lambda *args, **kwargs: traces.append(1) or compute_losses(*args, **kwargs)
    step = make(model)
    for images, size in ((1, 20), (2, 24), (3, 31)):
        step(make_batch(images, size), 0, 0.1)
    assert len(traces) == 1


def test_a_model_with_nothing_to_train_is_refused():
    model = TinyDetector()
    step = make(model)
    model.trainable = False
    with pytest.raises(TrainingError, match="no weight is trainable"):
        step(make_batch(), 0, 0.1)
