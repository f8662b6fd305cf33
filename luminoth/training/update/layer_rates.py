"""Learning rates that differ from layer to layer, by patterns of weight names; a multiplier of 0 freezes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import keras

from luminoth.errors import ConfigError
from luminoth.models.base import named_weights

_KEY = "train.learning_rate_multipliers"
_NEAR_NAMES = 3


def layer_multipliers(model: keras.Model, patterns: Mapping[str, float]) -> list[float]:
    """Freezes what patterns give 0, and gives the multipliers of what is left to train.

    A frozen layer computes as in evaluation: no gradients are computed for it and its batch-norm statistics stay. What
    is frozen already stays so.

    Args:
        model: a `DetectionModel` with all its variables; called before its optimizer is built.
        patterns: `train.learning_rate_multipliers`: shell patterns, where `*` stands for anything, of the names that
            `named_weights` gives; of several that match, the last one holds.

    Returns:
        For each of `model.trainable_variables`, what the learning rate is to be multiplied by.

    Raises:
        ConfigError: a pattern matches no weight.
    """
    weights = named_weights(model)
    multipliers = dict.fromkeys(weights, 1.0)
    for pattern, multiplier in patterns.items():
        matched = [name for name in weights if fnmatchcase(name, pattern)]
        if not matched:
            raise ConfigError(f"{_KEY}: {pattern!r} matches no weight of the model; {_suggest(pattern, weights)}")
        multipliers |= dict.fromkeys(matched, multiplier)
    if patterns:
        _freeze(model, {id(weights[name]) for name, multiplier in multipliers.items() if multiplier == 0})
    by_weight = {id(weight): multipliers[name] for name, weight in weights.items()}
    return [by_weight[id(weight)] for weight in model.trainable_variables]


def _freeze(model: keras.Model, frozen: set[int]) -> None:
    """Stops the training of these weights; of a layer as a whole where nothing of its own is left to train."""
    for layer in model._flatten_layers(include_self=False):
        own = [weight for weight in layer._trainable_variables if weight.trainable]
        for weight in own:
            if id(weight) in frozen:
                weight.trainable = False
        if own and not layer.trainable_variables:
            layer.trainable = False


def _suggest(pattern: str, names: Iterable[str]) -> str:
    """Patterns that would match, the most similar first."""
    layers = dict.fromkeys(f"{part}/*" for name in names for part in _parents(name))
    near = difflib.get_close_matches(pattern, [*layers, *names], n=_NEAR_NAMES, cutoff=0.5)
    if near:
        return f"near it are {', '.join(near)}"
    return f"its parts are {', '.join(layer for layer in layers if layer.count('/') == 1)}"


def _parents(name: str) -> list[str]:
    """The layers around a weight, outermost first: of `a/b/kernel` they are `a` and `a/b`."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
