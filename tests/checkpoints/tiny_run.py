"""Checkpoints of a small model with random weights."""

import h5py
import numpy as np

from luminoth.checkpoints.folder import WEIGHTS_FILE
from luminoth.checkpoints.runs import save_checkpoint
from luminoth.config import config_from_dict
from luminoth.training.update.optimizers import make_optimizer
from tests.training.tiny import CLASSES, TinyDetector


def optimizer_for(model, **settings):
    config = config_from_dict({"train": {"optimizer": settings or {"type": "momentum"}}})
    return make_optimizer(config.train.optimizer, model.trainable_variables)


def randomise(variables, seed):
    random = np.random.default_rng(seed)
    for variable in variables:
        value = random.uniform(0.1, 2.0, variable.shape)
        variable.assign(value.astype(variable.dtype) if variable.dtype != "int64" else int(value * 100))


def save(run_dir, step=3, seed=1, model=None, **settings):
    """A checkpoint of random weights; returns folder, model and optimizer."""
    model = model or TinyDetector()
    optimizer = optimizer_for(model, **settings)
    randomise(model.variables, seed)
    randomise(optimizer.variables, seed + 1)
    config = config_from_dict({"train": {"job_dir": str(run_dir), "seed": 9}, "dataset": {"dir": "/secret/voc"}})
    folder = save_checkpoint(
        run_dir, step, model=model, optimizer=optimizer, config=config, classes=CLASSES, state={"seed": 9}
    )
    return folder, model, optimizer


def damage(folder, change):
    with h5py.File(folder / WEIGHTS_FILE, "r+") as file:
        change(file)


def move(file, name, value=None):
    del file["weights"][name]
    if value is not None:
        file["weights"][name] = value
