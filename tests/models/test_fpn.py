"""Detectors on a feature pyramid, and the other bodies that are not C4's."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.resnet import RESNET_SHAPES, ResNetShape
from luminoth.errors import ConfigError
from luminoth.models.base import named_weights
from luminoth.models.build import build_model
from luminoth.types import Batch
from tests.boxes import numpy_boxes
from tests.models.test_faster_rcnn import BOXES, CLASS_IDS, SEED, gradients, total
from tests.models.tiny import batch, tiny_config, tiny_model

FPN = (
    "model.network.features=fpn",
    "model.fpn.channels=8",
    "model.anchors.sizes=[[8], [16], [32], [48], [64]]",
    "model.rcnn.layer_sizes=[16]",
    "model.rcnn.roi.pooled_height=3",
    "model.rcnn.roi.pooled_width=3",
)
LUMINOTHS_LOSSES = ["rpn_cls_loss", "rpn_reg_loss", "rcnn_cls_loss", "rcnn_reg_loss", "regularization_loss"]


@pytest.fixture(scope="module")
def model():
    return tiny_model(*FPN)


# A model that has learned ---------------------------------------------------------------------------------------

LEARNING = (
    *FPN,
    "model.base_network.width=8",
    "model.base_network.train_batch_norm=false",  # one picture's statistics differ too much from canvas to canvas
    "model.fpn.channels=16",
    "model.rcnn.layer_sizes=[64]",
    "model.rpn.target.allowed_border=null",
    "model.rpn.target.minibatch_size=64",
    "model.rpn.proposals.post_nms_top_n=24",
    "model.rcnn.target.minibatch_size=24",
    "model.rcnn.target.foreground_fraction=0.5",
)


OBJECTS = {0: [8, 12, 40, 44], 2: [52, 20, 92, 60]}  # boxes of classes


def scene():
    """A grey picture with a red square of class 0 and a blue one of class 2."""
    data = batch([list(OBJECTS.values())], [list(OBJECTS)])
    pixels = np.full((1, 64, 96, 3), 60, np.float32)
    for class_id, (x_min, y_min, x_max, y_max) in OBJECTS.items():
        pixels[0, y_min:y_max, x_min:x_max] = 40
        pixels[0, y_min:y_max, x_min:x_max, class_id] = 230
    return Batch(tf.constant(pixels), *data[1:])


def on_canvas(images, height, width):
    below, right = height - images.shape[1], width - images.shape[2]
    return tf.pad(images, [[0, 0], [0, below], [0, right], [0, 0]])


@pytest.fixture(scope="module")
def learned():
    """Has seen the picture on canvases of two sizes."""
    model = tiny_model(*LEARNING)
    data = scene()
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.003, 240))

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3)), tf.TensorSpec((), tf.int32)], autograph=False)
    def step(images, index):
        with tf.GradientTape() as tape:
            loss = total(model.compute_losses(data._replace(images=images), training=True, seed=tf.stack([2, index])))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    history = []
    for index in range(240):
        images = on_canvas(data.images, 96, 128) if index % 2 else data.images
        history.append(float(step(images, tf.constant(index))))
    assert np.mean(history[-5:]) < 0.35 * np.mean(history[:5])
    return model


def copy_of(model, *overrides, **settings):
    """The same weights in a model built anew."""
    copy = build_model(tiny_config(*overrides), 3, **settings)
    weights = named_weights(model)
    for name, variable in named_weights(copy).items():
        variable.assign(weights[name])
    return copy


def detections(model, images, image_sizes, min_score=0.5):
    """For each picture [(box, score, class id), ...]."""
    result = model.detect(images, image_sizes, min_score=min_score)
    return [
        [
            (box, float(score), int(class_id))
            for box, score, class_id, is_valid in zip(*(part[i].numpy() for part in result), strict=True)
            if is_valid
        ]
        for i in range(images.shape[0])
    ]


def share_matched(found, expected, least_iou=0.9):
    """Share of `expected` for which `found` has a box of that class with an IoU above `least_iou`."""
    matched = [
        any(other == class_id and numpy_boxes.iou(candidate, box) > least_iou for candidate, _, other in its_found)
        for its_found, its_expected in zip(found, expected, strict=True)
        for box, _, class_id in its_expected
    ]
    assert matched
    return np.mean(matched)


def test_it_can_learn_one_picture(learned):
    data = scene()
    (found,) = detections(learned, data.images, data.image_sizes)
    best = {class_id: box for box, _, class_id in reversed(found)}
    assert set(best) == set(OBJECTS)
    for class_id, box in OBJECTS.items():
        assert numpy_boxes.iou(best[class_id], box) > 0.5


def test_a_larger_canvas_finds_the_same_objects(learned):
    """Not exactly the same boxes: past the first bias the padding is not zero any more, and reaches into the picture.

    On its own canvas the picture ends in the convolutions' zeros instead.
    """
    data = scene()
    (expected,) = detections(learned, data.images, data.image_sizes)
    assert set(OBJECTS) == {class_id for _, _, class_id in expected}
    best = [next(row for row in expected if row[2] == class_id) for class_id in OBJECTS]
    found = detections(learned, on_canvas(data.images, 96, 128), data.image_sizes)
    assert share_matched(found, [best]) == 1


def test_bfloat16_finds_the_same_objects(learned):
    # Processors that know no bfloat16 round partial sums to it as well.
    knows_bfloat16 = "bf16" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
    data, (tolerance, least_iou) = scene(), (0.005, 0.9) if knows_bfloat16 else (0.1, 0.8)
    halved = copy_of(learned, *LEARNING, precision="bfloat16")
    assert halved.compute_type == tf.bfloat16
    pixels = halved.network_input(data.images, data.image_sizes)
    assert {pixels.dtype, *(features.dtype for features in halved.extract(pixels, training=False))} == {tf.bfloat16}
    expected = learned.compute_losses(data, training=False, seed=SEED)
    for name, loss in halved.compute_losses(data, training=False, seed=SEED).items():
        assert loss.dtype == tf.float32
        assert float(loss) == pytest.approx(float(expected[name]), rel=0.05, abs=tolerance), name
    full = detections(learned, data.images, data.image_sizes)
    found = detections(halved, data.images, data.image_sizes, min_score=0.4)
    assert share_matched(found, full, least_iou) >= 0.95
    halved.freeze()
    frozen = detections(halved, data.images, data.image_sizes, min_score=0.4)
    assert share_matched(frozen, full, least_iou) >= 0.95


def test_bfloat16_trains():
    model = build_model(tiny_config(*FPN), 3, precision="bfloat16")
    losses, found = gradients(model, batch(BOXES, CLASS_IDS))
    assert all(loss.dtype == tf.float32 and np.isfinite(float(loss)) for loss in losses.values())
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        assert gradient.dtype == tf.float32, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path


def test_freezing_changes_nothing_but_that_weights_no_longer_count():
    model, data = tiny_model(*FPN, "model.fpn.batch_norm=true"), batch([[], []])
    rng = np.random.default_rng(0)
    for name, variable in named_weights(model).items():
        if name.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.7, 1.3, variable.shape))
        elif name.endswith(("beta", "moving_mean", "bias")):
            variable.assign(rng.uniform(-0.2, 0.2, variable.shape))
    expected = model.detect(data.images, data.image_sizes, min_score=0.0)
    assert expected.is_valid.numpy().any()
    model.freeze()

    def assert_same():
        found = model.detect(data.images, data.image_sizes, min_score=0.0)
        np.testing.assert_array_equal(found.is_valid, expected.is_valid)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3, rtol=1e-5)  # pixels

    assert_same()
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    assert_same()


def test_xla_finds_the_same(learned):
    data = scene()
    plain, ready = copy_of(learned, *LEARNING), copy_of(learned, *LEARNING, xla=True)
    compiled = tf.function(lambda i, s: ready.detect(i, s, min_score=0.1), jit_compile=True, autograph=False)
    expected = plain.detect(data.images, data.image_sizes, min_score=0.1)
    found = compiled(data.images, data.image_sizes)
    assert expected.is_valid.numpy().any()
    assert_equal(found, expected)


# Losses ---------------------------------------------------------------------------------------------------------


def test_losses_have_luminoths_names_and_reach_every_weight():
    # All anchors are sampled, so that every map of the pyramid takes part.
    model = tiny_model(*FPN, "model.rpn.target.minibatch_size=5000", "model.rpn.target.allowed_border=null")
    losses, found = gradients(model, batch(BOXES, CLASS_IDS))
    assert list(losses) == LUMINOTHS_LOSSES
    assert all(np.isfinite(float(loss)) and float(loss) > 0 for loss in losses.values())
    names = {id(variable): name for name, variable in named_weights(model).items()}
    reached = {names[id(v)] for v, g in zip(model.trainable_variables, found, strict=True) if np.any(g.numpy())}
    assert all(np.isfinite(gradient.numpy()).all() for gradient in found)
    assert reached == {names[id(variable)] for variable in model.trainable_variables}
    pyramid = {f"fpn/{kind}{level}" for kind in ("lateral", "output") for level in (1, 2, 3, 4)}
    assert {name.rpartition("/")[0] for name in reached if name.startswith("fpn")} == pyramid


@pytest.mark.parametrize("boxes", [[[], []], [[[5, 5, 40, 40]], []]])
def test_pictures_without_objects_train(boxes):
    losses, found = gradients(tiny_model(*FPN), batch(boxes))
    assert all(np.isfinite(float(loss)) for loss in losses.values())
    assert all(np.isfinite(g.numpy()).all() for g in found)
    if not boxes[0]:
        assert float(losses["rpn_reg_loss"]) == float(losses["rcnn_reg_loss"]) == 0.0


# Batches and canvases -------------------------------------------------------------------------------------------


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.is_valid, expected.is_valid)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)  # pixels


def row(result, index):
    return type(result)(*(part[index : index + 1] for part in result))


def test_batched_equals_single(model):
    data = batch([[]] * 3)
    together = model.detect(data.images, data.image_sizes, min_score=0.0)
    assert together.is_valid.numpy().any()
    for i in range(3):
        alone = model.detect(data.images[i : i + 1], data.image_sizes[i : i + 1], min_score=0.0)
        assert_equal(row(together, i), alone)


def test_pictures_of_one_canvas_equal_each_alone(model):
    """Sizes that the network pads to 64 x 96, which is a multiple of the coarsest stride."""
    assert model.size_multiple == 32
    sizes = [(64, 96), (50, 70), (33, 96)]
    pictures = [batch([[]], size=size, seed=i).images for i, size in enumerate(sizes)]
    canvas = tf.concat([on_canvas(picture, 64, 96) for picture in pictures], axis=0)
    together = model.detect(canvas, tf.constant(sizes), min_score=0.0)
    for i, picture in enumerate(pictures):
        alone = model.detect(picture, tf.constant(sizes[i : i + 1]), min_score=0.0)
        assert alone.is_valid.numpy().any()
        assert_equal(row(together, i), alone)
        height, width = sizes[i]
        assert (alone.boxes.numpy() <= [width, height, width, height]).all()


def test_losses_do_not_depend_on_the_padding_to_the_multiple(model):
    data = batch(BOXES, CLASS_IDS, size=(60, 90))
    padded = data._replace(images=on_canvas(data.images, 64, 96))
    expected = model.compute_losses(data, training=False, seed=SEED)
    for name, loss in model.compute_losses(padded, training=False, seed=SEED).items():
        assert float(loss) == pytest.approx(float(expected[name]), rel=1e-5), name


def test_graph_with_unknown_sizes_equals_eager(model):
    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, 2), tf.int32)]
    compiled = tf.function(lambda i, s: model.detect(i, s, min_score=0.0), input_signature=signature, autograph=False)
    for size in ((64, 96), (48, 80)):
        data = batch([[], []], size=size)
        expected = model.detect(data.images, data.image_sizes, min_score=0.0)
        assert_equal(compiled(data.images, data.image_sizes), expected)
    assert compiled.experimental_get_tracing_count() == 1


# Anchors --------------------------------------------------------------------------------------------------------


def anchors_of_maps(model, size):
    """For each map (grid, side of its square anchor, (down, across) between its anchors)."""
    pixels = model.network_input(tf.zeros((1, *size, 3)), tf.constant([size]))
    maps = model.extract(pixels, training=False)
    found = []
    for features, output in zip(maps, model.first_stage(pixels, maps), strict=True):
        rows, columns = features.shape[1:3]
        boxes = output.anchors.numpy().reshape(rows, columns, -1, 4)
        square = boxes[0, 0, 1]  # of ratios 0.5, 1 and 2
        down = boxes[1, 0, 1, 1] - square[1] if rows > 1 else None
        across = boxes[0, 1, 1, 0] - square[0] if columns > 1 else None
        found.append(((rows, columns), square[2] - square[0], (down, across)))
    return found


def test_each_map_has_its_own_anchors():
    found = anchors_of_maps(tiny_model(*FPN), (60, 150))  # padded to 64 x 160
    assert found == [
        ((16, 40), 8, (4, 4)),
        ((8, 20), 16, (8, 8)),
        ((4, 10), 32, (16, 16)),
        ((2, 5), 48, (32, 32)),
        ((1, 3), 64, (None, 64)),
    ]


def test_measured_spacing_divides_the_padded_size_by_the_grid():
    found = anchors_of_maps(tiny_model(*FPN, "model.anchors.spacing=measured"), (60, 150))
    assert [spacing for _, _, spacing in found] == [(4, 4), (8, 8), (16, 16), (32, 32), (None, 160 // 3)]


def test_a_list_of_sizes_for_each_map():
    config = tiny_config(*FPN, "model.anchors.sizes=[[8], [16], [32]]")
    with pytest.raises(ConfigError) as error:
        build_model(config, 3)
    assert str(error.value) == (
        "model.anchors.sizes has 3 lists; the detector has 5 feature maps, of strides 4, 8, 16, 32, 64: give one list "
        "for each"
    )
    config = tiny_config(*FPN, "model.anchors.sizes=[[8], [16], [32, 40], [48], [64]]")
    with pytest.raises(ConfigError, match="the lists differ in length"):
        build_model(config, 3)


# Variants -------------------------------------------------------------------------------------------------------


def assert_trains_and_detects(model):
    data = batch(BOXES, CLASS_IDS)
    losses, found = gradients(model, data)
    assert list(losses) == LUMINOTHS_LOSSES
    assert all(np.isfinite(float(loss)) for loss in losses.values())
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
    result = model.detect(data.images, data.image_sizes, min_score=0.0)
    assert result.boxes.shape == (2, 10, 4)
    assert result.is_valid.numpy().any()
    model.freeze()
    frozen = model.detect(data.images, data.image_sizes, min_score=0.0)
    np.testing.assert_allclose(frozen.scores, result.scores, atol=1e-4)


V2 = (
    *FPN,
    "model.fpn.batch_norm=true",
    "model.rpn.num_convs=2",
    "model.rcnn.conv_channels=[8, 8]",
)


def test_torchvisions_second_version_trains_and_detects():
    model = tiny_model(*V2)
    assert_trains_and_detects(model)
    names = named_weights(model)
    for name in ("fpn/lateral1/gamma", "fpn/output4/moving_mean", "rpn/conv2/kernel", "box_head/conv2/gamma"):
        assert name in names
    assert "fpn/lateral1/bias" not in names
    assert names["box_head/fc1/kernel"].shape == (3 * 3 * 8, 16)


def test_dc5_dilates_the_last_block_and_keeps_one_map():
    model = tiny_model("model.network.features=dc5", "model.rcnn.layer_sizes=[16]")
    assert (model.backbone.strides, model.backbone.out_channels, model.backbone.tail) == ((16,), (32,), None)
    data = batch([[]])
    (features,) = model.extract(model.network_input(data.images, data.image_sizes), training=False)
    assert features.shape == (1, 4, 6, 32)
    first, *others = (unit for unit in model.backbone.blocks[3].units)
    assert (first.conv1.stride, first.conv1.dilation, first.conv2.dilation, first.shortcut.stride) == (1, 2, 2, 1)
    assert all((unit.conv1.dilation, unit.conv2.dilation) == (2, 2) for unit in others)
    assert [conv.dilation for unit in model.backbone.blocks[2].units for conv in (unit.conv1, unit.conv2)] == [1] * 4
    assert_trains_and_detects(model)


@pytest.mark.parametrize("stride_in_3x3", ["true", "false"])
def test_resnext_trains_and_detects(monkeypatch, stride_in_3x3):
    thin = ResNetShape((1, 1, 2, 1), (8, 16, 32, 64), (8, 16, 32, 64), groups=4, stem_width=8)
    monkeypatch.setitem(RESNET_SHAPES, "resnext_101_32x8d", thin)
    overrides = (
        "model.base_network.architecture=resnext_101_32x8d",
        f"model.base_network.stride_in_3x3={stride_in_3x3}",
    )
    model = tiny_model(*FPN, *overrides)
    assert named_weights(model)["backbone/block2/unit1/conv2/kernel"].shape == (3, 3, 4, 16)
    assert model.backbone.strides == (4, 8, 16, 32)
    assert_trains_and_detects(model)


def test_mobilenet_builds_a_pyramid_of_two_maps_and_an_extra_one():
    model = build_model(
        tiny_config(
            *FPN,
            "model.base_network.architecture=mobilenet_v3_large",
            "model.anchors.sizes=[[16, 32], [16, 32], [16, 32]]",
        ),
        3,
    )
    assert model.fpn.strides == (32, 32, 64)
    data = batch(BOXES, CLASS_IDS)
    assert model.detect(data.images, data.image_sizes, min_score=0.0).is_valid.numpy().any()


def test_without_the_second_stage():
    model = tiny_model(*FPN, "model.network.with_rcnn=false")
    data = batch(BOXES, CLASS_IDS, size=(60, 90))
    losses, found = gradients(model, data)
    assert list(losses) == ["rpn_cls_loss", "rpn_reg_loss", "regularization_loss"]
    assert all(gradient is not None for gradient in found)
    result = model.detect(data.images, data.image_sizes)
    assert not result.class_ids.numpy().any()
    assert result.is_valid.numpy().any()
    assert (result.boxes.numpy() <= [90, 60, 90, 60]).all()
    assert not any(name.startswith("box_head") for name in named_weights(model))
