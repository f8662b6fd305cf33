"""A real, untrained model from its checkpoint folder to figures; the checks of classes."""

import numpy as np
import pytest

from luminoth.checkpoints.runs import save_checkpoint
from luminoth.config import config_from_dict
from luminoth.errors import CheckpointError, ConfigError
from luminoth.evaluation.checkpoint import Split, evaluate_checkpoint, match_classes, open_split
from luminoth.evaluation.evaluate import evaluate
from luminoth.models.build import build_model
from luminoth.resize import ResizeRule
from tests.evaluation.scripted import CLASSES, write_records

# Two shapes, so that a batch holds pictures of different sizes.
PICTURES = [
    ((48, 64), [[4, 4, 30, 40], [34, 20, 60, 44]], [0, 1], [0, 0]),
    ((64, 48), [[5, 5, 45, 60]], [2], [0]),
    ((48, 64), [[0, 0, 32, 32]], [1], [0]),
]


def make_checkpoint(folder):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(3)
    config = config_from_dict(
        {
            "dataset": {"dir": str(folder / "tf"), "image_preprocessing": {"min_size": 64, "max_size": 96}},
            "model": {
                "type": "fasterrcnn",
                "base_network": {"architecture": "thin_resnet", "width": 8, "weights": "random"},
                "anchors": {"base_size": 32, "scales": [0.5, 1.0], "ratios": [1.0]},
            },
        }
    )
    model = build_model(config, len(CLASSES))
    return save_checkpoint(folder / "run", 5, model=model, optimizer=None, config=config, classes=CLASSES, state={})


def test_real_model_whatever_the_batch_size(tmp_path):
    write_records(tmp_path / "tf", PICTURES)
    checkpoint = make_checkpoint(tmp_path)
    split = open_split(str(tmp_path / "tf"), "val")
    loaded, alone = evaluate_checkpoint(checkpoint, split, batch_size=1)
    together = evaluate(
        loaded.model, split.files, resize=ResizeRule(min_size=64, max_size=96), class_names=CLASSES, batch_size=3
    )
    assert loaded.step == 5
    assert sum(len(found) for found in alone.detections) > 0
    for one, other in zip(alone.detections, together.detections, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert together.metrics.figures == pytest.approx(alone.metrics.figures, abs=1e-6)
    names = ["rpn_cls_loss", "rpn_reg_loss", "rcnn_cls_loss", "rcnn_reg_loss"]
    assert list(alone.losses) == [*names, "regularization_loss", "no_reg_loss", "total_loss"]
    assert all(np.isfinite(list(alone.losses.values())))
    assert alone.losses["no_reg_loss"] == pytest.approx(sum(alone.losses[name] for name in names))
    assert [each.name for each in alone.metrics.by_class] == CLASSES


def test_classes_by_name(tmp_path):
    (tmp_path / "classes.json").write_text('["car", "bus", "person"]')
    assert match_classes(Split(tmp_path, "val", [], 1, ["car", "bus", "person"]), tmp_path) is None
    assert match_classes(Split(tmp_path, "val", [], 1, ["person", "car", "bus"]), tmp_path) == [2, 0, 1]
    with pytest.raises(CheckpointError, match=r"Differing: person\."):
        match_classes(Split(tmp_path, "val", [], 1, ["car", "bus"]), tmp_path)


def test_no_folder_stated():
    with pytest.raises(ConfigError, match=r"dataset\.dir: empty"):
        open_split(None, "val")
