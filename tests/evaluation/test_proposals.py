"""Recall of proposals, by hand; and that a model gives as many proposals as are asked for."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.proposals import ProposalCounter
from luminoth.types import Detections
from tests.models.tiny import batch, tiny_model


def truth(boxes, is_crowd=None):
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    class_ids = np.arange(len(boxes), dtype=np.int32)  # classes play no part
    crowd = np.zeros(len(boxes), bool) if is_crowd is None else np.array(is_crowd)
    return GroundTruth(boxes, class_ids, crowd, (1000, 1000))


def proposed(boxes):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(1, 0.1, len(boxes), dtype=np.float32)
    return Detections(boxes, scores, np.zeros(len(boxes), np.int32), ["object"], (1000, 1000))


NOWHERE = [[900, 900, 910, 910]]


def test_by_hand():
    counter = ProposalCounter()
    # IoU 1 at place 1; IoU 0.76, enough for six thresholds of ten (0.50 to 0.75), at place 101; a crowd, not counted.
    counter.add(
        [truth([[0, 0, 100, 100], [200, 0, 300, 100], [500, 500, 700, 700]], [False, False, True])],
        [proposed([[0, 0, 100, 100], *NOWHERE * 99, [200, 0, 276, 100]])],
    )
    # At place 301, and one that no proposal reaches.
    counter.add([truth([[0, 0, 50, 50], [300, 300, 400, 400]])], [proposed([*NOWHERE * 300, [0, 0, 50, 50]])])
    counter.add([truth([])], [proposed([[0, 0, 50, 50]])])
    result = counter.result()
    assert result.mean == pytest.approx({100: 1 / 4, 300: 1.6 / 4, 1000: 2.6 / 4})
    assert result.at_50 == pytest.approx({100: 1 / 4, 300: 2 / 4, 1000: 3 / 4})
    assert result.to_dict()["AR"] == pytest.approx({"100": 0.25, "300": 0.4, "1000": 0.65})


def test_one_proposal_reaches_one_object():
    counter = ProposalCounter()
    counter.add([truth([[0, 0, 10, 10], [0, 0, 10, 10]])], [proposed([[0, 0, 10, 10]])])
    assert counter.result().at_50[100] == 0.5


def test_nothing_to_measure():
    counter = ProposalCounter()
    assert counter.result() is None
    counter.add([truth([])], [proposed([[0, 0, 10, 10]])])
    assert counter.result() is None


# What models give ------------------------------------------------------------------------------------------------

TRUTH = batch([[[8, 8, 40, 40]], [[30, 10, 80, 50], [0, 0, 20, 20]]], class_ids=[[1], [0, 2]])
SEED = tf.constant([3, 4])


def examine(model, max_proposals=30):
    return model.examine(TRUTH, seed=SEED, min_score=0.01, max_proposals=max_proposals)


def test_examination_is_what_the_methods_give_alone():
    model = tiny_model("model.rcnn.target.minibatch_size=8")
    result = examine(model)
    alone = model.detect(TRUTH.images, TRUTH.image_sizes, min_score=0.01)
    for one, other in zip(result.detections, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    losses = model.compute_losses(TRUTH, training=False, seed=SEED)
    assert list(result.losses) == list(losses)
    for name in ("rpn_cls_loss", "rpn_reg_loss", "regularization_loss"):  # the second stage draws from other RoIs
        assert float(result.losses[name]) == pytest.approx(float(losses[name]), rel=1e-4)
    assert all(np.isfinite(float(loss)) and float(loss) >= 0 for loss in result.losses.values())


def test_more_proposals_than_go_on_begin_with_those_that_do():
    model = tiny_model("model.rpn.proposals.test_post_nms_top_n=6")
    few, many = examine(model, 6).proposals, examine(model, 30).proposals
    assert few.boxes.shape == (2, 6, 4)
    assert many.boxes.shape == (2, 30, 4)
    assert many.is_valid.numpy().sum() > few.is_valid.numpy().sum()
    np.testing.assert_allclose(many.boxes[:, :6], few.boxes, atol=1e-3)
    for one, other in zip(examine(model, 6).detections, examine(model, 30).detections, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_losses_of_the_second_stage_are_those_of_what_is_sampled():
    # With every proposal in the sample nothing is random: the mean over all of them.
    model = tiny_model("model.rcnn.target.minibatch_size=64", "model.rcnn.target.foreground_fraction=1.0")
    first, second = (
        model.examine(TRUTH, seed=tf.constant(seed), min_score=0.01, max_proposals=0) for seed in ([1, 2], [3, 4])
    )
    assert float(first.losses["rcnn_cls_loss"]) == pytest.approx(float(second.losses["rcnn_cls_loss"]), rel=1e-4)


def test_proposals_alone():
    model = tiny_model("model.network.with_rcnn=false", "model.rpn.proposals.test_post_nms_top_n=6")
    result = examine(model)
    alone = model.detect(TRUTH.images, TRUTH.image_sizes, min_score=0.01)
    for one, other in zip(result.detections, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert result.proposals.boxes.shape == (2, 30, 4)
    assert set(result.losses) == {"rpn_cls_loss", "rpn_reg_loss", "regularization_loss"}
