import hashlib
import http.server
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.resnet import RESNET_SHAPES, ResNet, thin_resnet_shape
from luminoth.backbones.vgg import VGG, VGG_UNITS
from luminoth.backbones.weights import PublishedWeights, fetch, load_keras_weights
from luminoth.errors import CheckpointError, ModelError


def save_as_published(model, file):
    """Writes a Keras model in the HDF5 form in which Keras Applications publishes its weights."""
    with h5py.File(file, "w") as content:
        content.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = content.create_group(layer.name)
            names = [f"{layer.name}/{v.name}:0".encode() for v in layer.weights]
            group.attrs["weight_names"] = names
            for name, variable in zip(names, layer.weights, strict=True):
                group[name.decode()] = variable.numpy()


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (1.5 / fan_in) ** 0.5, variable.shape))
        else:
            low, high = (0.6, 1.2) if variable.name in ("gamma", "moving_variance") else (-0.2, 0.2)
            variable.assign(rng.uniform(low, high, variable.shape))


def test_resnet50_equals_keras_applications(tmp_path):
    reference = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(96, 128, 3))
    randomise(reference)
    save_as_published(reference, tmp_path / "r50.h5")
    ours = ResNet(RESNET_SHAPES["resnet_v1_50"], tail_stride=2)
    assert load_keras_weights(ours, tmp_path / "r50.h5") == 53 * 5

    pixels = np.random.default_rng(3).uniform(0, 255, (1, 96, 128, 3)).astype(np.float32)
    normalised = keras.applications.resnet.preprocess_input(pixels.copy())
    np.testing.assert_allclose(ours.pixels(tf.constant(pixels)).numpy(), normalised, rtol=1e-5, atol=1e-4)

    at_stride_16 = keras.Model(reference.input, reference.get_layer("conv4_block6_out").output)
    expected, (features,) = at_stride_16(normalised).numpy(), ours(normalised)
    assert features.shape == (1, 6, 8, 1024)
    assert (ours.strides, ours.out_channels) == ((16,), (1024,))
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-3 * expected.std())
    expected = reference(normalised).numpy()
    np.testing.assert_allclose(ours.tail(features).numpy(), expected, atol=1e-3 * expected.std())


def test_vgg16_equals_keras_applications(tmp_path):
    reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 96, 3))
    randomise(reference)
    save_as_published(reference, tmp_path / "vgg.h5")
    ours = VGG(VGG_UNITS["vgg_16"])
    assert load_keras_weights(ours, tmp_path / "vgg.h5") == 26
    pixels = np.random.default_rng(3).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    normalised = keras.applications.vgg16.preprocess_input(pixels.copy())
    np.testing.assert_allclose(ours.pixels(tf.constant(pixels)).numpy(), normalised, rtol=1e-5, atol=1e-4)
    before_pooling = keras.Model(reference.input, reference.get_layer("block5_conv3").output)
    expected = before_pooling(normalised).numpy()
    (features,) = ours(normalised)
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-3 * expected.std())
    assert (ours.strides, ours.out_channels) == ((16,), (512,))


def test_output_stride_8_dilates_and_keeps_the_weights():
    coarse, fine = (ResNet(thin_resnet_shape(8), output_stride=s, with_tail=False) for s in (16, 8))
    pixels = tf.random.stateless_uniform((1, 64, 96, 3), (1, 2), -1, 1)
    assert [features.shape for features in coarse(pixels)] == [(1, 4, 6, 32)]
    assert [features.shape for features in fine(pixels)] == [(1, 8, 12, 32)]
    assert (coarse.strides, fine.strides) == ((16,), (8,))
    assert [v.shape for v in coarse.variables] == [v.shape for v in fine.variables]


def test_no_file_fits_basic_units():
    with pytest.raises(ModelError, match=r"w\.h5: files of Keras Applications hold no ResNet of basic units"):
        load_keras_weights(ResNet(thin_resnet_shape(4)), "w.h5")


def test_files_that_do_not_fit_are_refused(tmp_path):
    ours = VGG(VGG_UNITS["vgg_16"])
    kernel_before = ours.conv1.convs[0].kernel.numpy()
    (tmp_path / "text.h5").write_text("not hdf5")
    with pytest.raises(CheckpointError, match=r"text\.h5: not a readable HDF5 file"):
        load_keras_weights(ours, tmp_path / "text.h5")
    save_as_published(
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="other")]), tmp_path / "o.h5"
    )
    with pytest.raises(CheckpointError, match="there is no layer block1_conv1"):
        load_keras_weights(ours, tmp_path / "o.h5")
    one_layer = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="block1_conv1")]
    small = keras.Sequential(one_layer)
    save_as_published(small, tmp_path / "s.h5")
    with pytest.raises(CheckpointError, match="there is no layer block1_conv2"):
        load_keras_weights(ours, tmp_path / "s.h5")
    np.testing.assert_array_equal(ours.conv1.convs[0].kernel.numpy(), kernel_before)


@pytest.fixture
def server(tmp_path):
    """A local HTTP server of a folder; gives (folder, address)."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_fetch_downloads_once_and_verifies(server, tmp_path):
    folder, address = server
    content = b"weights" * 1000
    (folder / "w.h5").write_bytes(content)
    weights = PublishedWeights(f"{address}/w.h5", hashlib.md5(content).hexdigest())
    assert fetch(weights, tmp_path / "cache").read_bytes() == content
    (folder / "w.h5").unlink()
    assert fetch(weights, tmp_path / "cache").read_bytes() == content  # from the cache


def test_fetch_refuses_other_content_and_leaves_nothing(server, tmp_path):
    folder, address = server
    (folder / "w.h5").write_text("<html>please log in</html>")
    with pytest.raises(CheckpointError, match="MD5"):
        fetch(PublishedWeights(f"{address}/w.h5", "0" * 32), tmp_path / "cache")
    with pytest.raises(CheckpointError, match=r"could not be downloaded.*404"):
        fetch(PublishedWeights(f"{address}/missing.h5", "0" * 32), tmp_path / "cache")
    with pytest.raises(CheckpointError, match="weights: random"):
        fetch(PublishedWeights("http://127.0.0.1:9/w.h5", "0" * 32), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
