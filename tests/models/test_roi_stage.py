import math

import numpy as np
import pytest
import tensorflow as tf

from luminoth.boxes.deltas import encode
from luminoth.errors import ModelError
from luminoth.models.faster_rcnn.box_head import BoxHead, BoxHeadOutput, box_head_losses
from luminoth.models.faster_rcnn.detections import select_detections
from luminoth.models.faster_rcnn.proposals import Proposals
from luminoth.models.faster_rcnn.roi_align import roi_crop
from luminoth.models.faster_rcnn.roi_targets import RoITargets, sample_rois, with_ground_truth
from tests.models.tiny import batch


def proposals(boxes, is_valid=None):
    boxes = np.asarray([boxes], np.float32)
    is_valid = np.ones(boxes.shape[:2], bool) if is_valid is None else np.array([is_valid])
    return Proposals(tf.constant(boxes), tf.ones(boxes.shape[:2]), tf.constant(is_valid))


def test_roi_crop_is_luminoths_crop_and_max_pool():
    features = np.random.default_rng(0).normal(size=(1, 6, 8, 2)).astype(np.float32)
    rois = np.array([[[0, 0, 64, 48], [16, 8, 40, 40]]], np.float32)
    pooled = roi_crop([tf.constant(features)], tf.constant(rois), strides=[8], output_size=(2, 2)).numpy()
    normalised = rois[0][:, [1, 0, 3, 2]] / [48, 64, 48, 64]
    crops = tf.image.crop_and_resize(features, normalised, [0, 0], (4, 4)).numpy()
    np.testing.assert_allclose(pooled[0], crops.reshape(2, 2, 2, 2, 2, 2).max(axis=(2, 4)), atol=1e-5)
    with pytest.raises(ModelError, match="one map"):
        roi_crop([tf.constant(features)] * 2, tf.constant(rois), strides=[4, 8], output_size=(2, 2))


# Targets -------------------------------------------------------------------------------------------------------


def test_sampled_rois_carry_class_and_box_of_their_object():
    truth = batch([[[0, 0, 20, 20], [40, 10, 80, 50]]], class_ids=[[2, 1]])
    found = proposals([[0, 0, 20, 18], [42, 10, 80, 50], [0, 40, 10, 60], [0, 0, 20, 8]])
    targets = sample_rois(
        with_ground_truth(found, truth), truth, 3, tf.constant([1, 2]), minibatch_size=8, foreground_fraction=0.5
    )
    rows = {
        tuple(np.round(roi, 1)): (int(c), tuple(box), bool(fg))
        for roi, c, box, fg, ok, _ in zip(*(t[0].numpy() for t in targets), strict=True)
        if ok
    }
    first, second = (0.0, 0.0, 20.0, 20.0), (40.0, 10.0, 80.0, 50.0)
    assert rows == {
        (0.0, 0.0, 20.0, 18.0): (2, first, True),
        (42.0, 10.0, 80.0, 50.0): (1, second, True),
        first: (2, first, True),  # the ground truth itself is a candidate
        second: (1, second, True),
        (0.0, 40.0, 10.0, 60.0): (3, (0.0, 40.0, 10.0, 60.0), False),
        (0.0, 0.0, 20.0, 8.0): (3, (0.0, 0.0, 20.0, 8.0), False),
    }
    assert targets.is_sampled.numpy().sum() == 6
    assert targets.rois.shape == (1, 8, 4)


def test_invalid_proposals_and_crowds_are_not_sampled():
    truth = batch([[[0, 0, 60, 60]]], is_crowd=[[True]])
    found = proposals([[0, 0, 50, 50], [70, 0, 90, 20], [70, 0, 90, 20]], is_valid=[True, True, False])
    targets = sample_rois(with_ground_truth(found, truth), truth, 3, tf.constant([1, 2]), minibatch_size=4)
    assert targets.is_sampled.numpy().tolist() == [[True, False, False, False]]
    assert targets.rois[0, 0].numpy().tolist() == [70, 0, 90, 20]
    assert targets.class_ids[0, 0] == 3


# Head ----------------------------------------------------------------------------------------------------------


def test_head_by_hand():
    head = BoxHead((1, 1, 2), 2, layer_sizes=[1], activation="relu")
    head.hidden[0].kernel.assign([[1.0], [1.0]])
    head.classes.kernel.assign([[1.0, 2.0, 3.0]])
    head.deltas.kernel.assign([np.arange(8.0)])
    output = head(tf.constant([[[[[1.0, 1.0]]], [[[-5.0, 0.0]]]]]))
    assert output.class_logits.numpy().tolist() == [[[2, 4, 6], [0, 0, 0]]]
    assert output.deltas.numpy()[0, 0].tolist() == [[0, 2, 4, 6], [8, 10, 12, 14]]


def test_the_grid_is_flattened_row_by_row_or_averaged():
    grids = tf.constant(np.arange(12, dtype=np.float32).reshape(1, 1, 2, 3, 2))
    flat, mean = BoxHead((2, 3, 2), 1), BoxHead((2, 3, 2), 1, use_mean=True)
    flat.classes.kernel.assign(np.stack([np.arange(12.0), np.ones(12)], axis=1))
    mean.classes.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    assert flat(grids).class_logits.numpy().tolist() == [[[506, 66]]]  # the sum of squares of 0 ... 11, and their sum
    assert mean(grids).class_logits.numpy().tolist() == [[[5, 6]]]


def test_convolutions_come_before_the_fully_connected_layers():
    head = BoxHead((2, 2, 1), 1, conv_channels=[2, 1], layer_sizes=[1], activation="relu")
    first, second = head.convs
    kernel = np.zeros((3, 3, 1, 2))
    kernel[1, 1, 0] = [1, -1]  # each value itself, and its negative, which ReLU cuts
    first.kernel.assign(kernel)
    first.moving_variance.assign([1 - 1e-5] * 2)
    second.kernel.assign(np.ones((3, 3, 2, 1)))  # sums all four cells
    second.moving_mean.assign([4.0])
    second.moving_variance.assign([4 - 1e-5])
    head.hidden[0].kernel.assign(np.ones((4, 1)))
    head.classes.kernel.assign([[1.0, 2.0]])
    grids = tf.constant([[[[[1.0], [2.0]], [[-5.0], [3.0]]]]])
    # ReLU leaves 1, 2, 3 of the first channel and 5 of the second: 11 in all; (11 - 4) / 2 in each of four cells.
    np.testing.assert_allclose(head(grids).class_logits, [[[14, 28]]], rtol=1e-5)


def test_dropout_only_in_training_and_by_seed():
    head = BoxHead((1, 1, 4), 2, layer_sizes=[64], dropout_rate=0.5)
    features = tf.ones((1, 3, 1, 1, 4))
    seed = tf.constant([1, 2])
    still = head(features).class_logits.numpy()
    np.testing.assert_array_equal(still, head(features, training=False).class_logits.numpy())
    dropped = head(features, training=True, seed=seed).class_logits.numpy()
    assert np.abs(dropped - still).max() > 0
    np.testing.assert_array_equal(dropped, head(features, training=True, seed=seed).class_logits.numpy())


def test_head_losses_by_hand():
    rois = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 0, 0]]], np.float32)
    boxes = np.array([[[1, 0, 11, 10], [20, 20, 40, 40], [0, 0, 0, 0]]], np.float32)
    targets = RoITargets(
        *map(
            tf.constant,
            (
                rois, np.array([[1, 2, 2]]), boxes, np.array([[True, False, False]]), np.array([[True, True, False]]),
                np.array([[0, 1, 2]]),
            ),
        )
    )  # fmt: skip
    logits = np.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [9.0, 9.0, 9.0]]], np.float32)
    deltas = np.zeros((1, 3, 2, 4), np.float32)
    deltas[0, 0, 1] = [0.5, 0, 0, 0]  # the true one is 0.1 / 0.1 = 1
    deltas[0, 0, 0] = 100.0  # of another class: does not count
    class_loss, box_loss = box_head_losses(
        BoxHeadOutput(tf.constant(logits), tf.constant(deltas)), targets, variances=(0.1, 0.2), beta=1.0
    )
    expected = (-1 + math.log(2 + math.e) + -2 + math.log(2 + math.exp(2))) / 2
    assert float(class_loss) == pytest.approx(expected, rel=1e-5)
    assert float(box_loss) == pytest.approx(0.5 * 0.5**2 / 2, rel=1e-5)


# Detections ----------------------------------------------------------------------------------------------------


def select(logits, boxes, deltas=None, is_valid=None, size=(64, 96), **settings):
    logits = np.asarray([logits], np.float32)
    count = logits.shape[2] - 1
    deltas = np.zeros((1, len(boxes), count, 4), np.float32) if deltas is None else np.asarray([deltas], np.float32)
    output = BoxHeadOutput(tf.constant(logits), tf.constant(deltas))
    result = select_detections(
        output,
        proposals(boxes, is_valid),
        tf.constant([size]),
        **{"min_score": 0.3, "total_max_detections": 5, **settings},
    )
    valid = result.is_valid[0].numpy()
    return [
        (int(c), [round(float(v), 2) for v in box], round(float(s), 3))
        for box, s, c, ok in zip(result.boxes[0], result.scores[0], result.class_ids[0], valid, strict=True)
        if ok
    ]


def logit(*probabilities):
    return np.log(np.maximum(probabilities, 1e-9))


def test_detections_by_hand():
    boxes = [[0, 0, 20, 20], [1, 0, 21, 20], [40, 10, 80, 50]]
    found = select([logit(0.7, 0.1, 0.2), logit(0.8, 0.1, 0.1), logit(0.1, 0.5, 0.4)], boxes)
    assert found == [(0, [1, 0, 21, 20], 0.8), (1, [40, 10, 80, 50], 0.5)]


def test_each_class_has_its_own_box():
    deltas = encode(
        tf.constant([[0.0, 0, 20, 20]] * 2), tf.constant([[10.0, 10, 20, 20], [0, 0, 200, 40]]), (0.1, 0.2)
    ).numpy()
    found = select([logit(0.45, 0.4, 0.15)], [[0, 0, 20, 20]], [deltas])
    assert found == [(0, [10, 10, 20, 20], 0.45), (1, [0, 0, 96, 40], 0.4)]  # the second clipped to the picture


def test_padding_rois_give_nothing():
    assert select([logit(0.9, 0.0, 0.1)] * 2, [[0, 0, 20, 20], [40, 0, 60, 20]], is_valid=[False, True]) == [
        (0, [40, 0, 60, 20], 0.9)
    ]


def test_limits_a_class_and_in_total():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(4)]
    logits = [logit(0.9, 0.05, 0.05), logit(0.8, 0.1, 0.1), logit(0.7, 0.2, 0.1), logit(0.1, 0.6, 0.3)]
    assert [row[0] for row in select(logits, boxes)] == [0, 0, 0, 1]
    assert [row[2] for row in select(logits, boxes, class_max_detections=1)] == [0.9, 0.6]
    assert [row[2] for row in select(logits, boxes, class_max_detections=2, total_max_detections=3)] == [0.9, 0.8, 0.6]
    assert [row[2] for row in select(logits, boxes, total_max_detections=2)] == [0.9, 0.8]
    assert [row[2] for row in select(logits, boxes, min_score=0.75)] == [0.9, 0.8]
