"""The configuration of a training that starts from another detector."""

import shutil

import pytest

from luminoth.checkpoints.store import EMBEDDED_FOLDER
from luminoth.config import config_from_dict, load_config
from luminoth.errors import CheckpointError
from luminoth.training.fine_tuning import SCHEDULE, find_disagreements, resolve_fine_tuning

TOYTOWN = EMBEDDED_FOLDER / "toytown"


def resolve(*overrides, files=()):
    asked = []

    def find(name):
        asked.append(name)
        return TOYTOWN

    return resolve_fine_tuning(files, overrides, find=find), asked


def test_without_a_start_it_is_the_plain_configuration():
    resolved, asked = resolve("train.batch_size=3")
    assert resolved.config == load_config([], ["train.batch_size=3"])
    assert asked == []


def test_the_checkpoints_model_stands_between_the_defaults_and_what_is_stated(tmp_path):
    resolved, asked = resolve("train.from_checkpoint=town", "model.rpn.num_channels=7", "dataset.dir=street")
    before = load_config([TOYTOWN / "config.yml"])
    config, sources = resolved.config, resolved.sources
    assert asked == ["town"]
    assert config.model.base_network == before.model.base_network
    assert config.model.anchors == before.model.anchors
    assert config.dataset.image_preprocessing == before.dataset.image_preprocessing
    assert (config.model.rpn.num_channels, before.model.rpn.num_channels) == (7, 128)
    assert config.model.network.num_classes is None
    assert sources["model.rpn.num_channels"] == "-o"
    assert sources["model.base_network.architecture"] == "fine-tuning of town"
    # of training nothing is taken but the schedule for who has no file
    assert (config.train.seed, config.train.optimizer.type) == (None, "momentum")
    assert (config.train.batch_size, config.train.max_steps) == (SCHEDULE["batch_size"], SCHEDULE["max_steps"])


def test_with_a_file_the_schedule_is_the_files(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text("train: {from_checkpoint: town}\ndataset: {dir: street, image_preprocessing: {min_size: 300}}\n")
    config = resolve(files=[file])[0].config
    assert config.train == load_config([file]).train
    assert config.dataset.image_preprocessing.min_size == 300
    assert config.dataset.image_preprocessing.max_size == 480  # the checkpoint's
    assert config.model.base_network.architecture == "thin_resnet"


def test_a_run_under_way_needs_nobody_else(tmp_path):
    job = ["train.from_checkpoint=town", f"train.job_dir={tmp_path}", "train.run_name=run"]
    own = tmp_path / "run" / "ckpt-4"
    shutil.copytree(TOYTOWN, own)
    text = (own / "config.yml").read_text().replace("num_channels: 128", "num_channels: 64")
    (own / "config.yml").write_text(text)
    resolved, asked = resolve(*job)
    assert asked == []
    assert resolved.config.model.rpn.num_channels == 64


def test_what_cannot_be_found_is_an_error():
    with pytest.raises(CheckpointError, match="nowhere"):
        resolve_fine_tuning([], ["train.from_checkpoint=nowhere"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"dataset": {"image_preprocessing": {"min_size": 420}}}, None),
        ({"model": {"anchors": {"scales": [1]}}}, None),  # adapted to other data
        (
            {"dataset": {"image_preprocessing": {"min_size": 300, "max_size": 600}}},
            "dataset.image_preprocessing: pictures get a shorter side of 300 pixels, but the weights were",
        ),
        (
            {"dataset": {"image_preprocessing": {"fixed_height": 1000, "fixed_width": 1200}}},
            "dataset.image_preprocessing: pictures get a shorter side of 1000 pixels",
        ),
        (
            {"model": {"anchors": {"order": "size_major"}}},
            "model.anchors.order: is size_major, but the weights were trained with ratio_major",
        ),
        (
            {"model": {"base_network": {"channel_means": [1, 2, 3]}}},
            "model.base_network.channel_order, channel_means, channel_stds: pixels become (bgr - (1, 2, 3)) / (",
        ),
    ],
)
def test_what_does_not_suit_the_weights_is_named(changes, message):
    found = find_disagreements(config_from_dict({}), config_from_dict(changes))
    assert [line.startswith(message) for line in found] == ([] if message is None else [True])
