"""Losses for unbalanced classes: focal loss against NumPy, class weights by hand, and how a configuration asks."""

import math
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from luminoth.errors import ConfigError
from luminoth.models.build import build_model
from luminoth.models.faster_rcnn.box_head import BoxHeadOutput, box_head_losses
from luminoth.models.faster_rcnn.roi_targets import RoITargets
from luminoth.models.faster_rcnn.rpn import rpn_losses
from luminoth.models.losses import sigmoid_focal_loss, softmax_focal_loss
from tests.models.test_rpn_and_proposals import output
from tests.models.tiny import batch, tiny_config, tiny_model

FOCAL = [{"alpha": 0.25, "gamma": 2.0}, {"alpha": None, "gamma": 0.5}, {"alpha": 0.9, "gamma": 0.0}]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def focal(p_true, is_foreground, alpha, gamma):
    """Equation 5 of the paper, as it stands there."""
    weights = np.ones_like(p_true) if alpha is None else np.where(is_foreground, alpha, 1 - alpha)
    return -weights * (1 - p_true) ** gamma * np.log(p_true)


def slope(function, at, step):
    """The gradient of a sum of functions of single rows, by differences."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        slopes[place] = (function(up).sum() - function(down).sum()) / (2 * step)
    return slopes


def gradient_of(loss, logits):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(loss(logits))
    return tape.gradient(total, logits).numpy()


# --- functions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", FOCAL, ids=str)
def test_sigmoid_focal_loss_is_the_papers(settings):
    logits = np.asarray([-4.0, -1.0, 0.0, 0.3, 2.5, 5.0] * 2)
    labels = np.repeat([1.0, 0.0], 6)

    def expected(logits):
        p = 1 / (1 + np.exp(-logits))
        return focal(np.where(labels > 0, p, 1 - p), labels > 0, **settings)

    loss = partial(sigmoid_focal_loss, tf.constant(labels, tf.float32), **settings)
    np.testing.assert_allclose(loss(tf.constant(logits, tf.float32)), expected(logits), rtol=1e-5)
    np.testing.assert_allclose(gradient_of(loss, logits), slope(expected, logits, 1e-5), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("settings", FOCAL, ids=str)
def test_softmax_focal_loss_is_the_papers(settings):
    logits = np.random.default_rng(4).normal(0, 2, (8, 4))
    labels = np.asarray([0, 1, 2, 3] * 2)  # 3 is background

    def expected(logits):
        return focal(softmax(logits)[np.arange(8), labels], labels < 3, **settings)

    loss = partial(softmax_focal_loss, tf.constant(labels), **settings)
    np.testing.assert_allclose(loss(tf.constant(logits, tf.float32)), expected(logits), rtol=2e-5)
    np.testing.assert_allclose(gradient_of(loss, logits), slope(expected, logits, 1e-5), rtol=1e-3, atol=1e-6)


def test_by_hand():
    """The paper's own figures: what has 0.9 counts a hundredth of its cross-entropy, with gamma 2."""
    logit = math.log(0.9 / 0.1)
    (loss,) = sigmoid_focal_loss(tf.constant([1.0]), tf.constant([logit]), alpha=None).numpy()
    assert loss == pytest.approx(-math.log(0.9) / 100, rel=1e-4)
    two_columns = tf.constant([[logit, 0.0]])
    (loss,) = softmax_focal_loss(tf.constant([0]), two_columns).numpy()
    assert loss == pytest.approx(-math.log(0.9) / 100, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_values_and_gradients_are_finite_at_any_logit(gamma):
    logits = np.asarray([-1e4, -100.0, 0.0, 100.0, 1e4], np.float32)
    for label in (0.0, 1.0):
        loss = partial(sigmoid_focal_loss, tf.fill([5], label), gamma=gamma)
        assert np.isfinite(loss(tf.constant(logits))).all()
        assert np.isfinite(gradient_of(loss, logits)).all()
    columns = np.stack([logits, -logits], axis=1)
    for label in (0, 1):
        loss = partial(softmax_focal_loss, tf.fill([5], label), gamma=gamma)
        assert np.isfinite(loss(tf.constant(columns))).all()
        assert np.isfinite(gradient_of(loss, columns)).all()


# --- stages -------------------------------------------------------------------------------------------------


def test_the_rpns_focal_loss_counts_all_anchors_and_is_divided_by_the_foreground():
    """Anchors 0 and 2 lie on objects, 1 is background, 3 reaches out of the picture; a minibatch would hold one."""
    truth = batch([[[0, 0, 20, 20], [60, 10, 90, 40]]], size=(64, 96))
    logits = [1.0, -2.0, 0.5, 9.0]
    settings = {"minibatch_size": 2, "foreground_fraction": 0.5}
    plain = rpn_losses(output(logits), truth, tf.constant([1, 2]), **settings)
    found = rpn_losses(output(logits), truth, tf.constant([1, 2]), focal_loss=sigmoid_focal_loss, **settings)
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    expected = focal(np.asarray([p[0], 1 - p[1], p[2]]), np.asarray([True, False, True]), 0.25, 2.0).sum() / 2
    assert float(found.classification) == pytest.approx(expected, rel=1e-5)
    assert float(found.regression) == float(plain.regression)
    assert found.is_sampled.numpy().tolist() == [[True, True, True, False]]


def test_the_rpns_focal_loss_without_an_object():
    found = rpn_losses(output([0.0, 0.0, 0.0, 5.0]), batch([[]]), tf.constant([1, 2]), focal_loss=sigmoid_focal_loss)
    assert float(found.classification) == pytest.approx(3 * 0.75 * 0.25 * math.log(2), rel=1e-5)


def head_losses(**settings):
    """Of three RoIs, of class 1, of class 0 and background, and one that is padding; logits [4, 3]."""
    logits = np.asarray([[0.0, 1.0, 0.0], [0.5, 0.0, 2.0], [1.0, 0.0, 0.0], [9.0, 9.0, 9.0]], np.float32)
    rois = np.tile(np.asarray([0, 0, 10, 10], np.float32), (1, 4, 1))
    foreground, sampled = np.asarray([[True, True, False, False]]), np.asarray([[True, True, True, False]])
    targets = RoITargets(
        *map(tf.constant, (rois, np.asarray([[1, 0, 2, 2]]), rois, foreground, sampled, np.asarray([[0, 1, 2, 3]])))
    )
    deltas = tf.fill([1, 4, 2, 4], 0.5)
    losses = box_head_losses(
        BoxHeadOutput(tf.constant(logits[None]), deltas), targets, variances=(0.1, 0.2), beta=1.0, **settings
    )
    return softmax(logits[:3].astype(float))[np.arange(3), [1, 0, 2]], *map(float, losses)


def test_class_weights_by_hand():
    p_true, plain, plain_boxes = head_losses()
    _, weighted, boxes = head_losses(class_weights=[3.0, 0.5])
    assert plain == pytest.approx(-np.log(p_true).sum() / 3, rel=1e-5)
    assert weighted == pytest.approx(-(np.log(p_true) * [0.5, 3.0, 1.0]).sum() / 3, rel=1e-5)
    assert boxes == plain_boxes
    assert head_losses(class_weights=[1.0, 1.0])[1] == plain


def test_focal_loss_of_the_head_by_hand():
    p_true, found, _ = head_losses(class_loss=partial(softmax_focal_loss, alpha=0.25, gamma=2.0))
    expected = focal(p_true, np.asarray([True, True, False]), 0.25, 2.0).sum() / 3
    assert found == pytest.approx(expected, rel=1e-5)
    _, both, _ = head_losses(class_loss=softmax_focal_loss, class_weights=[3.0, 0.5])
    assert both == pytest.approx((focal(p_true, None, None, 2.0) * [0.5, 3.0, 1.0]).sum() / 3, rel=1e-5)


# --- configuration ------------------------------------------------------------------------------------------


def test_the_configuration_decides():
    pictures, seed = batch([[[8, 8, 40, 40]], [[30, 10, 80, 50]]], [[0], [2]]), tf.constant([3, 4])
    ways = {
        "plain": (),
        "rpn": ("model.rpn.cls_loss={type: focal, gamma: 1, prior: 0.5}",),  # as before: a bias of 0
        "rcnn": ("model.rcnn.cls_loss.type=focal",),
        "weights": ("model.rcnn.class_weights=[2, 1, 2]",),
    }
    found = {}
    for name, overrides in ways.items():
        losses = tiny_model(*overrides).compute_losses(pictures, training=False, seed=seed)
        found[name] = {loss: float(value) for loss, value in losses.items()}
    for name, changed in {"rpn": "rpn_cls_loss", "rcnn": "rcnn_cls_loss", "weights": "rcnn_cls_loss"}.items():
        assert {loss for loss, value in found[name].items() if value != found["plain"][loss]} == {changed}
    assert found["rcnn"]["rcnn_cls_loss"] < found["plain"]["rcnn_cls_loss"] < found["weights"]["rcnn_cls_loss"]


def test_focal_loss_begins_with_its_prior():
    model = build_model(tiny_config("model.rpn.cls_loss={type: focal, prior: 0.02}"), 3)
    np.testing.assert_allclose(tf.sigmoid(model.rpn.objectness.bias), 0.02, rtol=1e-5)
    plain = build_model(tiny_config(), 3)
    assert not np.any(plain.rpn.objectness.bias)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("[1, 2]", r"model\.rcnn\.class_weights: has 2 numbers; there are 3 classes"),
        ("auto", "only `lumi train` knows the classes"),
        ("{car: 2}", "only `lumi train` knows the classes"),
    ],
)
def test_class_weights_that_do_not_fit(weights, message):
    with pytest.raises(ConfigError, match=message):
        build_model(tiny_config(f"model.rcnn.class_weights={weights}"), 3)
