import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Dense
from luminoth.errors import ConfigError, ModelError
from luminoth.models.base import named_weights
from luminoth.models.build import build_model, load_pretrained_backbone
from luminoth.types import Batch
from tests.boxes import numpy_boxes
from tests.models.tiny import batch, tiny_config, tiny_model

SEED = tf.constant([3, 4])
BOXES = [[[5, 5, 40, 40], [50, 20, 90, 60]], [[10, 30, 30, 60]]]
CLASS_IDS = [[0, 2], [1]]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def total(losses):
    return tf.add_n(list(losses.values()))


def gradients(model, data, training=True):
    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            losses = model.compute_losses(data, training=training, seed=SEED)
            loss = total(losses)
        return losses, tape.gradient(loss, model.trainable_variables)

    return run()


def test_losses_have_luminoths_names_and_reach_every_weight():
    model = tiny_model()
    losses, found = gradients(model, batch(BOXES, CLASS_IDS))
    assert list(losses) == ["rpn_cls_loss", "rpn_reg_loss", "rcnn_cls_loss", "rcnn_reg_loss", "regularization_loss"]
    assert all(np.isfinite(float(loss)) and float(loss) > 0 for loss in losses.values())
    assert len(found) == len(model.trainable_variables) > 60
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize("boxes", [[[], []], [[[5, 5, 40, 40]], []]])
def test_pictures_without_objects_train(boxes):
    losses, found = gradients(tiny_model(), batch(boxes))
    assert all(np.isfinite(float(loss)) for loss in losses.values())
    assert all(np.isfinite(g.numpy()).all() for g in found)
    if not boxes[0]:
        assert float(losses["rpn_reg_loss"]) == float(losses["rcnn_reg_loss"]) == 0.0


def test_padded_ground_truth_equals_unpadded():
    # A row more changes which random numbers the sampling draws; with every candidate sampled nothing is random.
    everything = tiny_model("model.rpn.target.minibatch_size=5000", "model.rcnn.target.minibatch_size=64")
    plain = everything.compute_losses(batch(BOXES, CLASS_IDS), training=False, seed=SEED)
    padded = everything.compute_losses(batch(BOXES, CLASS_IDS, padding=3), training=False, seed=SEED)
    for name, loss in plain.items():
        assert float(padded[name]) == pytest.approx(float(loss), rel=1e-5), name


def test_the_seed_decides_the_losses(model):
    data = batch(BOXES, CLASS_IDS)

    def losses(seed):
        return [float(v) for v in model.compute_losses(data, training=False, seed=tf.constant(seed)).values()]

    assert losses([1, 2]) == losses([1, 2])
    assert losses([1, 2]) != losses([1, 3])


def test_batched_equals_single(model):
    data = batch(BOXES, CLASS_IDS)
    both = model.detect(data.images, data.image_sizes, min_score=0.0)
    assert both.is_valid.numpy().any()
    for i in range(2):
        single = model.detect(data.images[i : i + 1], data.image_sizes[i : i + 1], min_score=0.0)
        np.testing.assert_array_equal(both.is_valid[i], single.is_valid[0])
        np.testing.assert_array_equal(both.class_ids[i], single.class_ids[0])
        np.testing.assert_allclose(both.boxes[i], single.boxes[0], atol=1e-2)
        np.testing.assert_allclose(both.scores[i], single.scores[0], atol=1e-4)


def test_detections_are_sorted_inside_the_picture_and_zero_where_not_valid(model):
    images = tf.random.stateless_uniform((2, 64, 96, 3), (5, 6), 0, 255)
    sizes = tf.constant([[64, 96], [40, 50]])
    result = model.detect(images, sizes, min_score=0.0)
    for boxes, scores, is_valid, (height, width) in zip(*result[:2], result.is_valid, sizes.numpy(), strict=True):
        valid = is_valid.numpy()
        assert (np.diff(scores.numpy()) <= 0).all()
        assert (boxes.numpy()[valid] >= 0).all()
        assert (boxes.numpy()[valid] <= [width, height, width, height]).all()
        assert not boxes.numpy()[~valid].any()
        assert not scores.numpy()[~valid].any()


def test_what_is_in_the_padding_does_not_matter(model):
    images = np.zeros((1, 64, 96, 3), np.float32)
    images[:, :40, :50] = np.random.default_rng(0).uniform(0, 255, (1, 40, 50, 3))
    noisy = images.copy()
    noisy[:, 40:] = 200
    noisy[:, :, 50:] = 90
    sizes = tf.constant([[40, 50]])
    clean, dirty = (model.detect(tf.constant(x), sizes, min_score=0.0) for x in (images, noisy))
    np.testing.assert_array_equal(clean.boxes, dirty.boxes)
    np.testing.assert_array_equal(clean.scores, dirty.scores)


def test_graph_with_unknown_sizes_equals_eager(model):
    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, 2), tf.int32)]
    compiled = tf.function(lambda i, s: model.detect(i, s, min_score=0.0), input_signature=signature, autograph=False)
    for size in ((64, 96), (48, 80)):
        data = batch([[]], size=size)
        for a, b in zip(
            compiled(data.images, data.image_sizes),
            model.detect(data.images, data.image_sizes, min_score=0.0),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-3)
    assert compiled.experimental_get_tracing_count() == 1


def test_min_score_overrides_the_configured_one():
    model = tiny_model("model.rcnn.proposals.min_prob_threshold=0.9")
    data = batch([[]])

    def scores(**settings):
        result = model.detect(data.images, data.image_sizes, **settings)
        return result.scores[0].numpy()[result.is_valid[0].numpy()]

    everything = scores(min_score=0.0)
    middle = float(np.median(everything))
    assert everything.min() < middle
    np.testing.assert_allclose(scores(min_score=middle), everything[everything >= middle], atol=1e-6)
    np.testing.assert_allclose(scores(), everything[everything >= 0.9], atol=1e-6)
    assert len(scores(min_score=1.1)) == 0


def test_it_can_learn_one_picture():
    """150 steps on one picture: the losses fall, and the object is found, if only roughly."""
    model = tiny_model("model.base_network.width=8")
    data = batch([[[16, 8, 56, 48]]], [[1]])
    pixels = np.full((1, 64, 96, 3), 60, np.float32)
    pixels[0, 8:48, 16:56] = [230, 40, 40]
    data = Batch(tf.constant(pixels), *data[1:])
    optimizer = keras.optimizers.Adam(0.003)

    @tf.function(autograph=False)
    def step(index):
        with tf.GradientTape() as tape:
            loss = total(model.compute_losses(data, training=True, seed=tf.stack([1, index])))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    history = [float(step(tf.constant(i))) for i in range(150)]
    assert np.mean(history[-5:]) < 0.35 * np.mean(history[:5])
    result = model.detect(data.images, data.image_sizes, min_score=0.3)
    assert bool(result.is_valid[0, 0])
    assert int(result.class_ids[0, 0]) == 1
    assert numpy_boxes.iou(result.boxes[0, 0].numpy(), [16, 8, 56, 48]) > 0.5


# Variants and freezing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.base_network.use_tail=false", "model.rcnn.layer_sizes=[16]", "model.rcnn.use_mean=false"],
        ["model.rcnn.roi.pooling_mode=crop"],
        ["model.base_network.output_stride=8", "model.base_network.tail_stride=2", "model.rcnn.use_mean=false"],
        ["model.rcnn.layer_sizes=[8]", "model.rcnn.dropout_keep_prob=0.5", "model.rpn.kernel_shape=[1, 3]"],
    ],
)
def test_variants_train_and_detect(overrides):
    model = tiny_model(*overrides)
    data = batch(BOXES, CLASS_IDS)
    losses, found = gradients(model, data)
    assert np.isfinite(float(total(losses)))
    assert all(gradient is not None for gradient in found)
    assert model.detect(data.images, data.image_sizes, min_score=0.0).boxes.shape == (2, 10, 4)


def test_without_the_second_stage():
    model = tiny_model("model.network.with_rcnn=false")
    data = batch(BOXES, CLASS_IDS)
    losses, _ = gradients(model, data)
    assert list(losses) == ["rpn_cls_loss", "rpn_reg_loss", "regularization_loss"]
    result = model.detect(data.images, data.image_sizes)
    assert not result.class_ids.numpy().any()
    assert result.is_valid.numpy().any()
    assert not any("block4" in name for name in named_weights(model))


def test_frozen_parts_by_configuration():
    def trained_groups(*overrides):
        config = tiny_config("model.base_network.train_batch_norm=false", *overrides)
        model = build_model(config, 3)
        names = {id(v): name for name, v in named_weights(model).items()}
        return {"/".join(names[id(v)].split("/")[:2]) for v in model.trainable_variables}

    head = {f"{p}" for p in ("rpn/conv", "rpn/objectness", "rpn/deltas", "box_head/classes", "box_head/deltas")}
    blocks = {f"backbone/{g}" for g in ("block2", "block3", "block4")}
    assert trained_groups("model.base_network.fine_tune_from=block2") == head | blocks
    assert trained_groups("model.base_network.fine_tune_from=block3") == head | blocks - {"backbone/block2"}
    assert trained_groups() == head | blocks | {"backbone/conv1", "backbone/block1"}
    assert trained_groups("model.base_network.trainable=false") == head | {"backbone/block4"}
    assert trained_groups("model.base_network.trainable=false", "model.base_network.freeze_tail=true") == head
    with pytest.raises(ConfigError, match=r"fine_tune_from is 'block9'.*conv1, block1, block2, block3, block4"):
        trained_groups("model.base_network.fine_tune_from=block9")


def test_frozen_batch_norm_keeps_its_statistics():
    model = tiny_model("model.base_network.train_batch_norm=false")
    before = {n: v.numpy() for n, v in named_weights(model).items() if "moving" in n}
    gradients(model, batch(BOXES, CLASS_IDS))
    for name, value in before.items():
        np.testing.assert_array_equal(named_weights(model)[name].numpy(), value)
    trained = tiny_model()
    gradients(trained, batch(BOXES, CLASS_IDS))
    assert any(v.numpy().any() for n, v in named_weights(trained).items() if "moving_mean" in n)


def test_regularization_follows_the_configured_scales():
    model = tiny_model(
        "model.base_network.arg_scope.weight_decay=0.0",
        "model.rpn.l2_regularization_scale=0.0",
        "model.rcnn.l2_regularization_scale=0.01",
    )
    kernels = [model.box_head.classes.kernel.numpy(), model.box_head.deltas.kernel.numpy()]
    expected = 0.01 * sum((k**2).sum() for k in kernels) / 2
    assert float(model.regularization_loss()) == pytest.approx(expected, rel=1e-5)


def test_weights_have_stable_unique_names(model):
    names = named_weights(model)
    assert len(names) == len(model.variables)
    assert "backbone/block2/unit1/shortcut/kernel" in names
    assert "box_head/deltas/bias" in names
    assert list(names) == list(named_weights(tiny_model()))
    twins = keras.layers.Layer()
    twins.first, twins.second = Dense(2, 1, name="a"), Dense(2, 1, name="a")
    with pytest.raises(ModelError, match="two weights of the model are named a/kernel"):
        named_weights(twins)


def test_pretraining_must_be_said():
    model = tiny_model()
    assert load_pretrained_backbone(model, tiny_config()) == "random weights"
    with pytest.raises(ConfigError, match=r"fine_tune_from: null.*train_batch_norm: true"):
        load_pretrained_backbone(
            model, tiny_config("model.base_network.fine_tune_from=block2", "model.base_network.train_batch_norm=false")
        )
    with pytest.raises(ConfigError, match="where should thin_resnet start from"):
        load_pretrained_backbone(model, tiny_config("model.base_network.weights=null"))


@pytest.mark.parametrize("architecture", ["resnet_v1_101", "resnet_v1_152", "vgg_19"])
def test_the_large_architectures_build(architecture):
    model = build_model(tiny_config(f"model.base_network.architecture={architecture}"), 20)
    names = named_weights(model)
    units = {
        "resnet_v1_101": "backbone/block3/unit23/conv3/kernel",
        "resnet_v1_152": "backbone/block3/unit36/conv3/kernel",
    }
    assert units.get(architecture, "backbone/conv5/conv4/kernel") in names
