import pytest

from luminoth.config import load_config, resolve_config
from luminoth.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.batch_size=2", ("train", "batch_size", 2)),
        ("train.seed=none", ("train", "seed", None)),
        ("train.seed=", ("train", "seed", None)),
        ("train.debug=yes", ("train", "debug", True)),
        ("train.save_checkpoint_secs=1e3", ("train", "save_checkpoint_secs", 1000.0)),
        ("dataset.dir=/data/a=b", ("dataset", "dir", "/data/a=b")),
        ("train.run_name=2024-01-01", ("train", "run_name", "2024-01-01")),
        ("train.run_name=007", ("train", "run_name", "007")),
        ("dataset.data_augmentation=[]", ("dataset", "data_augmentation", ())),
    ],
)
def test_values_are_yaml_and_may_contain_equals_signs(override, value):
    section, name, expected = value
    assert getattr(getattr(load_config([], [override]), section), name) == expected


def test_the_last_override_wins():
    assert load_config([], ["train.seed=1", "train.seed=2"]).train.seed == 2


def test_lists_and_mappings(file):
    name = file("model: {anchors: {scales: [1], ratios: [1]}}")
    anchors = load_config([name], ["model.anchors={scales: [2, 3]}"]).model.anchors
    assert (anchors.scales, anchors.ratios) == ((2.0, 3.0), (1.0,))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "-o train.seed: has no value; accepted: -o section.key=value"),
        ("=1", "-o =1: '' is no key; accepted: -o section.key=value"),
        ("train..seed=1", "-o train..seed=1: 'train..seed' is no key; accepted: -o section.key=value"),
        ("train.seed=[1", "-o train.seed: not YAML: while parsing a flow sequence, expected ',' or ']', but got"),
        ("train.optimizer={type: adam, type: adam}", "-o train.optimizer: the key type is stated twice"),
        ("train.sead=1", "-o: train.sead is not a known key; did you mean train.seed?"),
        ("train.seed.x=1", "-o: train.seed is {x: 1}; accepted: a whole number from 0 to 2147483647 or empty"),
        ("model.anchors.scales.0=1", "-o: model.anchors.scales is {'0': 1}; accepted: a list, each entry a number"),
        ("model.rpn=", "-o: model.rpn is empty (null); accepted: a mapping"),
        (
            "train.learning_rate.boundaries=[1]",
            "-o: train.learning_rate.boundaries is not a key of decay_method none; accepted: decay_method, learning",
        ),
    ],
)
def test_wrong_overrides_are_refused(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config([], [override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


EXPONENTIAL = (
    "train: {learning_rate: {decay_method: exponential_decay, learning_rate: 0.02, decay_steps: 9, decay_rate: 0.5}}"
)


def test_one_key_of_a_schedule_leaves_the_others(file):
    rate = load_config([file(EXPONENTIAL)], ["train.learning_rate.decay_steps=4"]).train.learning_rate
    assert (rate.decay_method, rate.learning_rate, rate.decay_steps, rate.decay_rate) == (
        "exponential_decay",
        0.02,
        4,
        0.5,
    )


def test_another_kind_drops_what_it_does_not_know(file):
    resolved = resolve_config([file(EXPONENTIAL)], ["train.learning_rate.decay_method=cosine_decay"])
    rate = resolved.config.train.learning_rate
    assert (rate.decay_method, rate.learning_rate, rate.decay_steps) == ("cosine_decay", 0.02, 9)
    constant = load_config([file(EXPONENTIAL)], ["train.learning_rate.decay_method=none"]).train.learning_rate
    assert constant.model_dump() == {"decay_method": "none", "learning_rate": 0.02}


def test_the_same_kind_again_drops_nothing(file):
    with pytest.raises(ConfigError, match=r"train\.optimizer\.beta1 is not a key of type momentum"):
        load_config([file("train: {optimizer: {beta1: 0.9}}")], ["train.optimizer.type=momentum"])


@pytest.mark.parametrize("stated", ["{}", "{optimizer: {type: momentum, momentum: 0.8, nesterov: true}}"])
def test_another_optimizer_over_momentum(file, stated):
    optimizer = load_config([file(f"train: {stated}")], ["train.optimizer.type=adam"]).train.optimizer
    assert (optimizer.type, optimizer.beta1) == ("adam", 0.9)


def test_another_optimizer_has_its_own_defaults():
    assert load_config([], ["train.optimizer.type=rmsprop"]).train.optimizer.momentum == 0.0


def test_a_mapping_replaces_the_schedule_as_a_whole(file):
    rate = load_config([file(EXPONENTIAL)], ["train.learning_rate={learning_rate: 0.1}"]).train.learning_rate
    assert (rate.decay_method, rate.learning_rate) == ("none", 0.1)


def test_an_initializer_of_another_kind_than_the_normal_one_by_default():
    initializer = load_config([], ["model.rcnn.rcnn_initializer.factor=2"]).model.rcnn.rcnn_initializer
    assert (initializer.type, initializer.factor, initializer.mode) == ("variance_scaling_initializer", 2.0, "FAN_AVG")


def test_the_name_nesterov_had_in_tensorflow_1(file):
    assert load_config([], ["train.optimizer.use_nesterov=true"]).train.optimizer.nesterov is True
    assert load_config([file("train: {optimizer: {use_nesterov: true}}")]).train.optimizer.nesterov is True
