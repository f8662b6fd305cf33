import math

import numpy as np
import pytest
import tensorflow as tf

from luminoth.boxes.anchors import anchor_shapes
from luminoth.boxes.deltas import encode
from luminoth.models.faster_rcnn.proposals import propose
from luminoth.models.faster_rcnn.rpn import RPN, RPNOutput, rpn_losses
from tests.models.tiny import batch

ANCHORS = np.array([[0, 0, 20, 20], [30, 30, 50, 50], [60, 10, 90, 40], [-10, 0, 10, 20]], np.float32)


def output(logits, deltas=None):
    logits = np.asarray([logits], np.float32)
    deltas = np.zeros((*logits.shape, 4), np.float32) if deltas is None else np.asarray([deltas], np.float32)
    return RPNOutput(tf.constant(ANCHORS), tf.constant(logits), tf.constant(deltas))


def test_outputs_are_flattened_in_the_anchors_order():
    rpn = RPN(1, anchor_shapes(16, [1], [1, 2]), stride=16, channels=1, kernel_size=1, activation=None)
    for conv in (rpn.conv, rpn.objectness, rpn.deltas):
        conv.kernel.assign(tf.zeros_like(conv.kernel))
    rpn.conv.kernel.assign([[[[1.0]]]])
    # background of anchor 0, object of anchor 0, background of anchor 1, object of anchor 1
    rpn.objectness.kernel.assign([[[[1.0, 3.0, 0.0, 7.0]]]])
    rpn.deltas.kernel.assign(np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8))
    result = rpn(tf.constant([[[[1.0], [10.0]]]]))  # one row, two columns
    assert result.objectness_logits.numpy().tolist() == [[2, 7, 20, 70]]
    assert result.deltas.numpy()[0, 1].tolist() == [4, 5, 6, 7]
    assert result.deltas.numpy()[0, 2].tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(result.anchors[2], [16, 0, 32, 16])


def test_losses_by_hand():
    """Two objects: anchor 0 lies on one, anchor 2 overlaps the other by 0.75; anchor 1 is background."""
    truth = batch([[[0, 0, 20, 20], [60, 10, 90, 32.5]]], size=(64, 96))
    deltas = np.zeros((4, 4), np.float32)
    deltas[0] = [0.05, 0, 0, 2.0]
    class_loss, box_loss = rpn_losses(
        output([1.0, -2.0, 0.5, 9.0], deltas), truth, tf.constant([1, 2]), minibatch_size=4, l1_sigma=1.0
    )
    # Anchor 3 reaches over the left edge and is left out.
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-0.5))) / 3
    assert float(class_loss) == pytest.approx(expected, rel=1e-5)
    second = encode(tf.constant(ANCHORS[2]), tf.constant([60.0, 10.0, 90.0, 32.5])).numpy()
    expected_boxes = 0.5 * 0.05**2 + (2.0 - 0.5) + 0.5 * np.sum(second**2)
    assert float(box_loss) == pytest.approx(expected_boxes / 3, rel=1e-5)


def test_anchors_over_the_edge_take_part_when_allowed():
    truth = batch([[[-10, 0, 10, 20]]])
    strict, _ = rpn_losses(output([0.0, 0.0, 0.0, 5.0]), truth, tf.constant([1, 2]), minibatch_size=8)
    wide, _ = rpn_losses(output([0.0, 0.0, 0.0, 5.0]), truth, tf.constant([1, 2]), minibatch_size=8, allowed_border=10)
    assert float(strict) == pytest.approx(math.log(2), rel=1e-5)
    assert float(wide) < float(strict)


def test_random_seed_draws_another_sample():
    def loss(**settings):
        truth = batch([[]])
        return float(
            rpn_losses(output([1.0, -2.0, 0.5, 9.0]), truth, tf.constant([1, 2]), minibatch_size=1, **settings)[0]
        )

    assert loss() == loss()
    assert len({loss(random_seed=seed) for seed in range(8)}) > 1


def test_proposals_by_hand():
    deltas = np.zeros((4, 4), np.float32)
    deltas[1] = [0.5, 0, math.log(2), 0]  # 10 to the right, twice as wide: [30, 30, 70, 50]
    proposals = propose(
        output([1.0, 3.0, 2.0, 0.0], deltas), tf.constant([[45, 80]]), pre_nms_top_n=10, post_nms_top_n=6
    )
    assert proposals.is_valid.numpy().tolist() == [[True, True, True, True, False, False]]
    np.testing.assert_allclose(
        proposals.boxes[0],
        [[30, 30, 70, 45], [60, 10, 80, 40], [0, 0, 20, 20], [0, 0, 10, 20], [0] * 4, [0] * 4],
        atol=1e-4,
    )
    np.testing.assert_allclose(proposals.scores[0, :4], 1 / (1 + np.exp(-np.array([3.0, 2, 1, 0]))), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"pre_nms_top_n": 2}, [1, 2]),
        ({"post_nms_top_n": 1}, [1]),
        ({"nms_threshold": 0.4}, [1, 2, 0]),  # 3, clipped, overlaps 0 by 0.5
        ({"nms_threshold": 0.4, "apply_nms": False}, [1, 2, 0, 3]),
        ({"filter_outside_anchors": True}, [1, 2, 0]),
        ({"min_size": 15}, [1, 2, 0]),
        ({"min_prob_threshold": 0.8}, [1, 2]),
        ({"nms_threshold": 0.4, "clip_after_nms": True}, [1, 2, 0, 3]),  # unclipped they overlap by a third
    ],
)
def test_proposal_options(settings, kept):
    proposals = propose(
        output([1.0, 3.0, 2.0, 0.0]), tf.constant([[64, 96]]), **{"pre_nms_top_n": 10, "post_nms_top_n": 4, **settings}
    )
    found = proposals.boxes[0].numpy()[proposals.is_valid[0].numpy()]
    np.testing.assert_allclose(found, np.clip(ANCHORS[kept], 0, None), atol=1e-4)


def test_proposals_are_constants_to_the_second_stage():
    logits = tf.Variable([[1.0, 3.0, 2.0, 0.0]])
    deltas = tf.Variable(tf.zeros((1, 4, 4)))
    with tf.GradientTape() as tape:
        proposals = propose(
            RPNOutput(tf.constant(ANCHORS), logits, deltas), tf.constant([[64, 96]]), pre_nms_top_n=4, post_nms_top_n=4
        )
        total = tf.reduce_sum(proposals.boxes) + tf.reduce_sum(proposals.scores)
    assert tape.gradient(total, [logits, deltas]) == [None, None]
