"""What a configuration says about the sizes of pictures and anchors, for the commands that look at data with it."""

from __future__ import annotations

from dataclasses import dataclass

from luminoth.config.schema import Config
from luminoth.data.stats.anchor_fit import AnchorGrid, InputRule
from luminoth.errors import ConfigError

# Of the maps that the pyramid makes of each backbone's, the coarser one that it adds included.
_PYRAMID_STRIDES = {"mobilenet_v3_large": (32, 32, 64)}
_RESNET_PYRAMID_STRIDES = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class NetworkView:
    """How a configured detector sees data, as plain values.

    Attributes:
        rule: how pictures are resized.
        grid: its anchors.
        border: how many pixels an anchor may reach over the picture's edge and still be trained on; None: any.
        foreground: the IoU from which the RPN takes an anchor for an object's.
        background: the IoU below which it takes one for background.
    """

    rule: InputRule
    grid: AnchorGrid
    border: float | None
    foreground: float
    background: float


def network_view(config: Config) -> NetworkView:
    """How the configured detector sees data.

    Raises:
        ConfigError: `anchors.sizes` does not have one list for each feature map.
    """
    target = config.model.rpn.target
    return NetworkView(
        rule=InputRule(**config.dataset.image_preprocessing.model_dump(exclude={"method", "min_size_train"})),
        grid=_anchor_grid(config),
        border=target.allowed_border,
        foreground=target.foreground_threshold,
        background=target.background_threshold_high,
    )


def _anchor_grid(config: Config) -> AnchorGrid:
    """Two details of single architectures are left out.

    With `anchors.spacing: measured` the anchors of a pyramid's coarsest map stand a few pixels closer than its stride;
    and a VGG has no cell for the last few pixels of a picture.
    """
    anchors, strides = config.model.anchors, _map_strides(config)
    sides = anchors.sizes or [[anchors.base_size * scale for scale in anchors.scales]] * len(strides)
    if len(sides) != len(strides):
        raise ConfigError(
            f"model.anchors.sizes has {len(sides)} lists; the detector has {len(strides)} feature maps, of strides "
            f"{', '.join(map(str, strides))}: give one list for each"
        )
    return AnchorGrid(sides, anchors.ratios, strides, anchors.offset, anchors.rounded)


def _map_strides(config: Config) -> tuple[int, ...]:
    """Pixels from one cell to the next, of each feature map, finest first."""
    if config.model.network.features == "fpn":
        return _PYRAMID_STRIDES.get(config.model.base_network.architecture, _RESNET_PYRAMID_STRIDES)
    return (config.model.base_network.output_stride,) if config.model.network.features == "c4" else (16,)
