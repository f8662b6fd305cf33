import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from luminoth.errors import OutputError
from luminoth.training.watching.summaries import Summaries
from tests.training.tiny import TinyDetector


def read(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0, "images": 0}).Reload()


def curve(accumulator, name):
    return {event.step: event.value for event in accumulator.Scalars(name)}


def test_curves_and_pictures_are_read_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Summaries(tmp_path / "run", 0) as summaries:
        summaries.scalars({"losses/total_loss": 2.5, "train/rate": 1e-4, "time/unknown": None}, 1)
        summaries.scalars({"losses/total_loss": 1.5}, 3)
        summaries.picture("pictures/0_one", pixels, 3)
    found = read(tmp_path / "run")
    assert set(found.Tags()["scalars"]) == {"losses/total_loss", "train/rate"}
    assert curve(found, "losses/total_loss") == {1: 2.5, 3: 1.5}
    assert curve(found, "train/rate") == {1: pytest.approx(1e-4)}
    (image,) = found.Images("pictures/0_one")
    assert (image.step, image.width, image.height) == (3, 7, 5)
    np.testing.assert_array_equal(tf.io.decode_png(image.encoded_image_string), pixels)


def test_a_point_is_on_the_disk_at_once(tmp_path):
    with Summaries(tmp_path, 0) as summaries:
        summaries.scalars({"losses/total_loss": 2.5}, 1)
        assert curve(read(tmp_path), "losses/total_loss") == {1: 2.5}


def test_a_resumed_training_supersedes_what_it_does_again(tmp_path):
    for start, value in ((0, 1.0), (4, 2.0)):
        with Summaries(tmp_path, start) as summaries:
            for step in range(start + 2, start + 7, 2):
                summaries.scalars({"losses/total_loss": value}, step)
    assert curve(read(tmp_path), "losses/total_loss") == {2: 1.0, 4: 1.0, 6: 2.0, 8: 2.0, 10: 2.0}


def test_histograms_of_the_weights(tmp_path):
    model = TinyDetector()
    kernel = model.head.kernel
    kernel.assign(np.linspace(-1, 1, kernel.shape.num_elements()).reshape(kernel.shape))
    for folder, trained_only in (("reduced", True), ("full", False)):
        with Summaries(tmp_path / folder, 0) as summaries:
            summaries.histograms(model, 2, trained_only=trained_only)
    (event,) = read(tmp_path / "reduced").Tensors("weights/head/kernel")
    buckets = tf.make_ndarray(event.tensor_proto)  # [30, 3]: left, right, count
    assert (event.step, buckets[0, 0], buckets[-1, 1]) == (2, pytest.approx(-1), pytest.approx(1))
    assert buckets[:, 2].sum() == kernel.shape.num_elements()
    names = {folder: set(read(tmp_path / folder).Tags()["tensors"]) for folder in ("reduced", "full")}
    assert names["full"] - names["reduced"] == {
        f"weights/norm{number}/{name}" for number in (1, 2) for name in ("moving_mean", "moving_variance")
    }


def test_text_keeps_its_lines(tmp_path):
    with Summaries(tmp_path, 0) as summaries:
        summaries.text("config", "train:\n  seed: 1\n", 0)
        summaries.hparams({"train.batch_size": 2, "train.optimizer.type": "adam"}, "first")
    found = read(tmp_path)
    (event,) = found.Tensors("config")
    assert tf.make_ndarray(event.tensor_proto).item() == b"    train:\n      seed: 1\n    "
    assert "_hparams_/session_start_info" in found.Tags()["tensors"]


def test_the_graph(tmp_path):
    graph = tf.function(lambda x: tf.nn.relu(x, name="bend"), autograph=False).get_concrete_function(
        tf.TensorSpec([2], tf.float32)
    )
    with Summaries(tmp_path, 0) as summaries:
        summaries.graph(graph.graph)
    assert "bend" in [node.name for node in read(tmp_path).Graph().node]


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Summaries(None, 0) as summaries:
        summaries.scalars({"losses/total_loss": 1.0}, 1)
        summaries.histograms(TinyDetector(), 1, trained_only=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/events.*: TensorBoard's events cannot be written"):
        Summaries(tmp_path / "file", 0)
