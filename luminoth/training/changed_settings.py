"""What is configured otherwise than when a run was saved: what of it may change, and what makes it another training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from luminoth.config.merge import leaves

# What the weights were trained to mean. Some of these change no tensor's shape, so that nothing else would notice.
_MEANING = (
    "model.type",
    "model.network.features",
    "model.network.with_rcnn",
    "model.base_network.architecture",
    "model.base_network.channel_",
    "model.base_network.endpoint",
    "model.base_network.norm_epsilon",
    "model.base_network.output_stride",
    "model.base_network.stride_in_3x3",
    "model.base_network.tail_stride",
    "model.base_network.use_tail",
    "model.base_network.width",
    "model.fpn.",
    "model.anchors.",
    "model.rpn.activation_function",
    "model.rpn.kernel_shape",
    "model.rpn.num_c",
    "model.rcnn.activation_function",
    "model.rcnn.conv_channels",
    "model.rcnn.layer_sizes",
    "model.rcnn.roi.",
    "model.rcnn.target_normalization_variances",
    "model.rcnn.use_mean",
)

# What has no say once there is a checkpoint, or where the run lies; and what is compared in other ways.
_OF_THE_START = (
    "model.base_network.weights",
    "model.base_network.download",
    "model.network.num_classes",
    "model.rpn.cls_loss.prior",
    "model.rpn.rpn_initializer.",
    "model.rpn.cls_initializer.",
    "model.rpn.bbox_initializer.",
    "model.rcnn.rcnn_initializer.",
    "model.rcnn.cls_initializer.",
    "model.rcnn.bbox_initializer.",
    "train.job_dir",
    "train.run_name",
)

# Who names another start than the run had means another run; who goes on need not name it again.
_START = "train.from_checkpoint"


@dataclass(frozen=True)
class Differences:
    """Between two configurations, one line for each key.

    Attributes:
        refused: what makes it another training.
        accepted: what holds from here on.
    """

    refused: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)


def compare_settings(before: Any, now: Any) -> Differences:
    """Compares the `Config` that a run was saved with and the one that it is to go on with."""
    old, new = (leaves(config.model_dump(mode="json")) for config in (before, now))
    differences = Differences()
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) == new.get(key) or key.startswith(_OF_THE_START):
            continue
        if key == _START and new[key] is None:  # left out, to go on
            continue
        if key.startswith((_START, *_MEANING)):
            differences.refused.append(f"{key} was {_show(old, key)}, now it is {_show(new, key)}")
        else:
            differences.accepted.append(f"{key} {_show(old, key)} -> {_show(new, key)}")
    return differences


def _show(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if value is None:
        return "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)
