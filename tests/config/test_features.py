"""Kinds of features bring their own defaults, which anything stated overrules."""

import pytest

from luminoth.config import load_config
from luminoth.config.rules import FEATURE_DEFAULTS
from luminoth.errors import ConfigError


def value_at(config, path):
    for name in path.split("."):
        config = getattr(config, name)
    return config


def as_lists(value):
    return [as_lists(part) for part in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("features", ["fpn", "dc5"])
def test_stating_the_features_is_enough(features):
    config = load_config([], [f"model.network.features={features}"])
    found = {path: as_lists(value_at(config, path)) for path in FEATURE_DEFAULTS[features]}
    assert found == FEATURE_DEFAULTS[features]


def test_the_pyramids_defaults():
    model = load_config([], ["model.network.features=fpn"]).model
    assert model.anchors.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert (model.rpn.num_channels, model.fpn.channels) == (256, 256)
    assert (model.rcnn.layer_sizes, model.rcnn.use_mean) == ((1024, 1024), False)
    assert (model.rpn.activation_function, model.rcnn.activation_function) == ("relu", "relu")
    proposals = model.rpn.proposals
    assert (proposals.pre_nms_top_n, proposals.post_nms_top_n) == (2000, 1000)
    assert (proposals.test_pre_nms_top_n, proposals.test_post_nms_top_n) == (1000, 1000)


def test_c4_keeps_luminoths_defaults():
    assert load_config([], ["model.network.features=c4"]).model == load_config([]).model
    assert load_config([]).model.rcnn.use_mean is True


def test_what_is_stated_wins(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text(
        "model:\n"
        "  rcnn: {use_mean: true, layer_sizes: [64]}\n"
        "  network: {features: fpn}\n"
        "  anchors: {sizes: [[8], [16], [32], [64], [128]]}\n"
    )
    model = load_config([file], ["model.rpn.num_channels=32"]).model
    assert (model.rcnn.use_mean, model.rcnn.layer_sizes, model.rpn.num_channels) == (True, (64,), 32)
    assert model.anchors.sizes == ((8,), (16,), (32,), (64,), (128,))
    assert model.rcnn.activation_function == "relu"


def test_a_stated_count_of_proposals_holds_for_tests_too():
    """As everywhere: `test_pre_nms_top_n` follows a stated `pre_nms_top_n`."""
    config = load_config([], ["model.network.features=fpn", "model.rpn.proposals.pre_nms_top_n=50"])
    proposals = config.model.rpn.proposals
    assert (proposals.pre_nms_top_n, proposals.test_pre_nms_top_n) == (50, 50)
    assert (proposals.post_nms_top_n, proposals.test_post_nms_top_n) == (1000, 1000)


def test_unknown_features_are_refused():
    with pytest.raises(ConfigError, match=r"model\.network\.features.*c4, dc5.*fpn"):
        load_config([], ["model.network.features=pyramid"])
    with pytest.raises(ConfigError, match=r"model\.anchors\.sizes"):
        load_config([], ["model.network.features=fpn", "model.anchors.sizes=[32, 64, 128, 256, 512]"])
