"""The published models' arithmetic, stage by stage, against torchvision and Detectron2."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints.convert.detectron2 import DETECTRON2
from luminoth.checkpoints.convert.mapping import find_sources
from luminoth.checkpoints.convert.parity import compare, first_rois, strided_like
from luminoth.checkpoints.convert.published import DETECTRON2 as DETECTRON2_FAMILY
from luminoth.checkpoints.convert.published import TORCHVISION as TORCHVISION_FAMILY
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.models.base import named_weights
from tests.goldens.golden import assert_close, load_golden

TORCHVISION_MODELS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
DETECTRON2_MODELS = ("faster_rcnn_R_50_C4_3x", "faster_rcnn_R_50_DC5_3x", "faster_rcnn_R_50_FPN_3x")
QUICK_MODELS = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")
SLOW_MODELS = ("fasterrcnn_resnet50_fpn_v2", "faster_rcnn_R_50_C4_3x", "faster_rcnn_R_50_DC5_3x")
IMAGES = ("image0", "image1")
# The goldens sample every anchor and proposal; these are more than there are.
EVERY_ANCHOR, EVERY_PROPOSAL = 262144, 2048


@pytest.fixture(scope="module", params=(*TORCHVISION_MODELS, *DETECTRON2_MODELS))
def golden(request):
    name = request.param
    everything = (
        f"model.rpn.target.minibatch_size={EVERY_ANCHOR}",
        "model.rpn.target.foreground_fraction=1.0",
        f"model.rcnn.target.minibatch_size={EVERY_PROPOSAL}",
        "model.rcnn.target.foreground_fraction=1.0",
        "model.rpn.l2_regularization_scale=0",
        "model.rcnn.l2_regularization_scale=0",
    )
    if name in TORCHVISION_MODELS:
        return load_golden("torchvision", name, name, TORCHVISION, *everything)
    return load_golden("detectron2", name, name.removesuffix("_3x"), DETECTRON2, *everything)


@pytest.mark.parametrize("image", IMAGES)
def test_forward_pass(golden, image):
    """Input, features, RPN, proposals, RoI features, head and detections of one picture."""
    if golden.name in SLOW_MODELS and image == "image1":
        pytest.skip("takes some ten seconds; one picture is enough")
    values, found = golden.values, golden.forward(image)
    stages = compare(found, values, image, DETECTRON2_FAMILY if golden.library is DETECTRON2 else TORCHVISION_FAMILY)
    assert [stage for stage in stages if not stage.passed] == []
    names = [stage.stage for stage in stages]
    assert {"network input", "RPN deltas 0", "proposals", "class logits", "box deltas", "detections"} < set(names)
    if "RoI features" not in names:  # compared before the tail, which `pool` runs as well
        rois = tf.constant(first_rois(values, image)[np.newaxis])
        pooled = golden.model._roi_stages.pool(found["maps"], rois, strides=golden.model.backbone.strides)[0]
        assert_close(
            strided_like(pooled.numpy(), values[f"{image}/roi_features"]), values[f"{image}/roi_features"], "RoIs"
        )


@pytest.mark.parametrize("image", IMAGES)
def test_losses_and_gradients(golden, image):
    """The four losses within 1e-3, every gradient's norm within 1 %."""
    if golden.name not in QUICK_MODELS and image == "image1":
        pytest.skip("a ResNet on up to 2,012 RoIs, there and back, takes half a minute or more; one picture is enough")
    if golden.name in SLOW_MODELS and "LUMI_TEST_SLOWEST" not in os.environ:
        pytest.skip("up to 2,012 RoIs, there and back, take half a minute to two; LUMI_TEST_SLOWEST=1 runs it")
    values = golden.values
    losses, gradients = golden.backward(image, *_their_ground_truth(golden, image))
    for name, value in _their_losses(golden, image).items():
        assert losses[name] == pytest.approx(value, rel=1e-3), name
    assert losses["regularization_loss"] == 0

    sources = find_sources(list(named_weights(golden.model)), golden.library)
    ours = {sources[path].name: gradient for path, gradient in gradients.items()}
    norms = dict(zip(values[f"{image}/gradients/names"], values[f"{image}/gradients/norms"], strict=True))
    largest = max(norms.values())
    for name, norm in norms.items():
        gradient = ours[golden.library.current_name(name)]
        # Where a gradient is a sum of numbers that cancel, as of a bias before batch norm, only rounding is left.
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=0.01, abs=1e-6 * largest), name


def _their_ground_truth(golden, image):
    """Boxes in pixels of the network's input, class ids from 0."""
    values = golden.values
    if golden.library is not TORCHVISION:
        return values[f"{image}/ground_truth/network_boxes"], values[f"{image}/ground_truth/classes"]
    height, width = values[image].shape[:2]
    network_height, network_width = golden.network_input(image)[1][0].numpy()
    scale = np.array([network_width / width, network_height / height] * 2, np.float32)
    return values[f"{image}/ground_truth/boxes"] * scale, values[f"{image}/ground_truth/labels"] - 1


def _their_losses(golden, image):
    names = {
        "rpn_cls_loss": ("loss_objectness", "loss_rpn_cls"),
        "rpn_reg_loss": ("loss_rpn_box_reg", "loss_rpn_loc"),
        "rcnn_cls_loss": ("loss_classifier", "loss_cls"),
        "rcnn_reg_loss": ("loss_box_reg", "loss_box_reg"),
    }
    which = 0 if golden.library is TORCHVISION else 1
    return {ours: float(golden.values[f"{image}/losses/{theirs[which]}"]) for ours, theirs in names.items()}
