"""Fine-tuning: the configuration of a training that starts from another detector, and what of the two does not agree.

The weights themselves are moved by `luminoth.checkpoints.transfer`. Imports no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import read_checkpoint_config
from luminoth.checkpoints.runs import latest_checkpoint, run_folder
from luminoth.checkpoints.transfer import find_start
from luminoth.config import resolve_config
from luminoth.config.load import ResolvedConfig
from luminoth.config.merge import leaves
from luminoth.config.yaml_text import DEFAULT, write_value

# What makes a detector another one. Who states one of these otherwise than the checkpoint has it describes a model of
# their own, which takes from the checkpoint what fits.
_KIND = ("model.type", "model.base_network.architecture", "model.network.features")

# How long and how fast, where no file says it: short, since the detector has learnt already; a rate for two pictures.
SCHEDULE: Mapping[str, Any] = {
    "batch_size": 2,
    "num_epochs": 50,
    "max_steps": 5000,
    "learning_rate": {"decay_method": "cosine_decay", "learning_rate": 0.0025},
    "warmup_steps": 100,
}

# Settings that weights were trained for, though the shapes of tensors do not show it. Not among them: what a user
# rightly adapts to other data, such as the sides of anchors.
_TRAINED_FOR = (
    "model.base_network.norm_epsilon",
    "model.base_network.stride_in_3x3",
    "model.base_network.output_stride",
    "model.base_network.tail_stride",
    "model.anchors.order",
    "model.rpn.activation_function",
    "model.rcnn.activation_function",
    "model.rcnn.use_mean",
    "model.rcnn.target_normalization_variances",
    "model.rcnn.roi.pooling_mode",
    "model.rcnn.roi.aligned",
)
_OTHER_SCALE = 1.5  # objects that much larger or smaller are other objects to the network


def newest_own(config: Any) -> Path | None:
    """The newest checkpoint of the configured run."""
    return None if config.train.no_log else latest_checkpoint(run_folder(config))


def resolve_fine_tuning(
    files: Sequence[str | os.PathLike] = (),
    overrides: Sequence[str] = (),
    *,
    find: Callable[[str], Path] = find_start,
    find_own: Callable[[Any], Path | None] = newest_own,
) -> ResolvedConfig:
    """As `resolve_config`, for a training that may start from a checkpoint (`train.from_checkpoint`).

    The checkpoint's `model` and `dataset.image_preprocessing` go before the defaults and after all that is stated,
    unless another architecture is stated than the checkpoint's. Where there is no file at all, so do the values of
    `SCHEDULE`. The number of classes is the data set's.

    Args:
        files, overrides: as for `resolve_config`.
        find: from the name in `train.from_checkpoint` to the checkpoint's folder. Not called when the run has a
            checkpoint of its own, whose configuration then takes the place of the other's.
        find_own: from the configuration to that checkpoint, None where there is none.

    Raises:
        ConfigError: as `resolve_config`.
        CheckpointError: as `find`.
    """
    stated = resolve_config(files, overrides)
    name = stated.config.train.from_checkpoint
    if name is None:
        return stated
    own = find_own(stated.config)
    before = read_checkpoint_config(own or find(name))
    base: dict[str, Any] = {} if _is_another_kind(stated, before) else _model_base(before)
    if base and own is None:
        del base["model"]["rcnn"]["class_weights"]  # of other classes, in other data
    if not files:
        base["train"] = dict(SCHEDULE)
    return resolve_config(files, overrides, base=base, base_source=f"fine-tuning of {name}")


def _is_another_kind(stated: ResolvedConfig, before: Any) -> bool:
    now, then = (leaves(config.model_dump(mode="json")) for config in (stated.config, before))
    return any(stated.sources[key] != DEFAULT and now[key] != then[key] for key in _KIND)


def _model_base(before: Any) -> dict[str, Any]:
    """What of a checkpoint's configuration the weights need, as nested plain values."""
    values = before.model_dump(mode="json")
    model = values["model"]
    del model["network"]["num_classes"]
    del model["anchors"]["stride"]  # follows base_network.output_stride
    return {"model": model, "dataset": {"image_preprocessing": values["dataset"]["image_preprocessing"]}}


def find_disagreements(before: Any, now: Any) -> list[str]:
    """What in a configuration does not suit the weights that training starts from; a line each, with the keys.

    Args:
        before: the `Config` that the weights were trained with.
        now: the `Config` that they are to be trained with.
    """
    from luminoth.models.build import pixel_rule  # loads TensorFlow, which resolving does not need

    found = []
    pixels, pixels_before = (str(pixel_rule(config.model.base_network)) for config in (now, before))
    if pixels != pixels_before:
        found.append(
            f"model.base_network.channel_order, channel_means, channel_stds: pixels become {pixels}, but the weights "
            f"were trained with {pixels_before}; leave the three keys out"
        )
    values, values_before = (leaves(config.model_dump(mode="json")) for config in (now, before))
    found += [
        f"{key}: is {write_value(values[key])}, but the weights were trained with {write_value(values_before[key])}; "
        "leave it out, unless the difference is what you want"
        for key in _TRAINED_FOR
        if values[key] != values_before[key]
    ]
    sizes, sizes_before = (_shorter_side(config.dataset.image_preprocessing) for config in (now, before))
    if sizes and sizes_before and not 1 / _OTHER_SCALE <= sizes / sizes_before <= _OTHER_SCALE:
        found.append(
            f"dataset.image_preprocessing: pictures get a shorter side of {sizes} pixels, but the weights were trained "
            f"with {sizes_before}: objects of another size than they know; leave it out, or train longer"
        )
    return found


def _shorter_side(rule: Any) -> int | None:
    return min(rule.fixed_height, rule.fixed_width) if rule.fixed_height else rule.min_size
