"""Weights of this project, on their own or in a run's folder, made into a checkpoint that can be called by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luminoth.checkpoints.convert.converter import read_configuration
from luminoth.checkpoints.convert.recognise import published_model
from luminoth.checkpoints.folder import (
    CLASSES_FILE,
    CONFIG_FILE,
    is_checkpoint,
    read_checkpoint_classes,
    read_checkpoint_config,
)
from luminoth.checkpoints.naming import new_id
from luminoth.checkpoints.publish import choose_checkpoint, create_checkpoint, publish_checkpoint, publish_model
from luminoth.checkpoints.weights_file import read_weights_file
from luminoth.errors import CheckpointError

_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_weights_file(path: Path) -> bool:
    """Whether a file is HDF5, as Keras and this project write weights."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return False


def convert_folder(folder: Path, destination: Path | None = None) -> Path:
    """Publishes the newest checkpoint of a run, or the checkpoint in a folder; needs no TensorFlow.

    Args:
        folder: of a run or of a checkpoint.
        destination: the folder to create, which must not exist; None: the store, under a new id.

    Returns:
        The folder of what was made.

    Raises:
        CheckpointError: there is no checkpoint in it, or it is one of TensorFlow 1.
        OutputError: the destination exists or cannot be written.
    """
    _refuse_tensorflow_1(folder)
    checkpoint = folder if is_checkpoint(folder) else choose_checkpoint(folder)
    if destination is not None:
        metadata = {"id": new_id(), "source": f"converted from {checkpoint.name}", "origin": "converted"}
        return publish_checkpoint(checkpoint, metadata, destination)
    return create_checkpoint(checkpoint).folder


def convert_weights_file(path: Path, name: str | None = None, destination: Path | None = None) -> Path:
    """Makes a checkpoint of a `.weights.h5` file: one of a checkpoint, or one that Keras' `save_weights` wrote.

    Args:
        path: of the file; `config.yml` and `classes.json` beside it say what model it is of.
        name: of a published model with the same architecture and classes, in the place of those files.
        destination: the folder to create, which must not exist; None: the store, under a new id.

    Returns:
        The folder of what was made.

    Raises:
        CheckpointError: the weights do not fit the model, or nothing says which model it is.
        OutputError: the destination exists or cannot be written.
    """
    config, classes = _model_of(path, name)
    from luminoth.models.build import build_model

    model = build_model(config, len(classes), initialise=False)
    step = _load(path, model)
    metadata = {"id": new_id(), "name": path.name, "source": f"converted from {path.name}", "origin": "converted"}
    return publish_model(model, config, classes, metadata, destination, step=step)


def _model_of(path: Path, name: str | None) -> tuple[Any, Sequence[str]]:
    if name is not None:
        model = published_model(name)
        return read_configuration(model), model.classes
    folder = path.parent
    if not (folder / CONFIG_FILE).is_file() or not (folder / CLASSES_FILE).is_file():
        raise CheckpointError(
            f"{path}: weights alone do not say what model they are of: put its {CONFIG_FILE} and {CLASSES_FILE} beside "
            "it, or name a published model of the same architecture and classes with --as"
        )
    return read_checkpoint_config(folder), read_checkpoint_classes(folder)


def _load(path: Path, model: Any) -> int:
    """Gives a file's weights to a model; returns the step."""
    import h5py

    from luminoth.models.base import named_weights

    weights = named_weights(model)
    try:
        with h5py.File(path, "r") as file:
            is_ours = "step" in file.attrs and "weights" in file
            stored = _count(file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    if is_ours:
        return read_weights_file(path, weights)
    try:
        model.load_weights(path)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} does not fit the model: {str(error).strip().splitlines()[0]}") from error
    if stored != len(weights):
        raise CheckpointError(
            f"{path} does not fit the model: {stored} tensors in the file, {len(weights)} in the model"
        )
    return 0


def _count(file: Mapping[str, Any]) -> int:
    """Data sets in an HDF5 file, without those of an optimizer."""
    import h5py

    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sum(not name.startswith("optimizer") for name in found)


def _refuse_tensorflow_1(folder: Path) -> None:
    if not is_checkpoint(folder) and any(folder.glob("*.ckpt-*.index")):
        raise CheckpointError(
            f"{folder}: holds checkpoints of TensorFlow 1, as Luminoth 0.2 wrote them, which cannot be read: train "
            "again with the same configuration, or start from a published detector"
        )
