"""Detectron2's Faster R-CNN: its names for our weights. Background last and deltas without it, as here.

Reference: Detectron2 0.6, `modeling/backbone/{resnet,fpn}.py`, `modeling/proposal_generator/rpn.py`,
`modeling/roi_heads/{box_head,fast_rcnn,roi_heads}.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from luminoth.checkpoints.convert.mapping import LINEAR, LINEAR_ON_GRID, Layer, Library

_LAYERS = {
    "rpn/conv": Layer("proposal_generator.rpn_head.conv"),
    "rpn/objectness": Layer("proposal_generator.rpn_head.objectness_logits"),
    "rpn/deltas": Layer("proposal_generator.rpn_head.anchor_deltas"),
    "box_head/fc1": Layer("roi_heads.box_head.fc1", kernel=LINEAR_ON_GRID),
    "box_head/fc2": Layer("roi_heads.box_head.fc2", kernel=LINEAR),
    "box_head/classes": Layer("roi_heads.box_predictor.cls_score", kernel=LINEAR),
    "box_head/deltas": Layer("roi_heads.box_predictor.bbox_pred", kernel=LINEAR),
}
_UNIT = re.compile(r"backbone/block(\d+)/unit(\d+)/(conv\d|shortcut)")
_FPN = re.compile(r"fpn/(lateral|output)(\d+)")
_TAIL_BLOCK = 4


def _find_layer(layer: str, layers: Collection[str]) -> Layer | None:
    if layer in _LAYERS:
        return _LAYERS[layer]
    body = "backbone.bottom_up" if "fpn/lateral1" in layers else "backbone"
    if layer == "backbone/conv1":
        return Layer(f"{body}.stem.conv1", f"{body}.stem.conv1.norm")
    if match := _UNIT.fullmatch(layer):
        block, unit = int(match[1]), int(match[2])
        # C4: res5 takes the place of fully connected layers.
        is_tail = block == _TAIL_BLOCK and "box_head/fc1" not in layers
        name = f"{'roi_heads' if is_tail else body}.res{block + 1}.{unit - 1}.{match[3]}"
        return Layer(name, f"{name}.norm")
    if match := _FPN.fullmatch(layer):  # numbered by the exponent of the stride, from 4 = 2^2
        return Layer(f"backbone.fpn_{match[1]}{int(match[2]) + 1}")
    return None


# What the model computes or states in its configuration. Some files hold it, others do not.
LEFT_OUT = re.compile(
    r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\.cell_anchors\.\d+|.*\.num_batches_tracked"
)

DETECTRON2 = Library("Detectron2", _find_layer, lambda name: name, lambda name: LEFT_OUT.fullmatch(name) is not None)
