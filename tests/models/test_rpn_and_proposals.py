import math

import numpy as np
import pytest
import tensorflow as tf

from luminoth.boxes.anchors import anchor_shapes
from luminoth.boxes.deltas import encode
from luminoth.models.faster_rcnn.proposals import propose
from luminoth.models.faster_rcnn.rpn import RPN, RPNOutput, joined, rpn_losses
from tests.models.tiny import batch

ANCHORS = np.array([[0, 0, 20, 20], [30, 30, 50, 50], [60, 10, 90, 40], [-10, 0, 10, 20]], np.float32)


def output(logits, deltas=None):
    logits = np.asarray([logits], np.float32)
    deltas = np.zeros((*logits.shape, 4), np.float32) if deltas is None else np.asarray([deltas], np.float32)
    return [RPNOutput(tf.constant(ANCHORS), tf.constant(logits), tf.constant(deltas))]


def by_hand_rpn(shapes, strides, **settings):
    """An RPN of 1 x 1 convolutions, which multiply: logits 3 and 7, deltas 0 ... 7, times the feature."""
    rpn = RPN(1, shapes, strides=strides, channels=1, kernel_size=1, activation=None, **settings)
    for conv in rpn.convs:
        conv.kernel.assign([[[[1.0]]]])
    rpn.objectness.kernel.assign([[[[3.0, 7.0]]]])
    rpn.deltas.kernel.assign(np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8))
    return rpn


def test_outputs_are_flattened_in_the_anchors_order():
    rpn = by_hand_rpn([anchor_shapes([16, 32], [1])], [16])
    (result,) = rpn([tf.constant([[[[1.0], [10.0]]]])], input_size=(16, 32))  # one row, two columns
    assert result.objectness_logits.numpy().tolist() == [[3, 7, 30, 70]]
    assert result.deltas.numpy()[0, 1].tolist() == [4, 5, 6, 7]
    assert result.deltas.numpy()[0, 2].tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(result.anchors[2], [16, 0, 32, 16])


def test_the_same_weights_serve_every_map_with_its_own_anchors():
    rpn = by_hand_rpn([anchor_shapes([8, 16], [1]), anchor_shapes([32, 64], [1])], [8, 16], num_convs=2)
    assert [conv.name for conv in rpn.convs] == ["conv", "conv2"]
    fine, coarse = rpn([tf.constant([[[[1.0], [2.0]]]]), tf.constant([[[[5.0]]]])], input_size=(8, 16))
    assert fine.objectness_logits.numpy().tolist() == [[3, 7, 6, 14]]
    assert coarse.objectness_logits.numpy().tolist() == [[15, 35]]
    assert coarse.deltas.numpy()[0, 1].tolist() == [20, 25, 30, 35]
    np.testing.assert_allclose(fine.anchors, [[0, 0, 8, 8], [-4, -4, 12, 12], [8, 0, 16, 8], [4, -4, 20, 12]])
    np.testing.assert_allclose(coarse.anchors, [[-8, -8, 24, 24], [-24, -24, 40, 40]])
    both = joined([fine, coarse])
    np.testing.assert_array_equal(both.anchors, np.concatenate([fine.anchors, coarse.anchors]))
    assert both.objectness_logits.numpy().tolist() == [[3, 7, 6, 14, 15, 35]]
    assert both.deltas.numpy()[0, 5].tolist() == [20, 25, 30, 35]


def test_measured_strides_are_the_pictures_size_over_the_grids_rounded_down():
    shapes, grids = [anchor_shapes([10, 20], [1])], [tf.zeros((1, 2, 3, 1))]
    (measured,) = by_hand_rpn(shapes, [16], measured_strides=True, offset=0.0)(grids, input_size=(37, 50))
    middles = (measured.anchors[::2, :2] + measured.anchors[::2, 2:]) / 2  # [cells, (x, y)]
    np.testing.assert_allclose(middles, [[0, 0], [16, 0], [32, 0], [0, 18], [16, 18], [32, 18]])
    (nominal,) = by_hand_rpn(shapes, [16], offset=0.0)(grids, input_size=(37, 50))
    middles = (nominal.anchors[::2, :2] + nominal.anchors[::2, 2:]) / 2
    np.testing.assert_allclose(middles, [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16], [32, 16]])


def test_losses_by_hand():
    """Two objects: anchor 0 lies on one, anchor 2 overlaps the other by 0.75; anchor 1 is background."""
    truth = batch([[[0, 0, 20, 20], [60, 10, 90, 32.5]]], size=(64, 96))
    deltas = np.zeros((4, 4), np.float32)
    deltas[0] = [0.05, 0, 0, 2.0]
    class_loss, box_loss, is_sampled, is_foreground = rpn_losses(
        output([1.0, -2.0, 0.5, 9.0], deltas), truth, tf.constant([1, 2]), minibatch_size=4, beta=1.0
    )
    assert is_sampled.numpy().tolist() == [[True, True, True, False]]
    assert is_foreground.numpy().tolist() == [[True, False, True, False]]
    # Anchor 3 reaches over the left edge and is left out.
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-0.5))) / 3
    assert float(class_loss) == pytest.approx(expected, rel=1e-5)
    second = encode(tf.constant(ANCHORS[2]), tf.constant([60.0, 10.0, 90.0, 32.5])).numpy()
    expected_boxes = 0.5 * 0.05**2 + (2.0 - 0.5) + 0.5 * np.sum(second**2)
    assert float(box_loss) == pytest.approx(expected_boxes / 3, rel=1e-5)


def test_anchors_over_the_edge_take_part_when_allowed():
    truth = batch([[[-10, 0, 10, 20]]])
    strict = rpn_losses(output([0.0, 0.0, 0.0, 5.0]), truth, tf.constant([1, 2]), minibatch_size=8)[0]
    wide = rpn_losses(output([0.0, 0.0, 0.0, 5.0]), truth, tf.constant([1, 2]), minibatch_size=8, allowed_border=10)[0]
    assert float(strict) == pytest.approx(math.log(2), rel=1e-5)
    assert float(wide) < float(strict)


def test_all_anchors_take_part_without_a_border():
    truth = batch([[]])
    everything = rpn_losses(
        output([0.0, 0.0, 0.0, 5.0]), truth, tf.constant([1, 2]), minibatch_size=8, allowed_border=None
    ).classification
    assert float(everything) == pytest.approx((3 * math.log(2) + 5 + math.log1p(math.exp(-5))) / 4, rel=1e-5)


def test_losses_are_divided_by_the_anchors_sampled_or_by_the_minibatch():
    truth = batch([[[0, 0, 20, 20]]])
    deltas = np.full((4, 4), 0.5, np.float32)
    found = {
        normalizer: rpn_losses(
            output([1.0, -2.0, 0.5, 9.0], deltas), truth, tf.constant([1, 2]), minibatch_size=8, normalizer=normalizer
        )
        for normalizer in ("sampled", "minibatch")
    }
    for sampled, minibatch in zip(found["sampled"][:2], found["minibatch"][:2], strict=True):
        assert float(sampled) == pytest.approx(float(minibatch) * 8 / 3, rel=1e-5)
        assert float(minibatch) > 0


def test_losses_of_several_maps_are_those_of_all_anchors_at_once():
    truth = batch([[[0, 0, 20, 20], [60, 10, 90, 32.5]]])
    (whole,) = output([1.0, -2.0, 0.5, 9.0], np.full((4, 4), 0.2, np.float32))
    maps = [
        RPNOutput(whole.anchors[a:b], whole.objectness_logits[:, a:b], whole.deltas[:, a:b])
        for a, b in ((0, 1), (1, 4))
    ]
    expected = rpn_losses([whole], truth, tf.constant([1, 2]), minibatch_size=4)
    for found, other in zip(rpn_losses(maps, truth, tf.constant([1, 2]), minibatch_size=4), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-6)


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


def test_suppression_works_within_a_map_and_the_best_of_all_maps_are_proposed():
    def of_map(anchors, logits):
        anchors, logits = np.array(anchors, np.float32), np.array([logits], np.float32)
        return RPNOutput(tf.constant(anchors), tf.constant(logits), tf.zeros((*logits.shape, 4)))

    fine = of_map([[0, 0, 20, 20], [1, 0, 20, 20], [30, 0, 50, 20]], [3.0, 2.0, -1.0])
    coarse = of_map([[0, 0, 20, 20], [60, 0, 90, 30]], [1.0, 4.0])
    sizes, limits = tf.constant([[64, 96]]), {"pre_nms_top_n": 10, "nms_threshold": 0.5}
    found = propose([fine, coarse], sizes, post_nms_top_n=5, **limits)
    assert found.is_valid.numpy().tolist() == [[True, True, True, True, False]]
    # The coarse map's box at the same place stays; the fine map's own neighbour does not.
    expected = [[60, 0, 90, 30], [0, 0, 20, 20], [0, 0, 20, 20], [30, 0, 50, 20], [0, 0, 0, 0]]
    np.testing.assert_allclose(found.boxes[0], expected, atol=1e-5)
    np.testing.assert_allclose(found.scores[0], [*(1 / (1 + np.exp([-4.0, -3.0, -1.0, 1.0]))), 0], rtol=1e-5)
    best = propose([fine, coarse], sizes, post_nms_top_n=2, **limits)
    np.testing.assert_allclose(best.boxes[0], expected[:2], atol=1e-5)
    # Each map sends its best, however good the other's are.
    single = propose([fine, coarse], sizes, post_nms_top_n=5, **{**limits, "pre_nms_top_n": 1})
    np.testing.assert_allclose(single.boxes[0, :2], expected[:2], atol=1e-5)
    assert single.is_valid.numpy().sum() == 2


def test_proposals_are_constants_to_the_second_stage():
    logits = tf.Variable([[1.0, 3.0, 2.0, 0.0]])
    deltas = tf.Variable(tf.zeros((1, 4, 4)))
    with tf.GradientTape() as tape:
        proposals = propose(
            [RPNOutput(tf.constant(ANCHORS), logits, deltas)],
            tf.constant([[64, 96]]),
            pre_nms_top_n=4,
            post_nms_top_n=4,
        )
        total = tf.reduce_sum(proposals.boxes) + tf.reduce_sum(proposals.scores)
    assert tape.gradient(total, [logits, deltas]) == [None, None]
