"""From another library's state dict to our weights: names, layouts, and every tensor accounted for.

A library describes itself by a `Library`: for a layer of ours, which of its layers it is and how kernel and bias are
laid out there. All checks are made before the first array is copied, against the shapes of our model, so that a false
file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.checkpoints.convert.safe_pickle import shown
from luminoth.errors import CheckpointError

_NAMED_IN_MESSAGES = 4

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a tensor lies there and here.

    Attributes:
        there: our shape -> the shape in the file.
        here: an array of the file -> the array of ours; may be a view.
    """

    there: Callable[[Shape], Shape]
    here: Callable[[np.ndarray], np.ndarray]


# The pooled grid that the first fully connected layer sees, rows and columns, in every model that is published.
POOLED_GRID = (7, 7)
_CELLS = math.prod(POOLED_GRID)
_OUTPUTS_AT_A_TIME = 32


def _rows_columns_channels_first(array: np.ndarray) -> np.ndarray:
    """[out, channels * cells] -> [cells * channels, out], where the cells are those of the grid, row by row."""
    out, columns = array.shape
    there = array.reshape(out, columns // _CELLS, _CELLS)
    here = np.empty((_CELLS, columns // _CELLS, out), np.float32)
    # A few at a time, so that what is read in large steps stays in the processor's cache: 5 times as fast.
    for start in range(0, out, _OUTPUTS_AT_A_TIME):
        part = slice(start, start + _OUTPUTS_AT_A_TIME)
        here[..., part] = there[part].transpose(2, 1, 0)
    return here.reshape(columns, out)


def _columns_of_grid(shape: Shape) -> Shape:
    if shape[0] % _CELLS:
        raise CheckpointError(
            f"the model's first fully connected layer takes {shape[0]} numbers, which is no grid of "
            f"{POOLED_GRID[0]} x {POOLED_GRID[1]}, as all published models pool"
        )
    return shape[::-1]


SAME = Layout(lambda shape: shape, lambda array: array)
# [out, in / groups, rows, columns] there, [rows, columns, in / groups, out] here.
CONVOLUTION = Layout(lambda shape: (shape[3], shape[2], *shape[:2]), lambda array: array.transpose(2, 3, 1, 0))
# [out, in] there, [in, out] here.
LINEAR = Layout(lambda shape: shape[::-1], lambda array: array.T)
# As LINEAR, but what comes in is a flattened grid: channels, rows, columns there; rows, columns, channels here.
LINEAR_ON_GRID = Layout(_columns_of_grid, _rows_columns_channels_first)


@dataclass(frozen=True)
class Layer:
    """The counterpart of one of our layers.

    Attributes:
        name: of the convolution or linear layer there.
        norm: of the batch norm after it, if there is one.
        kernel, bias: their layouts.
    """

    name: str
    norm: str = ""
    kernel: Layout = CONVOLUTION
    bias: Layout = SAME


@dataclass(frozen=True)
class Library:
    """How another library names and lays out the weights of its detectors.

    Attributes:
        name: for messages.
        find_layer: (path of one of our layers, paths of all of them) -> its counterpart; None: it has none.
        current_name: a name in a file -> what the library calls it today.
        is_left_out: whether a name (a current one) is knowingly not read.
    """

    name: str
    find_layer: Callable[[str, Collection[str]], Layer | None]
    current_name: Callable[[str], str]
    is_left_out: Callable[[str], bool]


@dataclass(frozen=True)
class Source:
    """Where one of our weights is in a state dict."""

    name: str
    layout: Layout


def find_sources(paths: Collection[str], library: Library) -> dict[str, Source]:
    """Our path -> its source, for weights named as `luminoth.models.base.named_weights` does.

    Raises:
        CheckpointError: the library has no counterpart of some of them.
    """
    layers = {path.rpartition("/")[0] for path in paths}
    sources, unknown = {}, []
    for path in paths:
        layer, _, part = path.rpartition("/")
        counterpart = library.find_layer(layer, layers)
        source = _find_part(counterpart, part) if counterpart is not None else None
        if source is None:
            unknown.append(path)
        else:
            sources[path] = source
    if unknown:
        raise CheckpointError(f"{library.name} has no counterpart of {_counted(unknown)} of the model's weights")
    return sources


def _find_part(layer: Layer, part: str) -> Source | None:
    match part:
        case "kernel":
            return Source(f"{layer.name}.weight", layer.kernel)
        case "bias":
            return Source(f"{layer.name}.bias", layer.bias)
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    return Source(f"{layer.norm}.{parts[part]}", SAME) if layer.norm and part in parts else None


def convert_weights(
    state: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]], library: Library
) -> dict[str, np.ndarray]:
    """Our weights from a state dict of another library.

    Args:
        state: name -> array, in the library's layout.
        shapes: path of each of our weights -> its shape.
        library: where the state dict comes from.

    Returns:
        Path -> float32 array of the shape asked for, for each of `shapes`, in that order; may share memory with
        `state`.

    Raises:
        CheckpointError: a tensor is missing, left over, of another shape or type, or holds NaN or infinity; names
            the first of each and says how many.
    """
    found = _by_current_name(state, library)
    sources = find_sources(shapes, library)
    _check_fit(found, {path: tuple(shape) for path, shape in shapes.items()}, sources)
    with np.errstate(over="ignore"):  # of float64: becomes infinity, which is looked for below
        weights = {
            path: np.ascontiguousarray(source.layout.here(found[source.name]), np.float32)
            for path, source in sources.items()
        }
    broken = [sources[path].name for path, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise CheckpointError(f"NaN or infinity in {_counted(broken)} of its tensors")
    return weights


def left_out(state: Collection[str], library: Library) -> list[str]:
    """The names in a state dict that are knowingly not read."""
    return [name for name in state if library.is_left_out(library.current_name(name))]


def _by_current_name(state: Mapping[str, np.ndarray], library: Library) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, array in state.items():
        current = library.current_name(name)
        if library.is_left_out(current):
            continue
        if current in found:
            raise CheckpointError(f"{shown(current)} is there twice, under its present and an older name")
        found[current] = array
    return found


def _check_fit(found: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], sources: Mapping[str, Source]) -> None:
    expected = {source.name: source.layout.there(shapes[path]) for path, source in sources.items()}
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected]
    present = {name: shape for name, shape in expected.items() if name in found}
    misshapen = [
        f"{name} ({list(found[name].shape)}, {list(shape)} is expected)"
        for name, shape in present.items()
        if found[name].shape != shape
    ]
    no_weights = [f"{name} ({found[name].dtype})" for name in present if found[name].dtype.kind != "f"]
    problems = [
        f"{_counted(names)} {what}"
        for names, what in (
            (missing, "of its tensors are missing"),
            (left_over, "are left over"),
            (misshapen, "have another shape"),
            (no_weights, "hold no floating-point numbers"),
        )
        if names
    ]
    if problems:
        raise CheckpointError("does not fit the model: " + "; ".join(problems))


def _counted(names: Sequence[str]) -> str:
    """`3 (a, b, c)`, the first few by name."""
    rest = len(names) - _NAMED_IN_MESSAGES
    some = ", ".join(map(shown, names[:_NAMED_IN_MESSAGES]))
    return f"{len(names)} ({some}{f' and {rest} more' if rest > 0 else ''})"
