"""Fine-tuning starts from another detector's weights: what fits is taken, the classes by their names.

    folder = find_start("fast")                       id, alias, folder, or a file of published weights
    transfer = transfer_weights(folder, model, classes)
    print(*transfer.describe(), sep="\\n")

Finding and converting need TensorFlow only where there is something to convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.folder import WEIGHTS_FILE, is_checkpoint, read_checkpoint_classes, read_checkpoint_config
from luminoth.checkpoints.store import Store, find_checkpoint
from luminoth.checkpoints.weights_file import stored_weights
from luminoth.errors import CheckpointError
from luminoth.types import UNUSED_CLASS

# The layers whose outputs are classes, with the outputs a class has; the first has one more at the end, the background.
_CLASS_LAYER, _DELTA_LAYER = "box_head/classes/", "box_head/deltas/"
_DELTAS = 4

_PARTS = {"backbone": "backbone", "fpn": "pyramid", "rpn": "RPN", "box_head": "box head"}
_NAMED = 8


@dataclass(frozen=True)
class Part:
    """One part of a model, and how much of it came from elsewhere; the layers of the classes are not counted.

    Attributes:
        name: in words.
        taken: names of the tensors that fitted.
        new: names of those that start anew.
    """

    name: str
    taken: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """What a model took from a checkpoint.

    Attributes:
        source: the checkpoint's folder.
        parts: in the model's order.
        misshapen: what the checkpoint has in another shape, as in `rpn/conv/bias ([256] there, [512] here)`.
        classes: those whose outputs were carried over, by name.
        new_classes: those that start anew. Both are empty for a model without classes.
    """

    source: Path
    parts: tuple[Part, ...]
    misshapen: tuple[str, ...]
    classes: tuple[str, ...]
    new_classes: tuple[str, ...]

    @property
    def taken(self) -> tuple[str, ...]:
        """Names of all tensors that fitted."""
        return tuple(name for part in self.parts for name in part.taken)

    def describe(self) -> list[str]:
        """A few lines for a person."""
        parts = ", ".join(
            f"{part.name} {len(part.taken)} of {len(part.taken) + len(part.new)} tensors" for part in self.parts
        )
        lines = [f"Weights of {self.source}: {parts}"]
        new = [name for part in self.parts for name in part.new]
        if new:
            lines.append(f"  start anew: {_some(new)}")
        if self.misshapen:
            lines.append(f"  of another shape: {_some(self.misshapen)}")
        if self.classes and self.new_classes:
            lines.append(
                f"  outputs of the classes: {_some(self.classes)} carried over by name; {_some(self.new_classes)} "
                "start anew"
            )
        elif self.classes:
            lines.append(f"  outputs of the classes: all {len(self.classes)} carried over by name")
        elif self.new_classes:
            lines.append(f"  outputs of the classes: all {len(self.new_classes)} start anew, it knows none of them")
        return lines


# --- Which checkpoint ----------------------------------------------------------------------------------------


def find_start(name: str) -> Path:
    """The folder of the checkpoint that a training starts from.

    Args:
        name: an id or alias, the folder of a checkpoint or of a run, or a file of published weights (torchvision's
            `.pth`, Detectron2's `.pkl`), which is converted into the store unless it is there.

    Raises:
        CheckpointError: there is none of that name, or the file cannot be converted.
    """
    path = Path(name).expanduser()
    if not path.is_file() or Store().look_up(name):
        return find_checkpoint(name)
    from luminoth.checkpoints.convert.own_weights import is_weights_file

    if is_weights_file(path):
        if is_checkpoint(path.parent):
            return path.parent
        raise CheckpointError(
            f"{path}: weights alone do not say what they are of; make a checkpoint of them first: "
            f"lumi checkpoint convert {path}"
        )
    return _converted(path)


def _converted(path: Path) -> Path:
    from luminoth.checkpoints.convert.converter import convert_source, read_source

    try:
        source = read_source(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} (to `lumi checkpoint convert {path}`, which makes a checkpoint of it)"
        ) from error
    if stored := Store().look_up(source.id):
        return stored.entry.folder
    return convert_source(source)[0]


# --- Its weights ---------------------------------------------------------------------------------------------


def transfer_weights(folder: Path, model: Any, classes: Sequence[str]) -> Transfer:
    """Loads into a model for other data what fits of a checkpoint, by name and shape.

    Of the layers whose outputs are classes the outputs of equally named classes are carried over, wherever they stand,
    and the background's with them; those of other classes stay as they are.

    Args:
        folder: the checkpoint's folder.
        model: a `DetectionModel`.
        classes: the model's class names in the order of their ids.

    Raises:
        CheckpointError: a file is missing or damaged, or nothing of the backbone fits; the model is as it was then.
    """
    from luminoth.models.base import named_weights

    folder = Path(folder)
    weights = named_weights(model)
    stored = _read(folder)
    of_classes = [name for name in weights if name.startswith((_CLASS_LAYER, _DELTA_LAYER))]
    plain = [name for name in weights if name not in of_classes]
    fitting = {name for name in plain if name in stored and stored[name].shape == tuple(weights[name].shape)}
    parts = tuple(_part(name, names, fitting) for name, names in _grouped(plain).items())
    _refuse_another_kind(folder, parts)
    rows = _equal_classes(folder, stored, {name: weights[name] for name in of_classes}, classes)
    for name in fitting:
        weights[name].assign(stored[name])
    for name in of_classes if rows else ():
        weights[name].assign(_with_rows(weights[name].numpy(), stored[name], name, rows))
    return Transfer(
        source=folder,
        parts=parts,
        misshapen=tuple(
            f"{name} ({list(stored[name].shape)} there, {list(weights[name].shape)} here)"
            for name in plain
            if name in stored and name not in fitting
        ),
        classes=tuple(name for index, name in enumerate(classes) if of_classes and index in rows),
        new_classes=tuple(name for index, name in enumerate(classes) if of_classes and index not in rows),
    )


def _read(folder: Path) -> dict[str, np.ndarray]:
    """All weights of a checkpoint, averaged where it has averages, halves widened."""
    with stored_weights(folder / WEIGHTS_FILE) as tensors:
        arrays = {name: tensor[()] for name, tensor in tensors.items()}
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in arrays.items()}


def _grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """The names by the part of the model that they begin with."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(name)
    return groups


def _part(name: str, names: Sequence[str], fitting: set[str]) -> Part:
    return Part(
        _PARTS.get(name, name),
        tuple(each for each in names if each in fitting),
        tuple(each for each in names if each not in fitting),
    )


def _refuse_another_kind(folder: Path, parts: Sequence[Part]) -> None:
    """Without its backbone a detector would start from random features, and nobody would notice."""
    backbone = [part for part in parts if part.name == "backbone"]
    if any(part.taken for part in backbone or parts):
        return
    base = read_checkpoint_config(folder).model.base_network
    raise CheckpointError(
        f"{folder}: nothing of its {'backbone' if backbone else 'tensors'} fits the model by name and shape: it is of "
        f"another architecture ({base.architecture}). Leave model.base_network out to take the checkpoint's, or choose "
        "another checkpoint"
    )


def _equal_classes(
    folder: Path, stored: Mapping[str, np.ndarray], of_classes: Mapping[str, Any], classes: Sequence[str]
) -> dict[int, int]:
    """Id of each class that the checkpoint knows by that name -> its id there; empty where its layers do not fit."""
    known = read_checkpoint_classes(folder)
    for name, variable in of_classes.items():
        outputs = len(known) + 1 if name.startswith(_CLASS_LAYER) else _DELTAS * len(known)
        if name not in stored or stored[name].shape != (*variable.shape[:-1], outputs):
            return {}
    ids = {name: index for index, name in enumerate(known) if name != UNUSED_CLASS}
    return {index: ids[name] for index, name in enumerate(classes) if name in ids}


def _with_rows(own: np.ndarray, stored: np.ndarray, name: str, rows: Mapping[int, int]) -> np.ndarray:
    """`own` [..., C + 1] or [..., 4 C] with the outputs of the classes in `rows` from `stored`."""
    here, there = list(rows), list(rows.values())
    if name.startswith(_CLASS_LAYER):
        result = own.copy()
        result[..., [*here, -1]] = stored[..., [*there, -1]]
        return result
    by_class = own.reshape(*own.shape[:-1], -1, _DELTAS).copy()  # [..., 4 C] -> [..., C, 4]
    by_class[..., here, :] = stored.reshape(*stored.shape[:-1], -1, _DELTAS)[..., there, :]
    return by_class.reshape(own.shape)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
