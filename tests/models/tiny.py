"""A Faster R-CNN small enough to build and run in a second, and batches for it."""

import numpy as np
import tensorflow as tf

from luminoth.config import load_config
from luminoth.models.build import build_model
from luminoth.types import Batch

TINY = (
    "model.base_network.architecture=thin_resnet",
    "model.base_network.width=4",
    "model.base_network.weights=random",
    "model.base_network.fine_tune_from=null",
    "model.base_network.train_batch_norm=true",
    "model.anchors.base_size=32",
    "model.anchors.scales=[0.5, 1]",
    "model.rpn.num_channels=8",
    "model.rpn.proposals.pre_nms_top_n=40",
    "model.rpn.proposals.post_nms_top_n=12",
    "model.rpn.target.minibatch_size=16",
    "model.rcnn.target.minibatch_size=8",
    "model.rcnn.proposals.total_max_detections=10",
)


def tiny_config(*overrides: str):
    return load_config([], [*TINY, *overrides])


def tiny_model(*overrides: str, num_classes: int = 3, seed: int = 0):
    """A tiny detector with random weights that differ enough for its outputs to differ."""
    model = build_model(tiny_config(*overrides), num_classes)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2.0 / fan_in) ** 0.5, variable.shape).astype(np.float32))
    return model


def batch(boxes, class_ids=None, size=(64, 96), is_crowd=None, padding=0, seed=0):
    """A batch of random pictures with the given lists of boxes, one list a picture."""
    count = max((len(b) for b in boxes), default=0) + padding
    gt_boxes = np.zeros((len(boxes), count, 4), np.float32)
    gt_class_ids, crowd = np.zeros((len(boxes), count), np.int32), np.zeros((len(boxes), count), bool)
    is_object = np.zeros((len(boxes), count), bool)
    for i, picture in enumerate(boxes):
        for j, box in enumerate(picture):
            gt_boxes[i, j], is_object[i, j] = box, True
            gt_class_ids[i, j] = class_ids[i][j] if class_ids else 0
            crowd[i, j] = bool(is_crowd and is_crowd[i][j])
    images = np.random.default_rng(seed).uniform(0, 255, (len(boxes), *size, 3)).astype(np.float32)
    sizes = np.tile(np.array([size], np.int32), (len(boxes), 1))
    return Batch(*map(tf.constant, (images, sizes, gt_boxes, gt_class_ids, is_object, crowd)))
