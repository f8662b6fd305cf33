import logging
import subprocess
import sys

import pytest

from luminoth.config import Config, config_from_dict, load_config, resolve_config
from luminoth.config.show import show_config
from luminoth.errors import ConfigError

FIRST_EXAMPLE = """\
train:
  run_name: my-run
  job_dir: jobs/
dataset:
  type: object_detection
  dir: datasets/voc/tf
model:
  type: fasterrcnn
  network:
    num_classes: 20
"""
SECOND_EXAMPLE = """\
train:
  run_name: traffic
  job_dir: jobs
  learning_rate:
    decay_method: piecewise_constant
    boundaries: [90000, 160000, 250000]
    values: [0.0003, 0.0001, 0.00003, 0.00001]
dataset:
  type: object_detection
  dir: data/traffic
model:
  type: fasterrcnn
  network:
    num_classes: 8
  anchors:
    scales: [0.125, 0.25, 0.5, 1, 2]
"""
# Luminoth's keys with Luminoth's defaults, as `base_config.yml` and people's copies of it state them.
EVERY_LUMINOTH_KEY = """\
train:
  debug: false
  seed:
  batch_size: 1
  job_dir: jobs/
  ignore_scope:
  tf_debug: false
  run_name:
  no_log: false
  display_every_steps:
  display_every_secs: 300
  random_shuffle: true
  save_timeline: false
  save_checkpoint_secs: 600
  checkpoints_max_keep: 1
  save_summaries_steps:
  save_summaries_secs: 30
  full_trace: false
  clip_by_norm: false
  learning_rate: {_replace: true, decay_method: , learning_rate: 0.0003}
  optimizer: {_replace: true, type: momentum, momentum: 0.9}
  num_epochs: 1000
  image_vis: train
  var_vis:
eval:
  image_vis: eval
dataset:
  type: object_detection
  dir:
  split: train
  image_preprocessing: {min_size: 600, max_size: 1024}
  data_augmentation:
    - flip: {left_right: true, up_down: false, prob: 0.5}
    - resize: {min_size: 600, max_size: 980, prob: 0.2}
    - patch: {min_height: 600, min_width: 600, prob: 0.2}
    - distortion:
        brightness: {max_delta: 0.2}
        hue: {max_delta: 0.2}
        saturation: {lower: 0.5, upper: 1.5}
        contrast: {lower: 0.4, upper: 0.8}
        prob: 0.3
    - expand: {fill: 0, min_ratio: 1, max_ratio: 4, prob: 0.5}
model:
  type: fasterrcnn
  network: {num_classes: 20, with_rcnn: true}
  batch_norm: false
  base_network:
    architecture: resnet_v1_101
    trainable: true
    weights:
    download: true
    endpoint:
    fine_tune_from: block2
    train_batch_norm: false
    use_tail: true
    freeze_tail: false
    output_stride: 16
    arg_scope: {weight_decay: 0.0005}
  loss:
    rpn_cls_loss_weight: 1.0
    rpn_reg_loss_weights: 1.0
    rcnn_cls_loss_weight: 1.0
    rcnn_reg_loss_weights: 1.0
  anchors: {base_size: 256, scales: [0.25, 0.5, 1, 2], ratios: [0.5, 1, 2], stride: 16}
  rpn:
    activation_function: relu6
    l2_regularization_scale: 0.0005
    l1_sigma: 3.0
    num_channels: 512
    kernel_shape: [3, 3]
    rpn_initializer: {_replace: true, type: random_normal_initializer, mean: 0.0, stddev: 0.01}
    cls_initializer: {_replace: true, type: random_normal_initializer, mean: 0.0, stddev: 0.01}
    bbox_initializer: {_replace: true, type: random_normal_initializer, mean: 0.0, stddev: 0.001}
    proposals:
      pre_nms_top_n: 12000
      post_nms_top_n: 2000
      apply_nms: true
      nms_threshold: 0.7
      min_size: 0
      clip_after_nms: false
      filter_outside_anchors: false
      min_prob_threshold: 0.0
    target:
      allowed_border: 0
      clobber_positives: false
      foreground_threshold: 0.7
      background_threshold_high: 0.3
      background_threshold_low: 0.
      foreground_fraction: 0.5
      minibatch_size: 256
      random_seed:
  rcnn:
    layer_sizes: []
    dropout_keep_prob: 1.0
    activation_function: relu6
    l2_regularization_scale: 0.0005
    l1_sigma: 1.0
    use_mean: true
    target_normalization_variances: [0.1, 0.2]
    rcnn_initializer: {type: variance_scaling_initializer, factor: 1.0, uniform: true, mode: FAN_AVG}
    cls_initializer: {type: random_normal_initializer, mean: 0.0, stddev: 0.01}
    bbox_initializer: {type: random_normal_initializer, mean: 0.0, stddev: 0.001}
    roi: {pooling_mode: crop, pooled_width: 7, pooled_height: 7, padding: VALID}
    proposals:
      class_max_detections: 100
      class_nms_threshold: 0.5
      total_max_detections: 300
      min_prob_threshold: 0.5
    target:
      foreground_fraction: 0.25
      minibatch_size: 256
      foreground_threshold: 0.5
      background_threshold_high: 0.5
      background_threshold_low: 0.0
"""


def test_first_example_loads_unchanged(file):
    config = load_config([file(FIRST_EXAMPLE)])
    assert (config.train.run_name, config.train.job_dir) == ("my-run", "jobs/")
    assert (config.dataset.type, config.dataset.dir, config.dataset.split) == (
        "object_detection",
        "datasets/voc/tf",
        "train",
    )
    assert (config.model.type, config.model.network.num_classes) == ("fasterrcnn", 20)
    assert (config.train.learning_rate.decay_method, config.train.learning_rate.learning_rate) == ("none", 0.0003)
    assert config.model.base_network.architecture == "resnet_v1_101"


def test_second_example_loads_unchanged(file):
    config = load_config([file(SECOND_EXAMPLE)])
    rate = config.train.learning_rate
    assert rate.decay_method == "piecewise_constant"
    assert rate.boundaries == (90000, 160000, 250000)
    assert rate.values == (0.0003, 0.0001, 0.00003, 0.00001)
    assert config.model.anchors.scales == (0.125, 0.25, 0.5, 1.0, 2.0)
    assert config.model.anchors.ratios == (0.5, 1.0, 2.0)
    assert (config.train.run_name, config.dataset.dir, config.model.network.num_classes) == (
        "traffic",
        "data/traffic",
        8,
    )


def test_every_key_of_luminoth_is_accepted_and_keeps_its_meaning(file):
    resolved = resolve_config([file(EVERY_LUMINOTH_KEY)])
    config = resolved.config
    assert config.train.checkpoints_max_keep == 1
    assert config.train.display_every_secs == 300
    assert config.train.clip_by_norm is False
    assert config.train.clip_by_global_norm is None
    assert config.model.rcnn.roi.pooling_mode == "crop"
    assert config.model.rpn.proposals.test_pre_nms_top_n == 12000
    assert config.model.rpn.proposals.test_post_nms_top_n == 2000
    assert [entry.kind for entry in config.dataset.data_augmentation] == [
        "flip",
        "resize",
        "patch",
        "distortion",
        "expand",
    ]
    assert resolved.warnings == [
        "no effect on TensorFlow 2, ignored: train.ignore_scope, train.tf_debug, train.save_timeline, "
        "train.full_trace, model.batch_norm"
    ]


def test_defaults_that_differ_from_luminoths():
    config = load_config()
    assert config == Config()
    assert config.train.clip_by_global_norm == 10
    assert (config.train.warmup_steps, config.train.warmup_factor) == (500, 0.001)
    assert (config.train.checkpoints_max_keep, config.train.display_every_secs) == (3, 30)
    assert config.model.network.num_classes is None
    assert (config.model.anchors.offset, config.model.rcnn.roi.pooling_mode) == (0.5, "align")
    proposals = config.model.rpn.proposals
    assert (proposals.pre_nms_top_n, proposals.post_nms_top_n) == (12000, 2000)
    assert (proposals.test_pre_nms_top_n, proposals.test_post_nms_top_n) == (6000, 300)


def test_files_merge_left_to_right_and_say_who_stated_what(file):
    base = file("train: {batch_size: 2, seed: 1}\nmodel: {anchors: {scales: [1, 2]}}", "base.yml")
    mine = file("train: {seed: 5}\nmodel: {anchors: {scales: [3], stride: 16}}", "mine.yml")
    resolved = resolve_config([base, mine], ["train.seed=7", "train.max_steps=10"])
    assert (resolved.config.train.batch_size, resolved.config.train.seed, resolved.config.train.max_steps) == (2, 7, 10)
    assert resolved.config.model.anchors.scales == (3.0,)
    sources = resolved.sources
    assert sources["train.batch_size"] == "base.yml"
    assert sources["model.anchors.scales"] == "mine.yml"
    assert sources["train.seed"] == sources["train.max_steps"] == "-o"
    assert sources["train.job_dir"] == sources["model.anchors.ratios"] == "default"


def test_learning_rate_and_optimizer_of_a_later_file_replace_as_a_whole(file):
    base = file(
        "train:\n  learning_rate: {decay_method: exponential_decay, decay_steps: 10, decay_rate: 0.5}\n"
        "  optimizer: {type: adam, beta1: 0.5}\n"
    )
    mine = file("train:\n  learning_rate: {learning_rate: 0.01}\n  optimizer: {momentum: 0.8}\n", "mine.yml")
    train = load_config([base, mine]).train
    assert (train.learning_rate.decay_method, train.learning_rate.learning_rate) == ("none", 0.01)
    assert (train.optimizer.type, train.optimizer.momentum) == ("momentum", 0.8)


def test_replace_brings_back_the_defaults(file):
    base = file("model: {rpn: {num_channels: 64, l1_sigma: 2.0}}")
    mine = file("model: {rpn: {_replace: true, l1_sigma: 1.5}}", "mine.yml")
    rpn = load_config([base, mine]).model.rpn
    assert (rpn.num_channels, rpn.l1_sigma) == (512, 1.5)


def test_stated_proposal_counts_hold_in_tests_too(file):
    resolved = resolve_config([file("model: {rpn: {proposals: {pre_nms_top_n: 1000, post_nms_top_n: 50}}}")])
    proposals = resolved.config.model.rpn.proposals
    assert (proposals.test_pre_nms_top_n, proposals.test_post_nms_top_n) == (1000, 50)
    assert resolved.sources["model.rpn.proposals.test_post_nms_top_n"] == "my.yml"
    both = load_config([file("model: {rpn: {proposals: {post_nms_top_n: 50, test_post_nms_top_n: 20}}}")])
    assert both.model.rpn.proposals.test_post_nms_top_n == 20
    assert both.model.rpn.proposals.test_pre_nms_top_n == 6000


@pytest.mark.parametrize(
    ("overrides", "by_norm", "by_global_norm"),
    [
        ([], False, 10.0),
        (["train.clip_by_norm=true"], True, None),
        (["train.clip_by_norm=false"], False, None),
        (["train.clip_by_norm=2.5"], 2.5, None),
        (["train.clip_by_norm=true", "train.clip_by_global_norm=5"], True, 5.0),
        (["train.clip_by_global_norm="], False, None),
    ],
)
def test_stated_clipping_stands_alone(overrides, by_norm, by_global_norm):
    train = load_config([], overrides).train
    assert train.clip_by_norm == by_norm
    assert type(train.clip_by_norm) is type(by_norm)
    assert train.clip_by_global_norm == by_global_norm


def test_anchors_follow_a_stated_output_stride():
    assert load_config([], ["model.base_network.output_stride=8"]).model.anchors.stride == 8
    with pytest.raises(ConfigError, match=r"anchors.stride 8 but base_network.output_stride 16"):
        load_config([], ["model.anchors.stride=8"])


def test_files_that_cannot_be_read(file, tmp_path):
    with pytest.raises(ConfigError, match=r"^none\.yml: there is no such configuration file$"):
        load_config(["none.yml"])
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_config([tmp_path])
    (tmp_path / "latin.yml").write_bytes("train: {run_name: Straße}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"is not text in UTF-8"):
        load_config([tmp_path / "latin.yml"])


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "bom.yml"
    path.write_bytes(b"\xef\xbb\xbftrain: {seed: 3}")
    assert load_config([path]).train.seed == 3


def test_whole_numbers_are_text_where_text_is_meant(file):
    assert load_config([file("train: {run_name: 42}")]).train.run_name == "42"


def test_a_section_under_which_nothing_stands_has_its_defaults(file):
    first = file("train: {seed: 3}\nmodel: {type: fasterrcnn}\n", "first.yml")
    second = file("train:\ndataset:\nmodel:\n  anchors:\n  rpn:\n    target:\n", "second.yml")
    assert load_config([second]) == load_config()
    assert load_config([first, second]).train.seed == 3  # it takes nothing back


def test_an_augmentation_without_settings_has_its_defaults(file):
    config = load_config([file("dataset:\n  data_augmentation:\n    - patch:\n    - distortion: {hue: {}}\n")])
    patch, distortion = config.dataset.data_augmentation
    assert (patch.kind, patch.settings.min_height, patch.settings.prob) == ("patch", 600, 0.5)
    assert distortion.settings.hue.max_delta == 0.2
    assert distortion.settings.brightness is None
    assert patch.model_dump() == {"patch": {"min_height": 600, "min_width": 600, "prob": 0.5}}


def test_a_configuration_is_frozen():
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.train.seed = 3
    assert hash(config) == hash(Config())


def test_warnings_of_load_config_go_to_the_log(file, caplog):
    with caplog.at_level(logging.WARNING):
        load_config([file("train: {tf_debug: true}\nmodel: {batch_norm: 3}")])
    assert [record.getMessage() for record in caplog.records] == [
        "no effect on TensorFlow 2, ignored: train.tf_debug, model.batch_norm"
    ]


def test_config_from_dict_names_its_source():
    assert config_from_dict({"model": {"anchors": {"scales": (1, 2)}}}).model.anchors.scales == (1.0, 2.0)
    with pytest.raises(ConfigError, match=r"^here: train\.seed is x; accepted"):
        config_from_dict({"train": {"seed": "x"}}, source="here")


def test_the_shown_configuration_is_aligned_and_loads_back(file):
    resolved = resolve_config([file(SECOND_EXAMPLE)], ["train.seed=1", "dataset.data_augmentation=[{patch: {}}]"])
    shown = show_config(resolved)
    lines = shown.splitlines()
    columns = {line.index("  # ") for line in lines if "  # " in line}
    assert len(columns) == 1
    assert any(line.startswith("  seed: 1 ") and line.endswith("  # -o") for line in lines)
    assert any(line.startswith("  run_name: traffic ") and line.endswith("  # my.yml") for line in lines)
    assert any(line.startswith("  batch_size: 1 ") and line.endswith("  # default") for line in lines)
    assert load_config([file(shown, "shown.yml")]) == resolved.config


def test_importing_the_configuration_imports_nothing_heavy():
    code = (
        "import sys, luminoth.config, luminoth.config.show, luminoth.cli.config\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'PIL', 'flask', 'av') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
