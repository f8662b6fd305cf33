"""What is said of a wrong file: one line a problem, with the key, what was found and what is accepted."""

import pytest

from luminoth.config import load_config
from luminoth.errors import ConfigError


def test_all_problems_of_a_file_are_reported_together(file):
    name = file(
        "train:\n"
        "  batch_size: false\n"
        '  seed: "3"\n'
        "  num_classes: 3\n"
        "  optimizer: {type: adam, momentum: 0.9}\n"
        "model:\n"
        "  base_network:\n"
        "    architecture: resnet_v2_50\n"
        "  rpn:\n"
        "    num_chanels: 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config([name], ["train.num_epochs=0"])
    assert str(caught.value).splitlines() == [
        "7 problems in the configuration:",
        "  -o: train.num_epochs is 0; accepted: a whole number of at least 1",
        "  my.yml:2: train.batch_size is false; accepted: a whole number of at least 1 or auto",
        "  my.yml:3: train.seed is '3'; accepted: a whole number from 0 to 2147483647 or empty",
        "  my.yml:4: train.num_classes is not a known key; did you mean model.network.num_classes?",
        "  my.yml:5: train.optimizer.momentum is not a key of type adam; accepted: type, beta1, beta2, epsilon",
        "  my.yml:8: model.base_network.architecture is resnet_v2_50, which is not available yet; use resnet_v1_50",
        "  my.yml:10: model.rpn.num_chanels is not a known key; did you mean model.rpn.num_channels?",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: {rpn: {num_chanels: 1}}",
            "model.rpn.num_chanels is not a known key; did you mean model.rpn.num_channels?",
        ),
        ("trian: {seed: 1}", "trian is not a known key; did you mean train?"),
        ("zzz: 1", "zzz is not a known key; accepted: train, eval, dataset, model"),
        ("train.seed: 1", "train.seed is not a known key when written with dots; accepted: train: {seed: ...}"),
        ("train: {best_metric: mAP}", "train.best_metric is mAP; accepted: AP, AP50, AP75, AP_small,"),
        ("model: {rcnn: {cls_initializer: }}", "model.rcnn.cls_initializer is empty (null); accepted: a mapping"),
        ("train: {job_dir: }", "train.job_dir is empty (null); accepted: a folder, or an address as in gs://"),
        ("train: {job_dir: false}", "train.job_dir is false; accepted: a folder, or an address as in gs://"),
        ("train: {run_name: ''}", "train.run_name is empty text; accepted: text or empty"),
        ("train: {debug: 1}", "train.debug is 1; accepted: true or false"),
        ("train: {batch_size: 1.5}", "train.batch_size is 1.5; accepted: a whole number of at least 1 or auto"),
        (
            "train: {save_checkpoint_secs: .inf}",
            "train.save_checkpoint_secs is .inf; accepted: a number above 0 or empty",
        ),
        (
            "train: {clip_by_norm: -2}",
            "train.clip_by_norm is -2; accepted: true (which is 10), false or a number above 0",
        ),
        ("train: {image_vis: all}", "train.image_vis is all; accepted: one of train, eval, debug or empty"),
        ("train: {learning_rate: 0.1}", "train.learning_rate is 0.1; accepted: a mapping"),
        (
            "train: {learning_rate: {decay_method: step}}",
            "train.learning_rate.decay_method is step; accepted: one of none, piecewise_constant, exponential_decay, "
            "polynomial_decay, cosine_decay",
        ),
        (
            "train: {learning_rate: {decay_method: exponential_decay, decay_rate: 0.5}}",
            "train.learning_rate.decay_steps is missing; accepted: a whole number of at least 1",
        ),
        (
            "train: {learning_rate: {decay_method: piecewise_constant, boundaries: [1, 2], values: [1, 2]}}",
            "train.learning_rate has 2 values for 2 boundaries; accepted: one value more than boundaries",
        ),
        (
            "train: {learning_rate: {decay_method: piecewise_constant, boundaries: [2, 1], values: [1, 2, 3]}}",
            "train.learning_rate has boundaries [2, 1]; accepted: ascending steps",
        ),
        (
            "train: {optimizer: {type: sgd}}",
            "train.optimizer.type is sgd; accepted: one of momentum, adam, adamw, gradient_descent, rmsprop",
        ),
        (
            "train: {optimizer: {type: }}",
            "train.optimizer.type is empty (null); accepted: one of momentum, adam, adamw,",
        ),
        ("dataset: {type: coco}", "dataset.type is coco; accepted: one of object_detection, tfrecord"),
        (
            "dataset: {image_preprocessing: {fixed_width: 300}}",
            "dataset.image_preprocessing has fixed_width without fixed_height; accepted: both or neither",
        ),
        (
            "dataset: {image_preprocessing: {min_size: 800, max_size: 600}}",
            "dataset.image_preprocessing has min_size 800 above max_size 600; accepted: min_size at most max_size",
        ),
        (
            "dataset: {image_preprocessing: {min_size_train: [480, 1200]}}",
            "dataset.image_preprocessing has 1200 in min_size_train above max_size 1024; accepted: each at",
        ),
        (
            "dataset: {image_preprocessing: {min_size_train: [480], fixed_height: 300, fixed_width: 300}}",
            "dataset.image_preprocessing has min_size_train beside fixed_height and fixed_width; accepted: one or the",
        ),
        (
            "dataset: {image_preprocessing: {min_size_train: 480}}",
            "dataset.image_preprocessing.min_size_train is 480; accepted: a list, each entry a",
        ),
        (
            "dataset: {data_augmentation: [{flip: {}}, {flip: {prob: 2}}]}",
            "dataset.data_augmentation[1].flip.prob is 2; accepted: a number from 0 to 1",
        ),
        (
            "dataset: {data_augmentation: [{flip: {left: true}}]}",
            "dataset.data_augmentation[0].flip.left is not a known key; did you mean "
            "dataset.data_augmentation[0].flip.left_right?",
        ),
        (
            "dataset: {data_augmentation: [{zoom: {}}]}",
            "dataset.data_augmentation[0] is of the kind zoom; accepted: one of flip, resize, patch,",
        ),
        (
            "dataset: {data_augmentation: [{flip: {}, patch: {}}]}",
            "dataset.data_augmentation[0] has the keys flip, patch; accepted: a mapping with one key, one of flip,",
        ),
        ("dataset: {data_augmentation: [flip]}", "dataset.data_augmentation[0] is flip; accepted: a mapping"),
        (
            "dataset: {data_augmentation: {flip: {prob: 1}}}",
            "dataset.data_augmentation is {flip: {prob: 1}}; accepted: a",
        ),
        (
            "dataset: {data_augmentation: [{expand: {fill: [1, 2]}}]}",
            "dataset.data_augmentation[0].expand.fill is [1, 2]; accepted: a number from 0 to 255 or a list of three",
        ),
        ("model: {type: ssd, variances: [1]}", "model.type is ssd, which is not available yet; use fasterrcnn"),
        (
            "model: {base_network: {architecture: truncated_vgg_16}}",
            "model.base_network.architecture is truncated_vgg_16, which is not available yet; use vgg_16",
        ),
        (
            "model: {base_network: {architecture: alexnet}}",
            "model.base_network.architecture is alexnet; accepted: one of",
        ),
        ("model: {base_network: {weights: false}}", "model.base_network.weights is false; accepted: text or empty"),
        (
            "model: {rpn: {proposals: {pre_nms_top_n: 0}}}",
            "model.rpn.proposals.pre_nms_top_n is 0; accepted: a whole number of at least 1",
        ),
        ("model: {anchors: {scales: []}}", "model.anchors.scales is []; accepted: a list, each entry a number above 0"),
        ("model: {anchors: {scales: [1, 0]}}", "model.anchors.scales[1] is 0; accepted: a number above 0"),
        ("model: {rpn: {kernel_shape: [3, 3, 3]}}", "model.rpn.kernel_shape is [3, 3, 3]; accepted: a list of 2, each"),
        (
            "model: {rpn: {target: {foreground_threshold: 0.2}}}",
            "model.rpn.target has background_threshold_low 0.0, background_threshold_high 0.3 and foreground_threshold "
            "0.2; accepted: each at most the next",
        ),
        (
            "model: {rcnn: {rcnn_initializer: {type: variance_scaling_initializer, mode: fan}}}",
            "model.rcnn.rcnn_initializer.mode is fan; accepted: one of FAN_IN, FAN_OUT, FAN_AVG",
        ),
        (
            "model: {rpn: {rpn_initializer: {mean: 0}}}",
            "model.rpn.rpn_initializer.stddev is missing; accepted: a number of at least 0",
        ),
        ("train: {_replace: 3}", "train._replace is 3; accepted: true or false"),
    ],
)
def test_a_wrong_file_gets_one_line_that_says_what_is_wrong_and_what_would_be_right(file, text, message):
    with pytest.raises(ConfigError) as caught:
        load_config([file(text)])
    assert str(caught.value).removeprefix("my.yml:1: ").removeprefix("my.yml: ").startswith(message)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("my.yml")
