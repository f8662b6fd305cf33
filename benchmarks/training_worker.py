"""This project's side of `python -m benchmarks.training` (see peer.py): a training step alone, and the whole loop.

`step` is the compiled update on one batch of the records that lies ready; `loop` is `train` as `lumi train` calls it,
which saves a checkpoint at its end and writes what it always writes. Initial weights, frozen batch norm, all
convolutions trained; so small a rate that each step does the same work.
"""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.peer import ROOT, Prepared, serve

RECIPES = {"c4": "coco-fasterrcnn.yml", "fpn": "torchvision-fasterrcnn-resnet50-fpn.yml"}
RESIDUAL_SCALE = 0.2  # of a residual branch at the start; with 1, frozen batch norm lets activations explode
LONGEST = {600: 1000, 800: 1333}  # sides, as the papers and torchvision pair them
WARM_UP = 2


def prepare(job: dict[str, Any]) -> Prepared:
    if job["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    if job["device"] == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise SystemExit("TensorFlow sees no GPU")
    config = _config(job)
    return {"step": _bare_step(config), "loop": lambda: _loop(config, Path(job["found"]))}, {}


def _config(job: dict[str, Any]):
    """A recipe on the benchmark's records, from weights that it can be trained from."""
    from luminoth.checkpoints.publish import publish_model
    from luminoth.config import load_config
    from luminoth.models.base import named_weights
    from luminoth.models.build import build_model

    folder = Path(job["folder"])
    size = job["size"]
    settings = {
        "dataset.dir": job["data"],
        "dataset.image_preprocessing.min_size": size,
        "dataset.image_preprocessing.max_size": LONGEST.get(size, 2 * size),
        "model.network.num_classes": 1,
        "model.base_network.fine_tune_from": None,
        "train.from_checkpoint": str(folder / "initial"),
        "train.job_dir": str(folder / "jobs"),
        "train.run_name": "loop",
        "train.batch_size": job["batch"],
        "train.precision": job["precision"],
        "train.max_steps": job["steps"],
        "train.learning_rate": {"learning_rate": 1e-7},
        "train.warmup_steps": 0,
        "train.seed": 0,
        "train.image_vis": None,
    }
    config = load_config(
        [ROOT / "configs" / RECIPES[job["model"]]], [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    )
    model = build_model(config, 1)
    for name, weight in named_weights(model).items():
        if name.endswith("conv3/gamma"):
            weight.assign(RESIDUAL_SCALE * weight)
    publish_model(model, config, ["object"], {"id": "initial"}, folder / "initial")
    return config


def _bare_step(config):
    from luminoth.training import assembly
    from luminoth.training.events import ignore_events
    from luminoth.training.pieces import draw
    from luminoth.training.run import open_run
    from luminoth.training.workers.strategy import join_workers

    workers, run = join_workers(config.train), open_run(config)
    state = assembly.build_state(config, run, workers.strategy)
    assembly.load_first_weights(config, run, state, ignore_events)
    batches, spec = assembly.open_batches(config, run, workers)
    train_step = assembly.make_configured_step(config, run, workers.strategy, state, spec)
    pieces = draw(batches, 1)
    return lambda: assembly.run_step(train_step, pieces, 0, 1e-7)


def _loop(config, found: Path) -> None:
    """Trains, and writes seconds from update to update and shares."""
    from luminoth.training.events import StepDone
    from luminoth.training.loop import train
    from luminoth.training.watching.clock import HOST, INPUT, MODEL

    done = []

    def note(event: object) -> None:
        if isinstance(event, StepDone):
            done.append(time.perf_counter())

    result = train(config, on_event=note)
    seconds = result.figures.spent.seconds
    of_steps = sum(seconds[phase] for phase in (INPUT, MODEL, HOST))
    found.write_text(
        json.dumps(
            {
                "seconds": [after - before for before, after in pairwise(done)][WARM_UP - 1 :],
                "outside_model": result.figures.spent.outside_model,
                "input_wait": seconds[INPUT] / of_steps,
            }
        )
    )


if __name__ == "__main__":
    serve(prepare)
