import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.errors import ConfigError
from luminoth.models.base import named_weights
from luminoth.training.update.layer_rates import layer_multipliers
from luminoth.training.update.optimizers import make_optimizer
from tests.models.tiny import batch, tiny_model


def rates_of(model, patterns):
    """Multiplier of each trained weight by its name."""
    multipliers = layer_multipliers(model, patterns)
    names = {id(weight): name for name, weight in named_weights(model).items()}
    return {names[id(weight)]: rate for weight, rate in zip(model.trainable_variables, multipliers, strict=True)}


def test_the_last_pattern_that_matches_holds():
    rates = rates_of(tiny_model(), {"backbone/*": 0.1, "*/bias": 2.0, "backbone/block3/*": 0.5})
    assert rates["backbone/conv1/kernel"] == rates["backbone/block2/unit1/conv1/gamma"] == 0.1
    assert rates["backbone/block3/unit2/conv1/kernel"] == 0.5
    assert (rates["rpn/conv/kernel"], rates["rpn/conv/bias"], rates["box_head/classes/bias"]) == (1.0, 2.0, 2.0)
    assert set(rates.values()) == {0.1, 0.5, 1.0, 2.0}


def test_no_pattern_changes_nothing():
    model = tiny_model()
    assert set(rates_of(model, {}).values()) == {1.0}
    assert len(model.trainable_variables) == len(tiny_model().trainable_variables)


def test_zero_freezes_weights_and_batch_norm_statistics_to_the_last_bit():
    model = tiny_model()
    rates = rates_of(model, {"backbone/*": 0, "backbone/block4/*": 1, "rpn/*/bias": 0})
    assert not any(name.startswith(("backbone/conv1/", "backbone/block3/")) for name in rates)
    assert "rpn/conv/kernel" in rates
    assert "rpn/conv/bias" not in rates

    before = {name: weight.numpy() for name, weight in named_weights(model).items()}
    settings = config_from_dict({"train": {"optimizer": {"type": "adam"}}}).train.optimizer
    optimizer = make_optimizer(settings, model.trainable_variables)
    optimizer.learning_rate.assign(0.01)
    pictures = batch([[[10, 10, 40, 50]]])
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(model.compute_losses(pictures, training=True, seed=tf.constant([0, 1])).values()))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    optimizer.apply(gradients, model.trainable_variables)
    moved = {name for name, weight in named_weights(model).items() if (weight.numpy() != before[name]).any()}
    assert {f"backbone/block4/unit1/conv1/{weight}" for weight in ("kernel", "moving_mean")} <= moved
    assert {name for name in moved if name.startswith("backbone/")} == {
        name for name in moved if name.startswith("backbone/block4/")
    }
    assert not any(name.startswith("rpn/") and name.endswith("/bias") for name in moved)


def test_what_is_frozen_already_stays_frozen():
    model = tiny_model("model.base_network.fine_tune_from=block2")
    rates = rates_of(model, {"backbone/*": 0.1})
    assert "backbone/block1/unit1/conv1/kernel" not in rates
    assert rates["backbone/block2/unit1/conv1/kernel"] == 0.1


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("backbon/*", r"near it are backbone/\*"),
        ("backbone/block3/units1/*", r"near it are backbone/block3/unit1/\*"),
        ("box_head/class/*", r"near it are box_head/classes/\*"),
        ("backbone", r"near it are backbone/\*"),
        ("?", r"its parts are backbone/\*, rpn/\*, box_head/\*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_near_ones(pattern, advice):
    with pytest.raises(
        ConfigError, match=f"train.learning_rate_multipliers: .* matches no weight of the model; {advice}"
    ):
        layer_multipliers(tiny_model(), {pattern: 0.5})


def test_multipliers_of_a_configuration():
    config = config_from_dict({"train": {"learning_rate_multipliers": {"backbone/*": 0.1}}})
    assert dict(config.train.learning_rate_multipliers) == {"backbone/*": 0.1}
    with pytest.raises(ConfigError, match="accepted: a mapping from patterns"):
        config_from_dict({"train": {"learning_rate_multipliers": {"backbone/*": -1}}})
    assert config_from_dict({}).train.learning_rate_multipliers is None
