"""Goldens: what another implementation computed from weights that any program can rebuild.

`<model>.json` names the model and lists its tensors, each with the rule it is filled by; `<model>.npz` beside it holds
that implementation's numbers for some pictures, stage by stage. Tests hold the converters to them (`tests/goldens/`
has the list of keys), and so does `lumi checkpoint convert --verify`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.convert.published import DETECTRON2, TORCHVISION, PublishedModel
from luminoth.checkpoints.convert.recognise import published_model
from luminoth.errors import CheckpointError


@dataclass(frozen=True)
class Golden:
    """One model's golden.

    Attributes:
        path: of the JSON file.
        model: the published model it is of.
        tensors: {"name", "shape", "role", "scale"} of each tensor, by the names of its library.
        values: of the `.npz`.
    """

    path: Path
    model: PublishedModel
    tensors: list[dict[str, Any]]
    values: Mapping[str, np.ndarray]

    @property
    def images(self) -> tuple[str, ...]:
        """Keys of the pictures."""
        return tuple(sorted(key for key in self.values if "/" not in key))

    def state(self) -> dict[str, np.ndarray]:
        """The weights, in their library's names and layouts."""
        return {t["name"]: filled(t["name"], tuple(t["shape"]), t["role"], t["scale"]) for t in self.tensors}

    def is_of(self, state: Mapping[str, np.ndarray]) -> bool:
        """Whether these are the golden's own weights; counters, of which nothing depends, may be absent."""
        own = {name: array for name, array in self.state().items() if array.dtype == np.float32}
        return own.keys() <= state.keys() and all(np.array_equal(array, state[name]) for name, array in own.items())


def read_golden(path: Path) -> Golden:
    """Reads a golden's two files.

    Raises:
        CheckpointError: one is missing or is none, or is of a model that is not known here.
    """
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
        name, tensors = manifest["model"], manifest["tensors"]
        with np.load(Path(path).with_suffix(".npz")) as values:
            golden = dict(values)
        if not all({"name", "shape", "role", "scale"} <= tensor.keys() for tensor in tensors):
            raise CheckpointError(f"{path}: is no golden: a tensor has no name, shape, role or scale")
        if not any(library in manifest for library in (TORCHVISION, DETECTRON2)):
            raise CheckpointError(f"{path}: is no golden: it does not say which library computed it")
        return Golden(Path(path), published_model(name), tensors, golden)
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: is no golden, a JSON file with its .npz beside it ({error})") from error


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 in [-1, 1), from SplitMix64 seeded with the CRC-32 of `name`."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode())) * np.uint64(0xD1342543DE82EF95)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    return (unit * 2.0 - 1.0).astype(np.float32).reshape(shape)


def filled(name: str, shape: tuple[int, ...], role: str, scale: float) -> np.ndarray:
    """One tensor of a model."""
    if role == "counter":
        return np.zeros(shape, np.int64)
    values = uniform(name, shape)
    if role in ("conv", "linear"):
        fan_in = int(np.prod(shape[1:], dtype=np.int64))
        return values * np.float32(np.sqrt(6.0 / fan_in) * scale)
    if role == "gain":
        return (1.0 + 0.2 * values) * np.float32(scale)
    if role == "variance":
        return 1.0 + 0.3 * values
    return values * np.float32(0.1 * scale)  # bias, shift, mean
