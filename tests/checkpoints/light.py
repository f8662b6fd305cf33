"""Checkpoints without TensorFlow: the files are what they should be, the weights are a few numbers."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np

from luminoth.checkpoints.store import EMBEDDED_FOLDER

CLASSES = ["car", "bus"]
TENSORS = {
    "backbone/conv1/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "backbone/conv1/bias": np.array([0.5, -0.25], np.float32),
    "head/kernel": np.full((3, 2), 1.5, np.float32),
}


def write_weights(path: Path, tensors=None, step: int = 7, optimizer: bool = False) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["step"] = step
        for name, value in (TENSORS if tensors is None else tensors).items():
            file[f"weights/{name}"] = value
        if optimizer:
            file["optimizer/00000"] = np.zeros(1000, np.float32)


def light_run(run: Path, *steps: int, tensors=None, config: str = "model: {type: fasterrcnn}\n") -> Path:
    """A run's folder with checkpoints of these steps; the last one's folder."""
    for step in steps:
        folder = run / f"ckpt-{step}"
        folder.mkdir(parents=True)
        write_weights(folder / "model.weights.h5", tensors, step, optimizer=True)
        state = {
            "format": 1, "step": step, "seed": 5, "data": {"images_seen": 99, "images": 30},
            "versions": {"luminoth": "1.0", "tensorflow": "2.21.0"}, "saved": "2026-01-02T03:04:05+00:00",
        }  # fmt: skip
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "classes.json").write_text(json.dumps(CLASSES))
        (folder / "config.yml").write_text(config)
    return folder


def light_entry(home: Path, checkpoint_id: str, **metadata) -> Path:
    """Puts a checkpoint into `$LUMI_HOME` by hand, with metadata of format 0; its folder."""
    made = light_run(home / "made", 7)
    write_weights(made / "model.weights.h5")
    (made / "metadata.json").write_text(json.dumps(metadata))
    folder = home / "checkpoints" / checkpoint_id
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.rename(folder)
    shutil.rmtree(home / "made")
    return folder


def evaluated(run: Path, step: int, ap: float, split: str = "val") -> None:
    """What `lumi eval` leaves in a run's folder."""
    (run / "eval").mkdir(exist_ok=True)
    content = {"split": split, "step": step, "metrics": {"AP": ap, "AP50": min(2 * ap, 1), "AP75": None}}
    (run / "eval" / f"{split}-{step}.json").write_text(json.dumps(content))


EMBEDDED_ID = json.loads((EMBEDDED_FOLDER / "toytown" / "metadata.json").read_text(encoding="utf-8"))["id"]
