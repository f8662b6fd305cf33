"""What differs between two checkpoints: configuration, classes, weights and what their metadata says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.checkpoints.folder import WEIGHTS_FILE, read_checkpoint_classes, read_checkpoint_config
from luminoth.checkpoints.metadata import read_metadata
from luminoth.checkpoints.weights_file import stored_weights

_NOT_COMPARED = ("files", "format", "id", "origin")  # never the same, or compared by what they stand for


@dataclass(frozen=True)
class Difference:
    """One thing that has two values; None: there is none."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class LayerDifference:
    """How far the weights of a layer are apart.

    Attributes:
        layer: its path, such as `backbone/conv1`.
        largest: difference of two weights.
        scale: the largest absolute weight of A there, to judge that by.
        equal: how many of its numbers are the same.
        numbers: how many it has.
    """

    layer: str
    largest: float
    scale: float
    equal: int
    numbers: int


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, A and B.

    Attributes:
        configuration: keys with two values, by their dotted paths.
        classes_only_a, classes_only_b: names that only one has.
        is_reordered: whether the names are the same in another order, or their common ones are.
        tensors_only_a, tensors_only_b: weights that only one has.
        shapes: weights of two shapes.
        layers: of the weights that both have in one shape, all layers.
        types: the types numbers are stored in, such as `float32`, of A and of B.
        metadata: facts with two values.
    """

    configuration: list[Difference]
    classes_only_a: list[str]
    classes_only_b: list[str]
    is_reordered: bool
    tensors_only_a: list[str]
    tensors_only_b: list[str]
    shapes: list[Difference]
    layers: list[LayerDifference]
    types: tuple[list[str], list[str]]
    metadata: list[Difference]

    @property
    def numbers(self) -> int:
        """How many weights were compared one by one."""
        return sum(each.numbers for each in self.layers)

    @property
    def share_equal(self) -> float:
        """Of those, the share that is the same in both; 0 when there are none."""
        return sum(each.equal for each in self.layers) / max(self.numbers, 1)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"numbers": self.numbers, "share_equal": self.share_equal}


def compare_checkpoints(a: Path, b: Path) -> Comparison:
    """Compares two checkpoints; halves count as the float32 they stand for.

    Args:
        a, b: their folders.

    Raises:
        CheckpointError: a file of one is missing or damaged.
    """
    classes_a, classes_b = read_checkpoint_classes(a), read_checkpoint_classes(b)
    common_a = [name for name in classes_a if name in classes_b]
    common_b = [name for name in classes_b if name in classes_a]
    with stored_weights(a / WEIGHTS_FILE) as weights_a, stored_weights(b / WEIGHTS_FILE) as weights_b:
        common = [name for name in weights_a if name in weights_b]
        fitting = [name for name in common if weights_a[name].shape == weights_b[name].shape]
        return Comparison(
            configuration=_differences(_flat(_configuration(a)), _flat(_configuration(b))),
            classes_only_a=[name for name in classes_a if name not in classes_b],
            classes_only_b=[name for name in classes_b if name not in classes_a],
            is_reordered=common_a != common_b,
            tensors_only_a=[name for name in weights_a if name not in weights_b],
            tensors_only_b=[name for name in weights_b if name not in weights_a],
            shapes=[
                Difference(name, list(weights_a[name].shape), list(weights_b[name].shape))
                for name in common
                if name not in set(fitting)
            ],
            layers=_compare_layers(weights_a, weights_b, fitting),
            types=(_types(weights_a), _types(weights_b)),
            metadata=_differences(_flat(_facts(a)), _flat(_facts(b))),
        )


def _compare_layers(a: Mapping[str, Any], b: Mapping[str, Any], names: list[str]) -> list[LayerDifference]:
    by_layer: dict[str, list[str]] = {}
    for name in names:
        by_layer.setdefault(name.rpartition("/")[0] or name, []).append(name)
    layers = []
    for layer, members in by_layer.items():
        largest, scale, equal, numbers = 0.0, 0.0, 0, 0
        for name in members:
            first, second = a[name][()].astype(np.float64), b[name][()].astype(np.float64)
            largest = max(largest, float(np.abs(first - second).max(initial=0.0)))
            scale = max(scale, float(np.abs(first).max(initial=0.0)))
            equal += int((first == second).sum())
            numbers += first.size
        layers.append(LayerDifference(layer, largest, scale, equal, numbers))
    return layers


def _types(weights: Mapping[str, Any]) -> list[str]:
    return sorted({str(tensor.dtype) for tensor in weights.values()})


def _configuration(folder: Path) -> dict[str, Any]:
    return read_checkpoint_config(folder).model_dump(mode="json")


def _facts(folder: Path) -> dict[str, Any]:
    return {name: value for name, value in read_metadata(folder).items() if name not in _NOT_COMPARED}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    return [Difference(key, a.get(key), b.get(key)) for key in dict.fromkeys((*a, *b)) if a.get(key) != b.get(key)]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, under dotted paths."""

    def walk(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(values, ""))
