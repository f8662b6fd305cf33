"""Looks for mistakes before a long training: each finding is one line, with the keys and what to do.

What cannot be right is an error; what looks wrong, and may be meant, is told and does not stop anything.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.in_bucket import is_copy
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.data.glance import Glance, glance
from luminoth.data.record_files import CLASSES_FILE
from luminoth.data.stats.anchor_fit import best_anchor_overlap, scale_to_input
from luminoth.data.stats.configured import network_view
from luminoth.errors import ConfigError, DataError
from luminoth.models.build import imagenet_file, pixel_rule
from luminoth.training.update.schedules import batch_scale

# The RPN's foreground threshold (0.7) would say nothing: good anchors, of which each box trains its best one besides,
# miss it for two boxes of three. From 0.5 on they miss about a tenth; and a box without any anchor above the background
# threshold is background to most of what covers it.
_SOME_OVERLAP = 0.5
_MOST_BELOW_SOME = 0.3
_MOST_BELOW_BACKGROUND = 0.05
_MOST_EMPTY = 0.5
_FEWEST_BOXES = 20  # of fewer, shares say nothing

# Rates a picture, beyond which hardly any detector learns: twenty times, and a hundredth, of what the papers use.
_RATES = {"momentum": (1e-5, 0.025), "gradient_descent": (1e-5, 0.05)}
_USUAL_RATE = 0.00125
_USUAL_ADAPTIVE_RATE = 0.0001
_ADAPTIVE_RATES = (1e-7, 0.005)  # of Adam and its kind, which do not depend on the size of the batch

_NAMED = 8


def look_over(config: Any, run: Any) -> list[str]:
    """What looks wrong in a training that is about to begin, a line each.

    Args:
        config: the resolved `Config`, `train.batch_size` a number.
        run: the opened `Run`.

    Raises:
        DataError: a box has a class that there is none of.
    """
    seen = glance(run.files, run.images)
    _refuse_unknown_classes(seen, config.dataset.dir, run.classes)
    return [
        *_about_data(seen, config, run.classes),
        *_about_anchors(seen, config),
        *_about_pixels(config),
        *_about_batches(config.train, run.images),
        *_about_schedule(config.train, run.total_steps),
        *_about_weight_decay(config),
        *_about_precision(config.train),
    ]


def check_space(folder: Path, checkpoint_bytes: int, keep: int) -> str | None:
    """What to say when the disk has no room for a run's checkpoints; None when it has.

    Args:
        folder: the run's, which need not exist.
        checkpoint_bytes: the size of each.
        keep: how many are kept.
    """
    free, there = free_bytes(folder), len(list_checkpoints(folder))
    needed = checkpoint_bytes * max(1, keep + 1 - there)  # one is written before an old one goes
    if free >= needed:
        return None
    # Runs in a bucket are worked on in a copy.
    place, other = (tempfile.gettempdir(), "TMPDIR") if is_copy(folder) else (folder, "train.job_dir")
    return (
        f"{place}: {free / 1e9:.1f} GB are free there, but {keep} checkpoints and the one being written take "
        f"{needed / 1e9:.1f} GB more; make room, lower train.checkpoints_max_keep, or choose another {other}"
    )


def free_bytes(folder: Path) -> int:
    """Bytes that are free where `folder`, which need not exist, is to be."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


# --- The data ------------------------------------------------------------------------------------------------


def _refuse_unknown_classes(seen: Glance, dataset_dir: str, classes: Sequence[str]) -> None:
    highest = int(seen.class_ids.max(initial=-1))
    if highest >= len(classes):
        raise DataError(
            f"image {seen.first_ids[highest]!r}: has a box of class number {highest}, counted from 0, but "
            f"{dataset_dir}/{CLASSES_FILE} names {len(classes)} classes: it does not belong to these records; write "
            "both anew with `lumi dataset transform`"
        )


def _about_data(seen: Glance, config: Any, classes: Sequence[str]) -> Iterator[str]:
    split = f"{config.dataset.dir}, split {config.dataset.split}"
    of_seen = f"{seen.seen:,} pictures" if seen.is_complete else f"{seen.seen:,} of {seen.images:,} pictures looked at"
    if seen.empty == seen.seen:
        yield f"{split}: none of the {of_seen} has an object; is dataset.split the one you mean?"
        return
    if seen.empty > _MOST_EMPTY * seen.seen:
        yield (
            f"{split}: {seen.empty / seen.seen:.0%} of the {of_seen} have no object: most steps teach the background "
            "alone; leave some of these pictures out (`lumi dataset transform`)"
        )
    absent = [name for index, name in enumerate(classes) if index not in seen.first_ids]
    if absent:
        yield (
            f"{split}: {len(absent)} of {len(classes)} classes occur in none of the {of_seen}: {_some(absent)}; the "
            "detector will never find them"
        )


def _about_anchors(seen: Glance, config: Any) -> Iterator[str]:
    if len(seen.boxes) < _FEWEST_BOXES:
        return
    try:
        view = network_view(config)
    except ConfigError:  # building the model says the same, and more
        return
    own_sizes = seen.image_sizes[seen.image_of_box]
    input_sizes = view.rule.input_sizes(own_sizes)
    boxes = scale_to_input(seen.boxes, own_sizes, input_sizes)
    overlaps = best_anchor_overlap(boxes, input_sizes, view.grid, view.border)
    sides = [side for of_map in view.grid.sides for side in of_map]
    for threshold, most in ((view.background, _MOST_BELOW_BACKGROUND), (_SOME_OVERLAP, _MOST_BELOW_SOME)):
        below = overlaps < threshold
        if below.mean() > most:
            typical = float(np.median(np.sqrt(np.prod(boxes[below, 2:] - boxes[below, :2], axis=1))))
            yield (
                f"model.anchors: {below.mean():.0%} of the boxes have no anchor with an IoU of {threshold:g} (such "
                f"boxes are {typical:.0f} pixels large at the network's size, anchors {min(sides):g} to "
                f"{max(sides):g}); `lumi dataset stats {config.dataset.dir}` suggests anchors and a min_size"
            )
            return


# --- The configuration ---------------------------------------------------------------------------------------


def _about_pixels(config: Any) -> Iterator[str]:
    """Pretrained ImageNet weights want the pixels that they were trained with."""
    base = config.model.base_network
    stated = [key for key in ("channel_order", "channel_means", "channel_stds") if getattr(base, key) is not None]
    if stated and config.train.from_checkpoint is None and imagenet_file(base) is not None:
        published = base.model_copy(update=dict.fromkeys(stated))
        if str(pixel_rule(base)) != str(pixel_rule(published)):
            yield (
                f"model.base_network: {', '.join(stated)} make of the pixels {pixel_rule(base)}, but the ImageNet "
                f"weights of {base.architecture} were trained with {pixel_rule(published)}; leave them out"
            )


def _about_batches(train: Any, images: int) -> Iterator[str]:
    if train.batch_size > images:
        yield (
            f"train.batch_size: {train.batch_size} is more than the {images} images of the split: each is several "
            "times in a batch; lower it"
        )
    kind, images_in_step, rate = train.optimizer.type, train.images_in_step, _highest_rate(train)
    if kind in _RATES:
        low, high = (bound * images_in_step for bound in _RATES[kind])
        usual = _USUAL_RATE * images_in_step
        suits = f" and {images_in_step} images a step; {usual:g} is usual ({_USUAL_RATE} an image)"
    else:
        low, high = _ADAPTIVE_RATES
        suits = f"; {_USUAL_ADAPTIVE_RATE:g} is usual"
    if not low <= rate <= high:
        much = "high" if rate > high else "low"
        yield f"train.learning_rate: {rate:g} is very {much} for the optimizer {kind}{suits}"


def _highest_rate(train: Any) -> float:
    schedule = train.learning_rate
    rate = max(schedule.values) if schedule.decay_method == "piecewise_constant" else schedule.learning_rate
    return rate * batch_scale(train.images_in_step, train.base_batch_size)


def _about_schedule(train: Any, total_steps: int) -> Iterator[str]:
    schedule = train.learning_rate
    if schedule.decay_method == "piecewise_constant":
        late = [boundary for boundary in schedule.boundaries if boundary >= total_steps]
        if late:
            yield (
                f"train.learning_rate.boundaries: {', '.join(map(str, late))} lie beyond the run's end at step "
                f"{total_steps}: the rate does not fall there; lower them, or raise train.max_steps and num_epochs"
            )
    elif schedule.decay_method in ("polynomial_decay", "cosine_decay") and (schedule.decay_steps or 0) > total_steps:
        yield (
            f"train.learning_rate.decay_steps: {schedule.decay_steps} is beyond the run's end at step {total_steps}: "
            "the rate does not come down to its end; leave it out"
        )
    if train.warmup_steps > total_steps / 2:
        yield (
            f"train.warmup_steps: {train.warmup_steps} is more than half of the run's {total_steps} steps; a tenth of "
            f"them, {max(1, total_steps // 10)}, would do"
        )


def _about_weight_decay(config: Any) -> Iterator[str]:
    model, optimizer = config.model, config.train.optimizer
    penalties = {
        "model.base_network.arg_scope.weight_decay": model.base_network.arg_scope.weight_decay,
        "model.rpn.l2_regularization_scale": model.rpn.l2_regularization_scale,
        "model.rcnn.l2_regularization_scale": model.rcnn.l2_regularization_scale,
    }
    both = [key for key, penalty in penalties.items() if penalty]
    if optimizer.type == "adamw" and optimizer.weight_decay and both:
        yield (
            f"train.optimizer.weight_decay: {optimizer.weight_decay:g}, and penalties on the same weights besides: "
            f"they decay twice; set {', '.join(both)} to 0"
        )


def _about_precision(train: Any) -> Iterator[str]:
    from luminoth.models.precision import find_doubt  # imports TensorFlow

    doubt = find_doubt(train.precision)
    if doubt is not None:
        yield f"train.precision: {doubt}"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
