"""From a file of published weights to a checkpoint's folder.

source = read_source("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")   # all that needs no TensorFlow
folder, report = convert_source(source)                             # builds the model
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.convert.detectron2 import DETECTRON2
from luminoth.checkpoints.convert.mapping import convert_weights, left_out
from luminoth.checkpoints.convert.pickle_file import read_detectron2_file
from luminoth.checkpoints.convert.published import TORCHVISION as OF_TORCHVISION
from luminoth.checkpoints.convert.published import PublishedModel
from luminoth.checkpoints.convert.recognise import published_model, recognise
from luminoth.checkpoints.convert.safe_pickle import shown
from luminoth.checkpoints.convert.torch_file import is_torch_file, read_torch_file
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.checkpoints.folder import refuse_existing
from luminoth.checkpoints.publish import publish_model
from luminoth.checkpoints.store import Store
from luminoth.errors import CheckpointError, LuminothError

CONFIGURATIONS = Path(__file__).parent / "models"

_ID_DIGITS = 12
_READ_SIZE = 1 << 20
_STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class SourceWeights:
    """A file of weights that has been read, and the model it is meant for.

    Attributes:
        path: of the file.
        digests: of the whole file: {"sha256": ..., "md5": ...}, in hexadecimal.
        state: name -> array, as the library that wrote it names and lays them out.
        model: the published model of the same architecture.
    """

    path: Path
    digests: dict[str, str]
    state: dict[str, np.ndarray]
    model: PublishedModel

    @property
    def is_published(self) -> bool:
        """Whether it is the very file that was published, not other weights of that architecture."""
        return self.model.is_file(self.digests)

    @property
    def id(self) -> str:
        """Of the checkpoint: the same for the same file, whoever converts it; a published one's is known before."""
        if self.is_published:
            return self.model.id
        return hashlib.sha256(f"{self.digests['sha256']} {self.model.name}".encode()).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True)
class ConversionReport:
    """What was converted; `str` makes a few lines of it.

    Attributes:
        source: the file and the model.
        tensors: of our model, each with its counterpart.
        parameters: numbers in them, without the statistics of batch norms.
        left_out: names of tensors of the file that a detector has no use for.
    """

    source: SourceWeights
    tensors: int
    parameters: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        model = self.source.model
        left_out = f" ({len(self.left_out)} left out, such as {shown(self.left_out[0])})" if self.left_out else ""
        lines = [
            f"{model.name}: {self.tensors} tensors{left_out}, {self.parameters:,} parameters",
            f"SHA-256 {self.source.digests['sha256']}",
        ]
        if self.source.is_published:
            lines += [f"The published file: box AP {model.box_ap} on COCO val2017", f"Licence: {model.licence}"]
        else:
            digest = {"sha256": "SHA-256", "md5": "MD5"}[model.digest]
            lines.append(
                f"Not the published file, whose {digest} begins with {model.digest_start}: "
                "nothing is known of its scores and its licence"
            )
        return "\n".join(lines)


def read_source(path: str | os.PathLike, name: str | None = None) -> SourceWeights:
    """Reads a file of weights and finds out which model they are for; needs no TensorFlow.

    Args:
        path: a file of torch, of either form, or a pickle of Detectron2.
        name: of a published model (`luminoth.checkpoints.convert.published.PUBLISHED`); None: it is recognised.

    Raises:
        CheckpointError: the file cannot be read, asks for anything but tensors, or is no model that is known.
    """
    path = Path(path)
    model = published_model(name) if name is not None else None  # first: reading takes its time
    state = read_weights(path)
    digests = _digests(path)
    if model is None:
        try:
            model = recognise({name: array.shape for name, array in state.items()}, path.name, digests)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return SourceWeights(path, digests, state, model)


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a file of torch or a pickle of Detectron2; which one, its first bytes say.

    Raises:
        CheckpointError: see `read_torch_file` and `read_detectron2_file`.
    """
    return read_torch_file(path) if is_torch_file(path) else read_detectron2_file(path)


def convert_state(
    state: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]], family: str
) -> dict[str, np.ndarray]:
    """Our weights from a state dict of `family` (`torchvision` or `detectron2`); see `convert_weights`.

    Args:
        state: name -> array, in the library's layout.
        shapes: path of each of our weights -> its shape.
    """
    return convert_weights(state, shapes, _library(family))


def convert_source(
    source: SourceWeights,
    destination: str | os.PathLike | None = None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Path, ConversionReport]:
    """Writes the published form of a checkpoint from weights that were read.

    Args:
        source: see `read_source`.
        destination: the folder to create, which must not exist; None: `$LUMI_HOME/checkpoints/<id>`.
        facts: for `metadata.json`, in the place of what is known of the source.

    Returns:
        The folder, and what was converted.

    Raises:
        CheckpointError: a tensor is missing, left over or misshapen; nothing was written then.
        OutputError: the destination exists or cannot be written.
    """
    from luminoth.models.build import build_model

    metadata = _metadata(source) | dict(facts or {})
    if destination is None:  # before the long work
        Store().refuse_existing(metadata["id"])
    else:
        refuse_existing(Path(destination))
    config = read_configuration(source.model)
    model = build_model(config, len(source.model.classes))
    report = load_source(source, model)
    folder = publish_model(model, config, source.model.classes, metadata, destination and Path(destination))
    return folder, report


def read_configuration(model: PublishedModel) -> Any:
    """The `Config` of a published model."""
    from luminoth.config import load_config

    return load_config([CONFIGURATIONS / f"{model.architecture}.yml"])


def load_source(source: SourceWeights, model: Any) -> ConversionReport:
    """Gives the weights that were read to a `DetectionModel` of their architecture.

    Raises:
        CheckpointError: a tensor is missing, left over or misshapen; the model is as it was then.
    """
    from luminoth.models.base import named_weights

    variables = named_weights(model)
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    try:
        weights = convert_state(source.state, shapes, source.model.family)
    except LuminothError as error:
        raise CheckpointError(f"{source.path} ({source.model.name}): {error}") from error
    for path, variable in variables.items():
        variable.assign(weights[path])
    return ConversionReport(
        source=source,
        tensors=len(weights),
        parameters=sum(math.prod(shape) for path, shape in shapes.items() if not path.endswith(_STATISTICS)),
        left_out=tuple(left_out(source.state, _library(source.model.family))),
    )


def _library(family: str):
    return TORCHVISION if family == OF_TORCHVISION else DETECTRON2


def _metadata(source: SourceWeights) -> dict[str, Any]:
    model = source.model
    facts = {
        "id": source.id,
        "name": model.title,
        "model": model.name,
        "paper": list(model.papers),
        "origin": "converted",
        "environment": {},  # what trained it is not known; this machine only converted it
        "source_file": source.path.name,
        "source_sha256": source.digests["sha256"],
    }
    if source.is_published:
        known = {"alias": model.alias, "licence": model.licence, "scores": model.scores, "data": {"name": "COCO"}}
        return {**facts, **known, "source": model.url, "url": model.url}
    return {
        **facts,
        "alias": model.name,
        "source": f"weights for the architecture of {model.name}, converted from {source.path.name}",
        "licence": "that of the file it was converted from",
        "scores": {},
    }


def _digests(path: Path) -> dict[str, str]:
    """MD5 is no proof of anything here: it tells published files apart, as their names do."""
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_SIZE):
                for digest in found.values():
                    digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    return {name: digest.hexdigest() for name, digest in found.items()}
