"""Where the training runs: devices and how the work is spread over them."""

from __future__ import annotations

import os

import tensorflow as tf


def make_strategy() -> tf.distribute.Strategy:
    """The distribution strategy of this process: one device.

    GPU memory is taken as it is needed, not all at once, so that an evaluation fits beside a training.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow runs already, in a process that set this up itself
            break
    return tf.distribute.get_strategy()


def describe_device() -> str:
    """The device the default strategy uses, in words for a person."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return "GPU " + tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {cores} cores"
