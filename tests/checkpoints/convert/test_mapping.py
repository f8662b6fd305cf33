"""Names and values, on small models: the shapes are made up, the names are those of the published files."""

import numpy as np
import pytest

from luminoth.checkpoints.convert.converter import convert_state
from luminoth.checkpoints.convert.detectron2 import DETECTRON2
from luminoth.checkpoints.convert.mapping import find_sources, left_out
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.errors import CheckpointError


def numbers(shape, first=0.0):
    """Every number another one."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + np.float32(first)


def names(paths, library):
    return {path: source.name for path, source in find_sources(paths, library).items()}


# --- Names --------------------------------------------------------------------------------------------------------


def test_torchvision_names_of_a_resnet():
    assert names(
        [
            "backbone/conv1/kernel",
            "backbone/conv1/gamma",
            "backbone/block1/unit1/conv2/kernel",
            "backbone/block1/unit1/conv2/beta",
            "backbone/block3/unit12/conv3/moving_mean",
            "backbone/block4/unit1/shortcut/kernel",
            "backbone/block4/unit1/shortcut/moving_variance",
            "fpn/lateral1/kernel",
            "fpn/lateral1/bias",
            "fpn/output4/kernel",
            "rpn/conv/kernel",
            "rpn/objectness/bias",
            "rpn/deltas/kernel",
            "box_head/fc1/kernel",
            "box_head/fc2/bias",
            "box_head/classes/kernel",
            "box_head/deltas/bias",
        ],
        TORCHVISION,
    ) == {
        "backbone/conv1/kernel": "backbone.body.conv1.weight",
        "backbone/conv1/gamma": "backbone.body.bn1.weight",
        "backbone/block1/unit1/conv2/kernel": "backbone.body.layer1.0.conv2.weight",
        "backbone/block1/unit1/conv2/beta": "backbone.body.layer1.0.bn2.bias",
        "backbone/block3/unit12/conv3/moving_mean": "backbone.body.layer3.11.bn3.running_mean",
        "backbone/block4/unit1/shortcut/kernel": "backbone.body.layer4.0.downsample.0.weight",
        "backbone/block4/unit1/shortcut/moving_variance": "backbone.body.layer4.0.downsample.1.running_var",
        "fpn/lateral1/kernel": "backbone.fpn.inner_blocks.0.0.weight",
        "fpn/lateral1/bias": "backbone.fpn.inner_blocks.0.0.bias",
        "fpn/output4/kernel": "backbone.fpn.layer_blocks.3.0.weight",
        "rpn/conv/kernel": "rpn.head.conv.0.0.weight",
        "rpn/objectness/bias": "rpn.head.cls_logits.bias",
        "rpn/deltas/kernel": "rpn.head.bbox_pred.weight",
        "box_head/fc1/kernel": "roi_heads.box_head.fc6.weight",
        "box_head/fc2/bias": "roi_heads.box_head.fc7.bias",
        "box_head/classes/kernel": "roi_heads.box_predictor.cls_score.weight",
        "box_head/deltas/bias": "roi_heads.box_predictor.bbox_pred.bias",
    }


def test_torchvision_names_of_the_second_version():
    assert names(
        [
            "fpn/lateral2/kernel",
            "fpn/lateral2/gamma",
            "fpn/output1/moving_mean",
            "rpn/conv/bias",
            "rpn/conv2/kernel",
            "box_head/conv1/kernel",
            "box_head/conv4/beta",
            "box_head/fc1/kernel",
        ],
        TORCHVISION,
    ) == {
        "fpn/lateral2/kernel": "backbone.fpn.inner_blocks.1.0.weight",
        "fpn/lateral2/gamma": "backbone.fpn.inner_blocks.1.1.weight",
        "fpn/output1/moving_mean": "backbone.fpn.layer_blocks.0.1.running_mean",
        "rpn/conv/bias": "rpn.head.conv.0.0.bias",
        "rpn/conv2/kernel": "rpn.head.conv.1.0.weight",
        "box_head/conv1/kernel": "roi_heads.box_head.0.0.weight",
        "box_head/conv4/beta": "roi_heads.box_head.3.1.bias",
        "box_head/fc1/kernel": "roi_heads.box_head.5.weight",
    }


def test_torchvision_numbers_the_parts_that_a_mobilenet_block_has():
    assert names(
        [
            "backbone/stem/kernel",
            "backbone/stem/gamma",
            "backbone/block1/depthwise/kernel",
            "backbone/block1/project/beta",
            "backbone/block2/expand/kernel",
            "backbone/block2/depthwise/kernel",
            "backbone/block2/project/kernel",
            "backbone/block15/expand/moving_variance",
            "backbone/block15/depthwise/kernel",
            "backbone/block15/squeeze/kernel",
            "backbone/block15/squeeze/bias",
            "backbone/block15/excite/kernel",
            "backbone/block15/project/kernel",
            "backbone/last/kernel",
            "backbone/last/moving_mean",
        ],
        TORCHVISION,
    ) == {
        "backbone/stem/kernel": "backbone.body.0.0.weight",
        "backbone/stem/gamma": "backbone.body.0.1.weight",
        "backbone/block1/depthwise/kernel": "backbone.body.1.block.0.0.weight",
        "backbone/block1/project/beta": "backbone.body.1.block.1.1.bias",
        "backbone/block2/expand/kernel": "backbone.body.2.block.0.0.weight",
        "backbone/block2/depthwise/kernel": "backbone.body.2.block.1.0.weight",
        "backbone/block2/project/kernel": "backbone.body.2.block.2.0.weight",
        "backbone/block15/expand/moving_variance": "backbone.body.15.block.0.1.running_var",
        "backbone/block15/depthwise/kernel": "backbone.body.15.block.1.0.weight",
        "backbone/block15/squeeze/kernel": "backbone.body.15.block.2.fc1.weight",
        "backbone/block15/squeeze/bias": "backbone.body.15.block.2.fc1.bias",
        "backbone/block15/excite/kernel": "backbone.body.15.block.2.fc2.weight",
        "backbone/block15/project/kernel": "backbone.body.15.block.3.0.weight",
        "backbone/last/kernel": "backbone.body.16.0.weight",
        "backbone/last/moving_mean": "backbone.body.16.1.running_mean",
    }


D2_COMMON = {
    "rpn/conv/kernel": "proposal_generator.rpn_head.conv.weight",
    "rpn/objectness/kernel": "proposal_generator.rpn_head.objectness_logits.weight",
    "rpn/deltas/bias": "proposal_generator.rpn_head.anchor_deltas.bias",
    "box_head/classes/kernel": "roi_heads.box_predictor.cls_score.weight",
    "box_head/deltas/bias": "roi_heads.box_predictor.bbox_pred.bias",
}
D2_HEAD = {
    "box_head/fc1/kernel": "roi_heads.box_head.fc1.weight",
    "box_head/fc2/bias": "roi_heads.box_head.fc2.bias",
}


@pytest.mark.parametrize(
    "expected",
    [
        {
            "backbone/conv1/kernel": "backbone.bottom_up.stem.conv1.weight",
            "backbone/block1/unit1/shortcut/gamma": "backbone.bottom_up.res2.0.shortcut.norm.weight",
            "backbone/block4/unit3/conv1/moving_variance": "backbone.bottom_up.res5.2.conv1.norm.running_var",
            "fpn/lateral1/kernel": "backbone.fpn_lateral2.weight",
            "fpn/output4/bias": "backbone.fpn_output5.bias",
            **D2_HEAD,
        },
        {  # DC5
            "backbone/conv1/beta": "backbone.stem.conv1.norm.bias",
            "backbone/block4/unit3/conv3/kernel": "backbone.res5.2.conv3.weight",
            **D2_HEAD,
        },
        {  # C4
            "backbone/block3/unit1/conv1/kernel": "backbone.res4.0.conv1.weight",
            "backbone/block4/unit3/conv3/kernel": "roi_heads.res5.2.conv3.weight",
            "backbone/block4/unit1/shortcut/moving_mean": "roi_heads.res5.0.shortcut.norm.running_mean",
        },
    ],
    ids=["FPN", "DC5", "C4"],
)
def test_detectron2_names(expected):
    assert names(expected | D2_COMMON, DETECTRON2) == expected | D2_COMMON


@pytest.mark.parametrize("library", [TORCHVISION, DETECTRON2], ids=lambda library: library.name)
def test_weights_without_a_counterpart(library):
    paths = ["rpn/conv/kernel", "rpn/conv/gamma", "backbone/block1/unit1/conv1/scale", "ssd/head/kernel"]
    with pytest.raises(CheckpointError) as caught:
        find_sources(paths, library)
    assert str(caught.value) == (
        f"{library.name} has no counterpart of 3 (rpn/conv/gamma, backbone/block1/unit1/conv1/scale, ssd/head/kernel) "
        "of the model's weights"
    )


# --- Values -------------------------------------------------------------------------------------------------------


def test_convolutions_and_batch_norms():
    kernel = numbers((5, 2, 3, 4))  # grouped: 2 of its inputs
    state = {
        "backbone.body.conv1.weight": kernel,
        "backbone.body.bn1.weight": numbers(5, 1),
        "backbone.body.bn1.bias": numbers(5, 2).astype(np.float16),
        "backbone.body.bn1.running_mean": numbers(5, 3).astype(np.float64),
        "backbone.body.bn1.running_var": numbers(5, 4),
        "backbone.body.bn1.num_batches_tracked": np.array(7),
    }
    shapes = {"backbone/conv1/kernel": [3, 4, 2, 5]}
    shapes |= {f"backbone/conv1/{part}": [5] for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    weights = convert_state(state, shapes, "torchvision")
    assert list(weights) == list(shapes)
    assert all(array.dtype == np.float32 for array in weights.values())
    for out, group_input, row, column in np.ndindex(kernel.shape):
        found = weights["backbone/conv1/kernel"][row, column, group_input, out]
        assert found == kernel[out, group_input, row, column]
    for first, part in enumerate(("gamma", "beta", "moving_mean", "moving_variance"), start=1):
        np.testing.assert_array_equal(weights[f"backbone/conv1/{part}"], numbers(5, first))
    assert left_out(state, TORCHVISION) == ["backbone.body.bn1.num_batches_tracked"]


@pytest.mark.parametrize(
    ("family", "name"), [("torchvision", "roi_heads.box_head.fc6"), ("detectron2", "roi_heads.box_head.fc1")]
)
def test_the_first_connected_layer_sees_rows_columns_channels(family, name):
    """What it says of a pooled grid is the same, whichever way the grid is flattened."""
    channels, out = 3, 40
    kernel = np.random.default_rng(0).normal(size=(out, channels * 49)).astype(np.float32)
    grid = np.random.default_rng(1).normal(size=(7, 7, channels)).astype(np.float32)
    state = {f"{name}.weight": kernel, f"{name}.bias": numbers(out)}
    shapes = {"box_head/fc1/kernel": (49 * channels, out), "box_head/fc1/bias": (out,)}
    weights = convert_state(state, shapes, family)
    there = kernel @ grid.transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(grid.ravel() @ weights["box_head/fc1/kernel"], there, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(weights["box_head/fc1/bias"], numbers(out))


PREDICTOR = {
    "box_head/classes/kernel": (4, 3),
    "box_head/classes/bias": (3,),
    "box_head/deltas/kernel": (4, 8),
    "box_head/deltas/bias": (8,),
}


def test_torchvision_has_the_background_first():
    classes, deltas = numbers((3, 4)), numbers((12, 4))
    state = {
        "roi_heads.box_predictor.cls_score.weight": classes,
        "roi_heads.box_predictor.cls_score.bias": numbers(3),
        "roi_heads.box_predictor.bbox_pred.weight": deltas,
        "roi_heads.box_predictor.bbox_pred.bias": numbers(12),
    }
    weights = convert_state(state, PREDICTOR, "torchvision")
    np.testing.assert_array_equal(weights["box_head/classes/kernel"].T, [classes[1], classes[2], classes[0]])
    np.testing.assert_array_equal(weights["box_head/classes/bias"], [1, 2, 0])
    np.testing.assert_array_equal(weights["box_head/deltas/kernel"].T, deltas[4:])
    np.testing.assert_array_equal(weights["box_head/deltas/bias"], np.arange(4, 12))


def test_detectron2_has_it_last():
    state = {
        "roi_heads.box_predictor.cls_score.weight": numbers((3, 4)),
        "roi_heads.box_predictor.cls_score.bias": numbers(3),
        "roi_heads.box_predictor.bbox_pred.weight": numbers((8, 4)),
        "roi_heads.box_predictor.bbox_pred.bias": numbers(8),
        "pixel_mean": numbers((3, 1, 1)),
        "pixel_std": numbers((3, 1, 1)),
        "proposal_generator.anchor_generator.cell_anchors.0": numbers((15, 4)),
    }
    weights = convert_state(state, PREDICTOR, "detectron2")
    np.testing.assert_array_equal(weights["box_head/classes/kernel"], numbers((3, 4)).T)
    np.testing.assert_array_equal(weights["box_head/classes/bias"], numbers(3))
    np.testing.assert_array_equal(weights["box_head/deltas/kernel"], numbers((8, 4)).T)
    np.testing.assert_array_equal(weights["box_head/deltas/bias"], numbers(8))
    assert left_out(state, DETECTRON2) == [*list(state)[4:]]


OLD_AND_NEW = {
    "rpn.head.conv.weight": "rpn.head.conv.0.0.weight",
    "rpn.head.conv.bias": "rpn.head.conv.0.0.bias",
    "backbone.fpn.inner_blocks.1.weight": "backbone.fpn.inner_blocks.1.0.weight",
    "backbone.fpn.layer_blocks.0.bias": "backbone.fpn.layer_blocks.0.0.bias",
}
SHAPES = {
    "rpn/conv/kernel": (1, 1, 2, 2),
    "rpn/conv/bias": (2,),
    "fpn/lateral2/kernel": (1, 1, 2, 2),
    "fpn/output1/bias": (2,),
}


def state_with(renamed):
    shapes = [(2, 2, 1, 1), (2,), (2, 2, 1, 1), (2,)]
    return {
        renamed.get(name, name): numbers(shape, first)
        for first, (name, shape) in enumerate(zip(OLD_AND_NEW, shapes, strict=True))
    }


def test_both_generations_of_names():
    old = convert_state(state_with({}), SHAPES, "torchvision")
    new = convert_state(state_with(OLD_AND_NEW), SHAPES, "torchvision")
    for path in SHAPES:
        np.testing.assert_array_equal(old[path], new[path])
    np.testing.assert_array_equal(new["fpn/output1/bias"], [3, 4])
    with pytest.raises(CheckpointError, match=r"rpn\.head\.conv\.0\.0\.weight is there twice"):
        convert_state(state_with({}) | state_with(OLD_AND_NEW), SHAPES, "torchvision")


# --- Everything accounted for -------------------------------------------------------------------------------------


def problem(state, shapes=SHAPES):
    with pytest.raises(CheckpointError) as caught:
        convert_state(state, shapes, "torchvision")
    return str(caught.value)


def test_missing_left_over_misshapen_and_other_tensors_are_named():
    state = state_with(OLD_AND_NEW)
    del state["rpn.head.conv.0.0.bias"]
    state["rpn.head.conv.0.0.weight"] = numbers((2, 2, 3, 3))
    state["backbone.fpn.layer_blocks.0.0.bias"] = np.zeros(2, np.int64)
    state["roi_heads.mask_head.weight"] = numbers(2)
    assert problem(state) == (
        "does not fit the model: 1 (rpn.head.conv.0.0.bias) of its tensors are missing; "
        "1 (roi_heads.mask_head.weight) are left over; "
        "1 (rpn.head.conv.0.0.weight ([2, 2, 3, 3], [2, 2, 1, 1] is expected)) have another shape; "
        "1 (backbone.fpn.layer_blocks.0.0.bias (int64)) hold no floating-point numbers"
    )


def test_many_names_are_cut_short():
    state = state_with(OLD_AND_NEW) | {f"stranger{number}": numbers(1) for number in range(9)}
    assert problem(state) == (
        "does not fit the model: 9 (stranger0, stranger1, stranger2, stranger3 and 5 more) are left over"
    )


def test_another_number_of_classes_is_another_shape():
    state = {
        "roi_heads.box_predictor.cls_score.weight": numbers((6, 4)),
        "roi_heads.box_predictor.cls_score.bias": numbers(6),
        "roi_heads.box_predictor.bbox_pred.weight": numbers((24, 4)),
        "roi_heads.box_predictor.bbox_pred.bias": numbers(24),
    }
    assert "cls_score.weight ([6, 4], [3, 4] is expected)" in problem(state, PREDICTOR)
    assert "bbox_pred.bias ([24], [12] is expected)" in problem(state, PREDICTOR)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none(broken):
    state = state_with(OLD_AND_NEW)
    state["rpn.head.conv.0.0.bias"] = np.array([1.0, broken])
    assert problem(state) == "NaN or infinity in 1 (rpn.head.conv.0.0.bias) of its tensors"


def test_false_sizes_cost_nothing():
    """A tensor may claim any size by strides of 0; it is compared before it is copied."""
    state = {"roi_heads.box_head.fc6.weight": np.broadcast_to(np.float32(1), (1 << 30, 1 << 30))}
    state["roi_heads.box_head.fc6.bias"] = numbers(2)
    shapes = {"box_head/fc1/kernel": (49, 2), "box_head/fc1/bias": (2,)}
    assert "[1073741824, 1073741824], [2, 49] is expected" in problem(state, shapes)


def test_another_grid_is_refused():
    state = {"roi_heads.box_head.fc6.weight": numbers((2, 50)), "roi_heads.box_head.fc6.bias": numbers(2)}
    shapes = {"box_head/fc1/kernel": (50, 2), "box_head/fc1/bias": (2,)}
    assert problem(state, shapes).startswith(
        "the model's first fully connected layer takes 50 numbers, which is no grid"
    )
