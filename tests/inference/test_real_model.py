"""`Detector` with a small model of the real kind, saved and loaded as a run's checkpoint."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones import avx2_convolution
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.runs import save_checkpoint
from luminoth.config import load_config
from luminoth.inference.detector import Detector
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule

CONFIG = """
train: {{job_dir: {folder}, run_name: small}}
dataset: {{image_preprocessing: {{min_size: 64, max_size: 128}}}}
model:
  network: {{num_classes: 3}}
  base_network: {{architecture: thin_resnet, width: 8, weights: random}}
  anchors: {{base_size: 64}}
  rpn: {{num_channels: 16, proposals: {{test_post_nms_top_n: 20}}}}
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    file = folder / "config.yml"
    file.write_text(CONFIG.format(folder=folder))
    config = load_config([file])
    keras.utils.set_random_seed(0)
    model = build_model(config, 3)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    save_checkpoint(
        folder / "small", 3, model=model, optimizer=optimizer, config=config, classes=["a", "b", "c"], state={}
    )
    return file


@pytest.fixture(scope="module")
def detector(config_file):
    return Detector(config=config_file, prob=0.05)


def random_picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_finds_what_the_model_finds_on_the_resized_picture(detector):
    pixels = random_picture(80, 120)  # 64 x 96 in the network
    loaded = load_model(detector.checkpoint)
    resized = ResizeRule(min_size=64, max_size=128)(tf.constant(pixels))
    assert resized.shape == (64, 96, 3)
    output = loaded.model.detect(resized[None], tf.constant([[64, 96]]), min_score=0.05)
    is_valid = output.is_valid[0].numpy()
    assert is_valid.sum() > 3

    found = detector.detect(pixels)
    assert found.class_names == ["a", "b", "c"]
    np.testing.assert_allclose(found.boxes, output.boxes[0].numpy()[is_valid] * 1.25, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found.scores, output.scores[0].numpy()[is_valid], atol=1e-4)
    assert found.class_ids.tolist() == output.class_ids[0].numpy()[is_valid].tolist()
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0.05


@pytest.mark.parametrize("suits", [False, True])
def test_a_list_finds_the_same_as_single_pictures(config_file, suits, monkeypatch):
    monkeypatch.setattr(avx2_convolution, "suits_this_machine", lambda: suits)
    detector = Detector(config=config_file, prob=0.05)
    pictures = [random_picture(*size) for size in ((80, 120), (120, 80), (40, 60), (50, 50))]
    singly = [detector.detect(pixels) for pixels in pictures]
    together = detector.detect([pixels for pixels in pictures for _ in range(3)])
    assert len(singly[0]) > 3
    for index, found in enumerate(together):
        alone = singly[index // 3]
        np.testing.assert_allclose(found.boxes, alone.boxes, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)
    # Sizes need no trace of their own; a picture alone does where it is computed in another way.
    traced = [detector._find_in_one, detector._find_in_batch]
    assert [graph.experimental_get_tracing_count() for graph in traced] == [1, 1]
    assert (traced[0] is traced[1]) == (not suits)


def test_a_picture_left_over_from_batches_is_not_worth_a_trace(config_file, monkeypatch):
    monkeypatch.setattr(avx2_convolution, "suits_this_machine", lambda: True)
    detector = Detector(config=config_file, prob=0.05, batch_size=2)
    found = detector.detect([random_picture(80, 120)] * 3)
    np.testing.assert_allclose(found[2].boxes, found[0].boxes, rtol=1e-3, atol=1e-2)
    assert detector._find_in_one.experimental_get_tracing_count() == 0


def test_prob_below_and_above(detector, monkeypatch):
    pixels = random_picture(80, 120)
    scores = detector.detect(pixels).scores
    monkeypatch.setattr(detector, "prob", float(scores[2]))
    assert len(detector.detect(pixels)) == 3
