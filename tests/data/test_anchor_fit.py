"""How well anchors fit boxes: by hand, against every anchor one by one, and against the detector's own arithmetic."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.boxes.anchors import anchor_shapes, grid_anchors
from luminoth.boxes.geometry import inside_image, pairwise_iou
from luminoth.config import load_config
from luminoth.data.stats.anchor_fit import AnchorGrid, InputRule, best_anchor_overlap, recall, scale_to_input
from luminoth.data.stats.configured import network_view
from luminoth.errors import ConfigError
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule, scale_boxes


def overlaps(boxes, size, grid, border=None):
    return best_anchor_overlap(np.asarray(boxes), np.tile(size, (len(boxes), 1)), grid, border)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([8, 8, 24, 24], 1.0),  # an anchor itself
        ([10, 8, 26, 24], 14 * 16 / (2 * 256 - 14 * 16)),  # 2 pixels beside the centre at 16
        ([14, 14, 18, 18], 16 / 256),  # inside one
        ([8, 8, 24, 40], 0.5),  # twice as high
    ],
)
def test_by_hand(box, expected):
    grid = AnchorGrid([[16]], [1], [16], offset=0.0)
    np.testing.assert_allclose(overlaps([box], (64, 64), grid), [expected], rtol=1e-6)


def test_a_ratio_is_height_over_width():
    grid = AnchorGrid([[16]], [4], [16], offset=0.5)
    np.testing.assert_allclose(overlaps([[20, 8, 28, 40]], (64, 64), grid), [1.0])
    np.testing.assert_allclose(grid.shapes(), [[8, 32, 16]])


def test_the_border_leaves_anchors_out():
    grid = AnchorGrid([[32]], [1], [16], offset=0.5)
    box = [[0, 0, 16, 16]]  # lies within the anchor at (8, 8), which reaches out by 8 pixels
    np.testing.assert_allclose(overlaps(box, (64, 64), grid), [256 / 1024])
    np.testing.assert_allclose(overlaps(box, (64, 64), grid, border=8), [256 / 1024])
    np.testing.assert_allclose(overlaps(box, (64, 64), grid, border=0), [64 / (1024 + 256 - 64)])  # at (24, 24)
    np.testing.assert_allclose(overlaps(box, (24, 24), grid, border=0), [0.0])  # no anchor is inside


@pytest.mark.parametrize("border", [None, 0.0, 5.0])
@pytest.mark.parametrize(
    "grid",
    [
        AnchorGrid([[8, 17, 40]], [0.4, 1, 2.5], [8], offset=0.5),
        AnchorGrid([[12, 30]], [0.5, 1, 2], [16], offset=0.0),
        AnchorGrid([[10], [20], [41]], [0.5, 1, 2], [4, 8, 16], offset=0.0, rounded=True),
    ],
)
def test_equals_all_anchors_one_by_one(grid, border):
    random = np.random.default_rng(3)
    for size in [(37, 53), (64, 64), (16, 90), (5, 7)]:
        height, width = size
        corners = np.sort(random.uniform(0, 1, (40, 2, 2)), axis=1) * [width, height]  # [40, low and high, x and y]
        boxes = corners.reshape(40, 4).astype(np.float32)
        anchors = np.concatenate(
            [
                grid_anchors(
                    anchor_shapes(sides, grid.ratios, rounded=grid.rounded),
                    (-(-height // stride), -(-width // stride)),
                    stride,
                    grid.offset,
                )
                for sides, stride in zip(grid.sides, grid.strides, strict=True)
            ]
        )
        every = pairwise_iou(boxes, anchors).numpy()
        if border is not None:
            every = every * inside_image(anchors[None], np.asarray([size]), border).numpy()
        np.testing.assert_allclose(overlaps(boxes, size, grid, border), every.max(axis=1), atol=1e-5)


def test_more_boxes_than_a_chunk_each_with_its_own_picture(monkeypatch):
    random = np.random.default_rng(0)
    sizes = random.integers(20, 100, (50, 2))
    boxes = np.concatenate([np.zeros((50, 2)), sizes[:, ::-1] * random.uniform(0.2, 1, (50, 2))], axis=1)
    grid = AnchorGrid([[16, 48]], [0.5, 1], [8])
    one_by_one = [overlaps([box], size, grid, 0.0)[0] for box, size in zip(boxes, sizes, strict=True)]
    monkeypatch.setattr("luminoth.data.stats.anchor_fit._CHUNK", 7)
    np.testing.assert_array_equal(best_anchor_overlap(boxes, sizes, grid, 0.0), one_by_one)


def test_recall():
    assert recall(np.asarray([0.2, 0.5, 0.7, 0.9]), 0.5) == 0.75
    assert recall(np.zeros(0), 0.5) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"min_size": 600, "max_size": 1024},
        {"min_size": 800, "max_size": 1333, "rounding": "down"},
        {"min_size": 240},
        {"max_size": 500, "rounding": "down"},
        {"fixed_height": 300, "fixed_width": 400},
        {},
    ],
)
def test_sizes_are_those_of_the_detector(settings):
    sizes = np.random.default_rng(1).integers(1, 3000, (3000, 2))
    expected = np.stack(tf.function(ResizeRule(**settings).target_size)(sizes[:, 0], sizes[:, 1]), axis=-1)
    found = InputRule(**settings).input_sizes(sizes)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


def test_boxes_move_with_their_pictures():
    boxes = np.asarray([[10, 20, 30, 40], [1, 2, 3, 4]], np.float32)
    old, new = np.asarray([[100, 200], [50, 50]]), np.asarray([[300, 400], [100, 50]])
    found = scale_to_input(boxes, old, new)
    assert found.tolist() == [[20, 60, 60, 120], [1, 4, 3, 8]]
    for index in range(2):
        np.testing.assert_allclose(found[index], scale_boxes(boxes[index], old[index], new[index]), rtol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.base_network.architecture=thin_resnet", "model.base_network.output_stride=8"],
        ["model.base_network.architecture=vgg_16"],
        ["model.base_network.architecture=resnet_v1_50", "model.network.features=dc5"],
        ["model.base_network.architecture=thin_resnet", "model.network.features=fpn"],
        [
            "model.base_network.architecture=mobilenet_v3_large",
            "model.network.features=fpn",
            "model.anchors.sizes=[[32, 64], [32, 64], [128, 256]]",
        ],
    ],
)
def test_the_configured_grid_is_the_built_detectors(overrides):
    config = load_config([], [*overrides, "model.network.with_rcnn=false", "model.anchors.scales=[0.1, 1]"])
    rpn = build_model(config, 2, initialise=False).rpn
    grid = network_view(config).grid
    assert grid.strides == rpn._strides
    assert grid.offset == rpn._offset
    built = np.concatenate(rpn._shapes)
    sides = np.stack([built[:, 2] - built[:, 0], built[:, 3] - built[:, 1]], axis=-1)
    np.testing.assert_allclose(sorted(sides.tolist()), sorted(grid.shapes()[:, :2].tolist()), rtol=1e-5)


def test_a_list_of_sizes_for_each_map():
    config = load_config([], ["model.network.features=fpn", "model.anchors.sizes=[[32], [64]]"])
    with pytest.raises(ConfigError, match=r"model\.anchors\.sizes has 2 lists; the detector has 5 feature maps"):
        network_view(config)


def test_the_configured_view():
    overrides = [
        "dataset.image_preprocessing={min_size: 100, max_size: 150, rounding: down}",
        "model.rpn.target={allowed_border: 7, foreground_threshold: 0.6, background_threshold_high: 0.2}",
    ]
    view = network_view(load_config([], overrides))
    assert view.rule == InputRule(min_size=100, max_size=150, rounding="down")
    assert (view.border, view.foreground, view.background) == (7, 0.6, 0.2)
    assert view.grid.sides == [[64, 128, 256, 512]]
