"""One process of a distributed training, for tests: `python -m tests.training.worker ARGUMENTS_IN_JSON`.

data, job_dir   folders
train           keys of the section `train`
devices         logical devices that the CPU is divided into
signal          [number, step]: sends that signal to itself when `step` updates are done
result          file for what came of it
"""

import json
import os
import sys
import time
from pathlib import Path

import tensorflow as tf

from luminoth.errors import LuminothError
from luminoth.models import build
from luminoth.training import assembly, loop
from tests.training.tiny import frozen_norm, tiny_config


def main() -> None:
    job = json.loads(sys.argv[1])
    if job.get("devices", 1) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * job["devices"]
        tf.config.set_logical_device_configuration(cpu, parts)
    config = frozen_norm(tiny_config(Path(job["data"]), Path(job["job_dir"]), **job["train"]))
    build._refuse_frozen_random_weights = lambda config: None
    losses: dict[int, dict[str, float]] = {}
    _watch_steps(losses, *job.get("signal", (None, None)))
    events: list[str] = []
    try:
        result = loop.train(config, on_event=lambda event: events.append(type(event).__name__))
        outcome = {"step": result.step, "interrupted": result.interrupted, "worker": result.worker}
    except LuminothError as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    Path(job["result"]).write_text(json.dumps({**outcome, "losses": losses, "events": events, "ended": time.time()}))


def _watch_steps(losses: dict[int, dict[str, float]], number: int | None, at_step: int | None) -> None:
    """Keeps the values of each update, and sends the signal; also where events are kept quiet."""
    make_train_step = assembly.make_train_step

    def make(*args, **kwargs):
        step_function = make_train_step(*args, **kwargs)

        def step(batch, step, *rest):
            values = step_function(batch, step, *rest)
            losses[step + 1] = values
            if step + 1 == at_step:
                os.kill(os.getpid(), number)
            return dict(values)

        return step

    assembly.make_train_step = make


if __name__ == "__main__":
    main()
