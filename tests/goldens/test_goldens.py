"""The published models' arithmetic, stage by stage, against torchvision and Detectron2."""

from __future__ import annotations

import numpy as np
import pytest

from luminoth.checkpoints.convert.detectron2 import DETECTRON2
from luminoth.checkpoints.convert.mapping import find_sources
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.models.base import named_weights
from tests.goldens.golden import assert_close, load_golden, sampled, share_matched

TORCHVISION_MODELS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
DETECTRON2_MODELS = ("faster_rcnn_R_50_C4_3x", "faster_rcnn_R_50_DC5_3x", "faster_rcnn_R_50_FPN_3x")
SLOW_MODELS = ("faster_rcnn_R_50_C4_3x", "faster_rcnn_R_50_DC5_3x")
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
    values, found = golden.values, golden.forward(image)
    assert_close(found["network_input"][0, ::16, ::16], values[f"{image}/network_input"], "network input")
    levels = [key.split("/")[2] for key in values if key.startswith(f"{image}/features/") and key.endswith("/shape")]
    for level, features in zip(levels, found["maps"], strict=True):
        assert tuple(features.shape[1:]) == tuple(values[f"{image}/features/{level}/shape"])
        assert_close(sampled(features), values[f"{image}/features/{level}"], f"features {level}")
    for index, (output, features) in enumerate(zip(found["rpn"], found["maps"], strict=True)):
        for name, numbers in (("logits", output.objectness_logits), ("deltas", output.deltas)):
            grid = numbers.numpy().reshape(*features.shape[1:3], -1)[::7, ::7]
            assert_close(grid, values[f"{image}/rpn/{name}/{index}"], f"RPN {name} {index}")

    proposals = found["proposals"]
    ours = proposals.boxes[0].numpy()[proposals.is_valid[0].numpy()]
    assert _share_of_equal_boxes(ours, values[f"{image}/proposals"]) >= 0.99
    roi_features = values[f"{image}/roi_features"]
    assert_close(_strided_like(found["pooled"][0].numpy(), roi_features), roi_features, "RoI features")
    class_logits, deltas = _without_background_deltas(golden, image)
    assert_close(found["head"].class_logits[0], class_logits, "class logits")
    assert_close(found["head"].deltas[0].numpy().reshape(40, -1)[:, : deltas.shape[1]], deltas, "box deltas")

    detections = _in_original_pixels(golden, image, found["detections"])
    theirs = _their_detections(golden, image)
    assert share_matched(_clear_of_threshold(*detections), _clear_of_threshold(*theirs)) >= 0.99


@pytest.mark.parametrize("image", IMAGES)
def test_losses_and_gradients(golden, image):
    """The four losses within 1e-3, every gradient's norm within 1 %."""
    if golden.name in SLOW_MODELS and image == "image1":
        pytest.skip("their heads on 2,012 RoIs, there and back, take half a minute; one picture is enough")
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


def _in_original_pixels(golden, image, detections):
    valid = detections.is_valid[0].numpy()
    height, width = golden.values[image].shape[:2]
    network_height, network_width = golden.network_input(image)[1][0].numpy()
    scale = np.array([width / network_width, height / network_height] * 2)
    return (
        detections.boxes[0].numpy()[valid] * scale,
        detections.scores[0].numpy()[valid],
        detections.class_ids[0].numpy()[valid],
    )


def _share_of_equal_boxes(ours, theirs, tolerance=0.1):
    """Share of boxes with a partner whose corners are within `tolerance` pixels."""
    distances = np.abs(ours[:, None] - theirs[None]).max(axis=2)
    return min((distances.min(axis=1) < tolerance).mean(), (distances.min(axis=0) < tolerance).mean())


def _strided_like(pooled, theirs):
    """Ours [40, rows, columns, C] as theirs [40, C / n, rows / s, columns / s]."""
    channels, cells = pooled.shape[-1] // theirs.shape[1], -(-pooled.shape[1] // theirs.shape[2])
    return pooled[:, ::cells, ::cells, ::channels].transpose(0, 3, 1, 2)


def _without_background_deltas(golden, image):
    logits, deltas = golden.values[f"{image}/class_logits"], golden.values[f"{image}/box_deltas"]
    if golden.library is TORCHVISION:  # background first there
        return np.roll(logits, -1, axis=1), deltas[:, 4:]
    return logits, deltas


def _their_detections(golden, image):
    values = golden.values
    if golden.library is TORCHVISION:
        class_ids = values[f"{image}/detections/labels"] - 1
    else:
        class_ids = values[f"{image}/detections/classes"]
    return values[f"{image}/detections/boxes"], values[f"{image}/detections/scores"], class_ids


def _clear_of_threshold(boxes, scores, class_ids, threshold=0.05, margin=5e-4):
    """Without what rounding alone may put on either side of the score threshold."""
    clear = np.abs(scores - threshold) > margin
    return boxes[clear], scores[clear], class_ids[clear]


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
