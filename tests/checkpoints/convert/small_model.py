"""A small model that stands in for a published one, so that converting takes a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from luminoth.checkpoints.convert import converter
from luminoth.checkpoints.convert.coco_classes import COCO_90
from luminoth.checkpoints.convert.mapping import find_sources
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.config import load_config
from luminoth.models.base import DetectionModel, named_weights
from luminoth.models.build import build_model

NAME = "fasterrcnn_resnet50_fpn"
SMALL = """
model:
  type: fasterrcnn
  network: {features: fpn}
  base_network: {architecture: thin_resnet, width: 8}
  fpn: {channels: 8}
  anchors: {sizes: [[32], [64], [128], [256], [512]]}
  rpn: {num_channels: 8}
  rcnn: {layer_sizes: [8, 8], use_mean: false, roi: {pooled_width: 7, pooled_height: 7}}
dataset: {image_preprocessing: {min_size: 64, max_size: 128}}
"""


def install_small_model(monkeypatch, folder: Path) -> Path:
    """Puts the small configuration in the place of the published model's; returns its file."""
    configurations = folder / "configurations"
    configurations.mkdir()
    (configurations / f"{NAME}.yml").write_text(SMALL)
    monkeypatch.setattr(converter, "CONFIGURATIONS", configurations)
    return configurations / f"{NAME}.yml"


def small_model() -> DetectionModel:
    return build_model(load_config([converter.CONFIGURATIONS / f"{NAME}.yml"]), len(COCO_90))


def small_state(model: DetectionModel) -> dict[str, np.ndarray]:
    """What torchvision would save of such a model."""
    random = np.random.default_rng(0)
    shapes = {path: tuple(variable.shape) for path, variable in named_weights(model).items()}
    state = {}
    for path, source in find_sources(shapes, TORCHVISION).items():
        state[source.name] = random.uniform(0.5, 1, source.layout.there(shapes[path])).astype(np.float32)
    return state | {"backbone.body.bn1.num_batches_tracked": np.array(3)}
