"""One HDF5 file with a model's weights and, if wanted, an optimizer's state; every tensor is accounted for.

    /                     attributes: step
    /weights/<path>       one data set a weight, under its stable path (`luminoth.models.base.named_weights`)
    /averages/<path>      moving averages of weights, under the same paths; only with `train.moving_average_decay`
    /optimizer            attribute: type; only in checkpoints that training can go on from
    /optimizer/trained    paths of the trained weights, in the order the slots below refer to
    /optimizer/<index>    one data set an optimizer variable
    /<group>/<name>       what else training needs to go on, such as the loss scale

Training goes on from the weights as they were; everyone else gets the averages where there are any. Published files
hold those as their weights, and nothing else.

Reading checks names and shapes of everything before the first variable is assigned: a file that lacks a
tensor, has one too many or one of another shape is refused with their names, and leaves the model as it was.
`tf.train.Checkpoint` is not used: it dropped the batch-norm statistics of layers held in lists and said nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.errors import CheckpointError, NonFiniteWeightsError

AVERAGES = "averages"  # the group of the moving averages
AVERAGES_MADE = "moving_average/updates"  # how many there were; of none, the group says nothing

_WEIGHTS, _OPTIMIZER = "weights", "optimizer"
_NAMED_IN_MESSAGES = 4
_DEEPEST = 20  # groups within groups; a group that contains itself would have no end


def write_weights_file(
    path: Path,
    weights: Mapping[str, Any],
    *,
    step: int,
    optimizer: Any = None,
    trained: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Writes `path`; it must not be a file that readers may already look at.

    Args:
        path: the file to create.
        weights: path -> variable (anything with `numpy()`).
        step: updates done so far.
        optimizer: a built Keras optimizer, or None to leave its state out.
        trained: paths of the weights the optimizer was built on, in that order.
        extra: `<group>/<name>` -> further variables that training needs to go on: moving averages of weights in the
            group `averages`, the loss scale, ...
        half: store float32 weights as float16 (those that would overflow stay as they are).

    Raises:
        NonFiniteWeightsError: a tensor holds NaN or infinity; such weights are of no use to anyone.
    """
    import h5py

    values = {name: variable.numpy() for name, variable in weights.items()}
    further = {name: variable.numpy() for name, variable in (extra or {}).items()}
    slots = [variable.numpy() for variable in optimizer.variables] if optimizer is not None else []
    broken = [name for name, value in (*values.items(), *further.items()) if not _is_finite(value)]
    broken += [variable.path for variable, value in _zip_slots(optimizer, slots) if not _is_finite(value)]
    if broken:
        raise NonFiniteWeightsError(f"{path.parent}: not saved, NaN or infinity in {name_some(broken)}", broken)

    with _created(path) as file:
        file.attrs["step"] = step
        _write_weights(file, values, half)
        if optimizer is not None:
            group = file.create_group(_OPTIMIZER)
            group.attrs["type"] = type(optimizer).__name__
            group.create_dataset("trained", data=list(trained), dtype=h5py.string_dtype())
            for index, value in enumerate(slots):
                group.create_dataset(f"{index:05d}", data=value)
        for name, value in further.items():
            file.create_dataset(name, data=value)


def copy_weights_file(source: Path, destination: Path, *, half: bool = False) -> int:
    """Copies the weights of a file, averaged where there are averages, without what only training needs.

    Args:
        source: the file to read.
        destination: the file to create.
        half: store float32 weights as float16 (those that would overflow stay as they are).

    Returns:
        The step the file was written at.

    Raises:
        CheckpointError: the source is missing or damaged, or a tensor holds NaN or infinity.
    """
    with _opened(source) as file:
        step = int(file.attrs["step"])
        values = {name: tensor[()] for name, tensor in _averaged(source, file).items()}
    broken = [name for name, value in values.items() if not _is_finite(value)]
    if broken:
        raise CheckpointError(f"{source}: not copied, NaN or infinity in {name_some(broken)}")
    with _created(destination) as file:
        file.attrs["step"] = step
        _write_weights(file, values, half)
    return step


def read_weights_file(
    path: Path,
    weights: Mapping[str, Any],
    *,
    optimizer: Any = None,
    trained: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Assigns every tensor of the file to the variables given, or none; float16 becomes float32 again.

    The weights are those that were trained, not their averages. A group of `extra` that the file does not have leaves
    its variables as they are, and one that is not asked for is left unread: what was switched on or off since begins
    anew or ends. A group that both have must fit in all names and shapes.

    Args:
        path, weights, optimizer, trained, extra: as they were written; optimizer None leaves stored state unread.

    Returns:
        The step the file was written at.

    Raises:
        CheckpointError: the file is missing, damaged or does not fit.
    """
    with _opened(path) as file:
        stored = _read_group(file.get(_WEIGHTS, {}))
        _check_fit(path, stored, weights)  # first: another model has other optimizer slots, too
        saved_optimizer = file.get(_OPTIMIZER)
        slots = _read_slots(path, saved_optimizer, optimizer, trained) if optimizer is not None else []
        further = _read_extra(path, file, extra or {})
        step = int(file.attrs["step"])
    for name, variable in weights.items():
        variable.assign(stored[name])
    for variable, value in _zip_slots(optimizer, slots):
        variable.assign(value)
    for name, value in further.items():
        extra[name].assign(value)
    return step


def read_averaged_weights(path: Path, weights: Mapping[str, Any]) -> int:
    """Assigns every tensor of the file to the variables given, or none; averages where the file has them.

    Args:
        path, weights: as they were written.

    Returns:
        The step the file was written at.

    Raises:
        CheckpointError: the file is missing, damaged or does not fit.
    """
    with _opened(path) as file:
        stored = _read(_averaged(path, file))
        step = int(file.attrs["step"])
    _check_fit(path, stored, weights)
    for name, variable in weights.items():
        variable.assign(stored[name])
    return step


@contextmanager
def stored_weights(path: Path) -> Iterator[Mapping[str, Any]]:
    """The weights of a file as open HDF5 data sets, by their paths; read one with `[()]` within the block.

    Averages take the place of the weights where the file has them.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _opened(path) as file:
        yield _averaged(path, file)


def stored_groups(path: Path) -> set[str]:
    """The groups of a file beside weights and optimizer: `averages`, `loss_scale`, ...

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _opened(path) as file:
        return set(file) - {_WEIGHTS, _OPTIMIZER}


def refuse_tricks(path: Path) -> None:
    """Checks a weights file that a stranger made: plain numbers that lie in the file itself, and nothing else.

    HDF5 knows data sets whose numbers are in other files, links to other files, and compression by which a small file
    fills the memory.

    Raises:
        CheckpointError: the file is damaged, or holds anything of that kind.
    """
    import h5py

    suspicious: list[str] = []
    with _opened(path) as file:
        int(file.attrs["step"])
        pending = [(file, "")]
        while pending:
            group, place = pending.pop()
            for name in group:
                is_own = isinstance(group.get(name, getlink=True), h5py.HardLink)
                item = group.get(name) if is_own else None
                if isinstance(item, h5py.Group) and place.count("/") < _DEEPEST:
                    pending.append((item, f"{place}{name}/"))
                elif not _is_plain(item):
                    suspicious.append(f"{place}{name}")
        suspicious += [name for name in file if name != _WEIGHTS]
    if suspicious:
        raise CheckpointError(
            f"{path.name}: holds what weights are not (links, compressed or outside data, or another type): "
            f"{name_some(suspicious)}"
        )


class _WholeFile(io.FileIO):
    """A file that HDF5 writes to, and which remembers that something could not be written.

    HDF5 writes some of what it was given while it closes, where h5py drops its errors: on a full disk a file with holes
    would be taken for a whole one.

    Attributes:
        error: the first one; everything is taken as written from there on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        position = 0
        try:
            while self.error is None and position < len(view):  # a disk that is nearly full takes a part
                position += super().write(view[position:])
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def _created(path: Path) -> Iterator[Any]:
    """A new HDF5 file to write into; raises OSError unless all of it arrives."""
    import h5py

    with _WholeFile(path) as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise raw.error or OSError(f"HDF5: {_first_line(error)}") from error
        if raw.error is not None:
            raise raw.error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open HDF5 file; what HDF5 says of a damaged one becomes a CheckpointError."""
    import h5py

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or not a Luminoth weights file ({_first_line(error)})") from error


def _is_plain(item: Any) -> bool:
    """Whether an HDF5 item is an array of numbers, stored in one piece as they are."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu" or item.shape is None:
        return False
    if item.chunks is not None or item.external or item.is_virtual:
        return False
    return item.id.get_storage_size() == item.nbytes


def _data_sets(group: Any) -> dict[str, Any]:
    """All data sets below an HDF5 group, by their paths; links to other places are not followed."""
    import h5py

    found: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    if group:
        group.visititems(collect)
    return found


def _averaged(path: Path, file: Any) -> dict[str, Any]:
    """The data sets of the weights by their paths, those of the averages where there are any."""
    weights, averages = _data_sets(file[_WEIGHTS]), _data_sets(file.get(AVERAGES, {}))
    if AVERAGES_MADE in file and file[AVERAGES_MADE][()] == 0:
        return weights
    strangers = [
        name for name, tensor in averages.items() if name not in weights or weights[name].shape != tensor.shape
    ]
    if strangers:
        raise CheckpointError(f"{path}: damaged; has averages of what are not its weights: {name_some(strangers)}")
    return weights | averages


def _read_group(group: Any) -> dict[str, np.ndarray]:
    """All data sets below an HDF5 group: path -> array, halves widened."""
    return _read(_data_sets(group))


def _read(data_sets: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: _widened(tensor[()]) for name, tensor in data_sets.items()}


def _read_extra(path: Path, file: Any, extra: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays for the variables of `extra` whose group the file has."""
    values: dict[str, np.ndarray] = {}
    for group in dict.fromkeys(name.partition("/")[0] for name in extra):
        if group not in file:
            continue
        variables = {name: variable for name, variable in extra.items() if name.startswith(f"{group}/")}
        stored = {f"{group}/{name}": value for name, value in _read_group(file[group]).items()}
        _check_fit(path, stored, variables)
        values |= stored
    return values


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _check_fit(path: Path, stored: Mapping[str, np.ndarray], weights: Mapping[str, Any]) -> None:
    missing = [name for name in weights if name not in stored]
    left_over = [name for name in stored if name not in weights]
    misshapen = [
        f"{name} ({list(stored[name].shape)} in the file, {list(variable.shape)} in the model)"
        for name, variable in weights.items()
        if name in stored and tuple(stored[name].shape) != tuple(variable.shape)
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of the model's tensors are missing: {name_some(missing)}")
    if left_over:
        problems.append(f"{len(left_over)} are left over: {name_some(left_over)}")
    if misshapen:
        problems.append(f"{len(misshapen)} have another shape: {name_some(misshapen)}")
    if problems:
        raise CheckpointError(f"{path} does not fit the model: " + "; ".join(problems))


def _read_slots(path: Path, group: Any, optimizer: Any, trained: Sequence[str]) -> list[np.ndarray]:
    """The optimizer's variables in order, once it is sure that they belong to it and to these weights."""
    if group is None:
        raise CheckpointError(f"{path} has no optimizer state: training cannot go on from it")
    if group.attrs["type"] != type(optimizer).__name__:
        raise CheckpointError(
            f"{path} was trained with the optimizer {group.attrs['type']}, now it is "
            f"{type(optimizer).__name__}: keep train.optimizer.type, or start another run"
        )
    before = [name.decode() for name in group["trained"][()]]
    if before != list(trained):
        no_longer = [name for name in before if name not in set(trained)]
        newly = [name for name in trained if name not in set(before)]
        raise CheckpointError(
            f"{path} was saved while other weights were trained (no longer: {name_some(no_longer)}; "
            f"newly: {name_some(newly)}): keep what is trainable, or start another run"
        )
    slots = [group[f"{index:05d}"][()] for index in range(len(group) - 1)]
    expected = [tuple(variable.shape) for variable in optimizer.variables]
    if [value.shape for value in slots] != expected:
        raise CheckpointError(
            f"{path}: the optimizer's state has {len(slots)} tensors that do not fit its {len(expected)} "
            "variables: keep train.optimizer as it was, or start another run"
        )
    return slots


def _zip_slots(optimizer: Any, slots: Sequence[np.ndarray]):
    return zip(optimizer.variables, slots, strict=True) if slots else ()


def _write_weights(file: Any, values: Mapping[str, np.ndarray], half: bool) -> None:
    group = file.create_group(_WEIGHTS)
    for name, value in values.items():
        group.create_dataset(name, data=_to_half(value) if half else value)


def _is_finite(value: np.ndarray) -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def _to_half(value: np.ndarray) -> np.ndarray:
    if value.dtype != np.float32 or np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        return value
    return value.astype(np.float16)


def name_some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    rest = len(names) - _NAMED_IN_MESSAGES
    return ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {rest} more" if rest > 0 else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
