"""torchvision's Faster R-CNN: its names for our weights, in both generations.

Its class logits begin with the background, which is last here; its box deltas hold four rows for the background,
which nothing reads. Reference: torchvision 0.28, `models/detection/faster_rcnn.py`, and the renaming in
`ops/feature_pyramid_network.py` and `models/detection/rpn.py` (`_load_from_state_dict`, version 2).
"""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from luminoth.checkpoints.convert.mapping import LINEAR, LINEAR_ON_GRID, Layer, Layout, Library

_BOX_SIZE = 4

_CLASSES = Layout(LINEAR.there, lambda array: np.roll(array, -1, axis=0).T)
_CLASSES_BIAS = Layout(lambda shape: shape, lambda array: np.roll(array, -1))
_DELTAS = Layout(lambda shape: (shape[1] + _BOX_SIZE, shape[0]), lambda array: array[_BOX_SIZE:].T)
_DELTAS_BIAS = Layout(lambda shape: (shape[0] + _BOX_SIZE,), lambda array: array[_BOX_SIZE:])

# The parts of an inverted residual block in their order; a block may lack the first and the third.
_BLOCK_PARTS = ("expand", "depthwise", "squeeze", "project")
_LAST_OF_MOBILENET = 16

_LAYERS = {
    "backbone/conv1": Layer("backbone.body.conv1", "backbone.body.bn1"),
    "backbone/stem": Layer("backbone.body.0.0", "backbone.body.0.1"),
    "backbone/last": Layer(f"backbone.body.{_LAST_OF_MOBILENET}.0", f"backbone.body.{_LAST_OF_MOBILENET}.1"),
    "rpn/conv": Layer("rpn.head.conv.0.0"),
    "rpn/conv2": Layer("rpn.head.conv.1.0"),
    "rpn/objectness": Layer("rpn.head.cls_logits"),
    "rpn/deltas": Layer("rpn.head.bbox_pred"),
    "box_head/fc2": Layer("roi_heads.box_head.fc7", kernel=LINEAR),
    "box_head/classes": Layer("roi_heads.box_predictor.cls_score", kernel=_CLASSES, bias=_CLASSES_BIAS),
    "box_head/deltas": Layer("roi_heads.box_predictor.bbox_pred", kernel=_DELTAS, bias=_DELTAS_BIAS),
}
_UNIT = re.compile(r"backbone/block(\d+)/unit(\d+)/(?:conv(\d)|shortcut)")
_BLOCK = re.compile(r"backbone/block(\d+)/(\w+)")
_FPN = re.compile(r"fpn/(lateral|output)(\d+)")
_HEAD_CONVOLUTION = re.compile(r"box_head/conv(\d+)")


def _find_layer(layer: str, layers: Collection[str]) -> Layer | None:
    if layer in _LAYERS:
        return _LAYERS[layer]
    if layer == "box_head/fc1":
        # After four convolutions and a layer that flattens; else the first by name.
        has_convolutions = "box_head/conv1" in layers
        return Layer(f"roi_heads.box_head.{5 if has_convolutions else 'fc6'}", kernel=LINEAR_ON_GRID)
    if match := _UNIT.fullmatch(layer):
        block, unit, conv = match.groups()
        prefix = f"backbone.body.layer{block}.{int(unit) - 1}"
        if conv is None:
            return Layer(f"{prefix}.downsample.0", f"{prefix}.downsample.1")
        return Layer(f"{prefix}.conv{conv}", f"{prefix}.bn{conv}")
    if match := _BLOCK.fullmatch(layer):
        return _find_block_part(*match.groups(), layers)
    if match := _FPN.fullmatch(layer):
        kind = "inner_blocks" if match[1] == "lateral" else "layer_blocks"
        prefix = f"backbone.fpn.{kind}.{int(match[2]) - 1}"
        return Layer(f"{prefix}.0", f"{prefix}.1")
    if match := _HEAD_CONVOLUTION.fullmatch(layer):
        prefix = f"roi_heads.box_head.{int(match[1]) - 1}"
        return Layer(f"{prefix}.0", f"{prefix}.1")
    return None


def _find_block_part(block: str, part: str, layers: Collection[str]) -> Layer | None:
    """A part of an inverted residual block: torchvision numbers the parts that the block has."""
    present = [each for each in _BLOCK_PARTS if f"backbone/block{block}/{each}" in layers]
    place = "squeeze" if part == "excite" else part
    if place not in present:
        return None
    prefix = f"backbone.body.{block}.block.{present.index(place)}"
    if place == "squeeze":
        return Layer(f"{prefix}.fc{2 if part == 'excite' else 1}")
    return Layer(f"{prefix}.0", f"{prefix}.1")


_OLD_NAMES = (
    (re.compile(r"rpn\.head\.conv\.(weight|bias)"), r"rpn.head.conv.0.0.\1"),
    (re.compile(r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)"), r"backbone.fpn.\1_blocks.\2.0.\3"),
)


def _current_name(name: str) -> str:
    for old, new in _OLD_NAMES:
        if match := old.fullmatch(name):
            return match.expand(new)
    return name


# How many batches a batch norm saw: means something only while it trains without a momentum.
_LEFT_OUT = ".num_batches_tracked"

TORCHVISION = Library("torchvision", _find_layer, _current_name, lambda name: name.endswith(_LEFT_OUT))
