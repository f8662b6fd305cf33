"""How much of Faster R-CNN's time is not convolutions.

    python -m benchmarks.faster_rcnn_c4 [--height 600] [--width 800] [--rounds 7]

Times ResNet-50 C4 on one picture: its bare convolutions (backbone, RPN's three, the tail on as many RoIs, in one
`tf.function`), the whole detector on a network-sized picture, and `Detector.detect` on a uint8 picture, which adds
resizing and the way to NumPy. Random weights: the time does not depend on them, except that the thresholds are set so
that suppression has as much to do as a trained network gives it or more.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from benchmarks.machine import describe_machine, in_turn, median_ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=600)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    import tensorflow as tf

    from luminoth.config import load_config
    from luminoth.models.build import build_model

    config = load_config(
        [], ["model.base_network.architecture=resnet_v1_50", "model.rcnn.proposals.min_prob_threshold=0.05"]
    )
    model = build_model(config, num_classes=80)
    size = (arguments.height, arguments.width)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    images, sizes = tf.constant(picture[None], tf.float32), tf.constant([size])
    num_rois = config.model.rpn.proposals.test_post_nms_top_n
    roi = config.model.rcnn.roi
    pooled = tf.random.stateless_normal(
        (num_rois, roi.pooled_height, roi.pooled_width, model.backbone.out_channels[0]), (1, 2)
    )

    model.freeze()

    @tf.function(autograph=False)
    def convolutions(images):
        (features,) = model.backbone(model.backbone.pixels(images))
        hidden = model.rpn.convs[0](features)
        return model.rpn.objectness(hidden), model.rpn.deltas(hidden), model.backbone.tail(pooled)

    @tf.function(autograph=False)
    def detector(images, sizes):
        return model.detect(images, sizes)

    seconds = in_turn(
        {
            "bare convolutions": lambda: [part.numpy() for part in convolutions(images)[:1]],
            "whole detector": lambda: detector(images, sizes).scores.numpy(),
        },
        arguments.rounds,
    )
    print(describe_machine())
    print(f"ResNet-50 C4, {size[0]} x {size[1]}, one picture, {num_rois} RoIs, medians of {arguments.rounds}")
    for name, times in seconds.items():
        ratio = median_ratio(times, seconds["bare convolutions"])
        print(f"{name:20} {statistics.median(times):7.3f} s   {ratio:5.3f} x")


if __name__ == "__main__":
    main()
