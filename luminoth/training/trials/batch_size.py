"""`train.batch_size: auto`: how many pictures a step can take before the memory is full, found by trying.

On a GPU the batch grows until memory gives out, which TensorFlow survives. On a CPU running out would end the process,
or bring the machine to a stand: there steps with few pictures are measured, and what more would take is computed.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.checkpoints.folder import read_checkpoint_config
from luminoth.checkpoints.runs import latest_checkpoint, run_folder
from luminoth.data.glance import Glance, glance
from luminoth.data.stats.configured import network_view
from luminoth.errors import TrainingError
from luminoth.training.assembly import build_state, make_configured_step
from luminoth.training.events import BatchSizeChosen, OnEvent
from luminoth.training.run import Run, open_run
from luminoth.training.watching.memory import available_host_memory, host_memory
from luminoth.types import Batch

AUTO = "auto"

# What is tried, ascending. Beyond 64 there is little to gain, and rates, warm-up and length would have to be others.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_FEWEST_STEPS = 8  # an epoch: a batch of half a small data set would hardly train

_MEASURED = (1, 2, 4)  # on a CPU: the first also pays for all that is made once
_HOST_SHARE = 0.7  # of the memory that is free; the rest is for shuffled pictures, evaluation, and everyone else
_SAMPLING_SECONDS = 0.005


def settle_batch_size(config: Any, on_event: OnEvent, *, replicas: int = 1) -> Any:
    """The configuration with a number for `train.batch_size`; with one already, it comes back as it is.

    A run that has a checkpoint keeps what was found when it began.

    Args:
        config: the resolved `Config`.
        on_event: is told what was chosen.
        replicas: devices that share a batch; what is tried on the first one holds for each.

    Raises:
        ConfigError, DataError: as `open_run`.
        TrainingError: not even one picture fits.
    """
    if config.train.batch_size != AUTO:
        return config
    kept = None if config.train.no_log else _of_earlier_start(config)
    if kept is not None:
        on_event(BatchSizeChosen(kept, "as when the run began"))
        return with_batch_size(config, kept)
    run = open_run(with_training(config, batch_size=1, no_log=True))
    seen = glance(run.files, run.images)
    most = max(1, min(SIZES[-1], run.images // (_FEWEST_STEPS * replicas * config.train.accumulate_steps)))
    search = _largest_on_gpu if tf.config.list_logical_devices("GPU") else _largest_on_host
    size, reason = search(lambda count: _try(config, run, seen, count), most)
    on_event(BatchSizeChosen(size * replicas, reason))
    return with_batch_size(config, size * replicas)


def with_batch_size(config: Any, size: int) -> Any:
    """The same configuration with this `train.batch_size`."""
    return with_training(config, batch_size=size)


def with_training(config: Any, **values: Any) -> Any:
    """The same configuration with these values in its section `train`."""
    return config.model_copy(update={"train": config.train.model_copy(update=values)})


def _of_earlier_start(config: Any) -> int | None:
    checkpoint = latest_checkpoint(run_folder(config))
    size = read_checkpoint_config(checkpoint).train.batch_size if checkpoint else None
    return size if isinstance(size, int) else None


# --- The search ----------------------------------------------------------------------------------------------


def _largest_on_gpu(try_size: Callable[[int], object], most: int) -> tuple[int, str]:
    """The largest of `SIZES`, up to `most`, whose step does not run out of memory."""
    largest = 0
    for size in (size for size in SIZES if size <= most):
        try:
            try_size(size)
        except tf.errors.ResourceExhaustedError as error:
            if not largest:
                raise TrainingError(_nothing_fits()) from error
            return largest, f"the GPU's memory holds {largest} of the largest pictures, and not {size}"
        largest = size
    return largest, _reached_most(largest, most)


def _largest_on_host(try_size: Callable[[int], int | None], most: int) -> tuple[int, str]:
    """The largest of `SIZES`, up to `most`, whose step would leave `1 - _HOST_SHARE` of the free memory free.

    `try_size` gives the bytes that a step with so many pictures took at its peak.
    """
    free = available_host_memory()
    if free is None:
        return 1, "it is not known here how much memory is free"
    allowed = _HOST_SHARE * free
    peaks: dict[int, float] = {}
    for size in (size for size in _MEASURED if size <= most):
        if peaks and _predicted(peaks, size) > allowed:
            break
        peak = try_size(size)
        if peak is None:
            return 1, "it is not known here how much memory a step takes"
        peaks[size] = peak
    if peaks[1] > allowed:
        raise TrainingError(_nothing_fits())
    largest = max(size for size in SIZES if size <= most and _predicted(peaks, size) <= allowed)
    if largest == max(size for size in SIZES if size <= most):
        return largest, _reached_most(largest, most)
    return largest, (
        f"a step with {largest} of the largest pictures takes {_predicted(peaks, largest) / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB of memory are free, of which {_HOST_SHARE:.0%} are used"
    )


def _predicted(peaks: dict[int, float], size: int) -> float:
    """Bytes of a step, from those measured: along the steepest line between two of them."""
    sizes = sorted(peaks)
    if size <= sizes[-1]:
        return max(peaks[each] for each in sizes if each <= size)
    # From one measured step alone: all that it took could be due to its one picture.
    slope = max(((peaks[b] - peaks[a]) / (b - a) for a, b in pairwise(sizes)), default=peaks[sizes[0]])
    return peaks[sizes[-1]] + max(slope, 0.0) * (size - sizes[-1])


def _reached_most(size: int, most: int) -> str:
    if most < SIZES[-1]:
        return f"more would leave fewer than {_FEWEST_STEPS} steps an epoch"
    return f"the most that is tried; state a number for more than {size}"


def _nothing_fits() -> str:
    return (
        "train.batch_size: auto: not even one picture fits the memory; lower min_size and max_size of "
        "dataset.image_preprocessing, or choose a smaller model.base_network.architecture"
    )


# --- One try -------------------------------------------------------------------------------------------------


def _try(config: Any, run: Run, seen: Glance, size: int) -> int | None:
    """Builds everything and makes one update with `size` of the largest pictures; bytes it took on the host."""
    before = host_memory()
    config = with_batch_size(config, size)
    strategy = tf.distribute.get_strategy()
    batch = largest_batch(config, seen, size)
    try:
        with _peak_of_host() as peak:
            state = build_state(config, run, strategy)
            step = make_configured_step(config, run, strategy, state, _spec_of(batch))
            step([batch] * config.train.accumulate_steps, 0, 0.0)
        return None if before is None or peak() is None else peak() - before
    finally:
        gc.collect()  # model and optimizer refer to themselves in circles, and hold the memory until then


def largest_batch(config: Any, seen: Glance, size: int) -> Batch:
    """A batch of noise as large as the data set can make one: largest picture, most objects.

    Of sizes that training draws (`min_size_train`) it is the largest; what augmentation adds to a picture is not known.

    Args:
        config: the resolved `Config`.
        seen: a look at the data.
        size: how many pictures.
    """
    rule = network_view(config).rule
    sides = config.dataset.image_preprocessing.min_size_train
    rule = replace(rule, min_size=max(sides)) if sides else rule
    height, width = rule.input_sizes(seen.image_sizes).max(axis=0).tolist()
    objects = int(np.bincount(seen.image_of_box, minlength=1).max(initial=1)) or 1
    random = np.random.default_rng(0)
    corners = random.uniform(0, 0.5, (size, objects, 2)) * [width, height]
    sides = random.uniform(0.1, 0.5, (size, objects, 2)) * [width, height]
    return Batch(
        images=tf.constant(random.uniform(0, 255, (size, height, width, 3)), tf.float32),
        image_sizes=tf.constant([[height, width]] * size, tf.int32),
        gt_boxes=tf.constant(np.concatenate([corners, corners + sides], axis=-1), tf.float32),
        gt_class_ids=tf.zeros([size, objects], tf.int32),
        is_object=tf.ones([size, objects], tf.bool),
        is_crowd=tf.zeros([size, objects], tf.bool),
    )


def _spec_of(batch: Batch) -> Batch:
    """As those of the data pipeline: sizes of pictures and numbers of objects vary."""
    return Batch(
        images=tf.TensorSpec([len(batch.images), None, None, 3], tf.float32),
        image_sizes=tf.TensorSpec(batch.image_sizes.shape, tf.int32),
        gt_boxes=tf.TensorSpec([len(batch.images), None, 4], tf.float32),
        gt_class_ids=tf.TensorSpec([len(batch.images), None], tf.int32),
        is_object=tf.TensorSpec([len(batch.images), None], tf.bool),
        is_crowd=tf.TensorSpec([len(batch.images), None], tf.bool),
    )


@contextmanager
def _peak_of_host() -> Iterator[Callable[[], int | None]]:
    """Looks at this process's memory again and again; gives the most that was seen, None where it cannot be seen."""
    amounts = [host_memory()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLING_SECONDS):
            amounts[0] = max(amounts[0], host_memory() or 0)

    thread = threading.Thread(target=watch, daemon=True)
    if amounts[0] is not None:
        thread.start()
    try:
        yield lambda: amounts[0]
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
