"""From a checkpoint's folder to a model with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import read_checkpoint_classes, read_checkpoint_config
from luminoth.checkpoints.runs import load_weights


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights and everything needed to use it.

    Attributes:
        model: a `DetectionModel`.
        config: the `Config` it was trained with.
        classes: the class names in the order of their ids.
        folder: the checkpoint's folder.
        step: updates done when it was saved.
    """

    model: Any
    config: Any
    classes: list[str]
    folder: Path
    step: int


def load_model(folder: Path, *, precision: str | None = None, xla: bool | None = None) -> LoadedModel:
    """Builds the model a checkpoint describes and loads its weights, averaged where the checkpoint has averages.

    Args:
        folder: the checkpoint's folder.
        precision, xla: see `build_model`; None: as the checkpoint's configuration says for evaluation.

    Raises:
        CheckpointError: a file is missing or damaged or does not fit.
    """
    from luminoth.models.build import build_model

    folder = Path(folder)
    config = read_checkpoint_config(folder)
    classes = read_checkpoint_classes(folder)
    model = build_model(
        config,
        len(classes),
        precision=config.eval.precision if precision is None else precision,
        xla=config.eval.xla if xla is None else xla,
        initialise=False,
    )
    state = load_weights(folder, model)
    return LoadedModel(model, config, classes, folder, state["step"])
