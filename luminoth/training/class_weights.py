"""How much the classes count in the loss of a training (`model.rcnn.class_weights`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luminoth.checkpoints.folder import read_checkpoint_config
from luminoth.checkpoints.runs import latest_checkpoint, run_folder
from luminoth.data.sampling import balanced_class_weights
from luminoth.errors import ConfigError
from luminoth.training.events import ClassWeightsChosen, OnEvent
from luminoth.training.repeats import labels_of
from luminoth.training.run import open_data


def settle_class_weights(config: Any, on_event: OnEvent) -> Any:
    """The configuration with a number for each class in `model.rcnn.class_weights`, which is saved with the run.

    A run that has a checkpoint keeps what `auto` came to when it began.

    Args:
        config: the resolved `Config`.
        on_event: is told the weights.

    Raises:
        ConfigError: a class is named that the data set does not have, or as `open_data`.
        DataError: as `open_data` and `read_labels`.
    """
    stated = config.model.rcnn.class_weights
    if stated is None or not config.model.network.with_rcnn:
        return config
    data = open_data(config)
    if stated == "auto":
        weights = _of_earlier_start(config) or balanced_class_weights(
            labels_of(tuple(data.files), data.data_hash, len(data.classes)), len(data.classes)
        )
    elif isinstance(stated, dict):
        weights = _by_name(stated, data.classes, config.dataset.dir)
    else:
        weights = stated
    if len(weights) != len(data.classes):
        raise ConfigError(
            f"model.rcnn.class_weights: has {len(weights)} numbers, but {config.dataset.dir}/classes.json names "
            f"{len(data.classes)} classes"
        )
    on_event(ClassWeightsChosen(dict(zip(data.classes, weights, strict=True))))
    rcnn = config.model.rcnn.model_copy(update={"class_weights": tuple(weights)})
    return config.model_copy(update={"model": config.model.model_copy(update={"rcnn": rcnn})})


def _by_name(stated: dict[str, float], classes: Sequence[str], folder: str) -> list[float]:
    unknown = [name for name in stated if name not in classes]
    if unknown:
        raise ConfigError(
            f"model.rcnn.class_weights: no class is called {', '.join(unknown)}; {folder}/classes.json names "
            f"{', '.join(classes)}"
        )
    return [stated.get(name, 1.0) for name in classes]


def _of_earlier_start(config: Any) -> tuple[float, ...] | None:
    checkpoint = None if config.train.no_log else latest_checkpoint(run_folder(config))
    weights = read_checkpoint_config(checkpoint).model.rcnn.class_weights if checkpoint else None
    return weights if isinstance(weights, tuple) else None
