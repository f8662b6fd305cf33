"""Trains, and looks at what came of it."""

import os
import signal

import h5py
import numpy as np

from luminoth.training.events import StepDone
from luminoth.training.loop import train


def run(config, *watchers):
    """Trains; returns the result and all events."""
    events = []

    def on_event(event):
        events.append(event)
        for watch in watchers:
            watch(event)

    return train(config, on_event=on_event), events


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def losses_of(events):
    return [event.losses["total_loss"] for event in of_kind(events, StepDone)]


def saved_tensors(checkpoint):
    """All that a checkpoint's weights file holds: path -> array."""
    tensors = {}
    with h5py.File(checkpoint / "model.weights.h5") as file:
        file.visititems(lambda name, item: tensors.update({name: item[()]} if hasattr(item, "dtype") else {}))
    return tensors


def assert_same_tensors(checkpoint, expected_checkpoint):
    """To the last bit."""
    tensors, expected = saved_tensors(checkpoint), saved_tensors(expected_checkpoint)
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


def stop_at(step, number=signal.SIGINT):
    """Sends this process a signal when `step` is done, as Ctrl-C does."""

    def watch(event):
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), number)

    return watch
