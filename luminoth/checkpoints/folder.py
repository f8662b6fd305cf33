"""One checkpoint is one folder: the files in it, how they are written, and what they say without TensorFlow.

    model.weights.h5   weights, batch-norm statistics, optimizer state, step (see weights_file.py)
    state.json         step, seed, position in the data, evaluations so far, the weights file's checksum, versions
    config.yml         the resolved configuration
    classes.json       the class names, in the order of their ids
    metadata.json      published ones only (see metadata.py)

A folder is written under a hidden name beside its place, brought to the disk and renamed: what carries its
name is whole, whatever happened meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luminoth import __version__
from luminoth.errors import CheckpointError, OutputError

WEIGHTS_FILE = "model.weights.h5"
STATE_FILE = "state.json"
CONFIG_FILE = "config.yml"
CLASSES_FILE = "classes.json"
METADATA_FILE = "metadata.json"

UNFINISHED_PREFIX = ".ckpt-"

_STATE_FORMAT = 1
_READ_SIZE = 1 << 20


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return (folder / WEIGHTS_FILE).is_file() and (folder / STATE_FILE).is_file()


# --- Reading ------------------------------------------------------------------------------------------------


def read_state(folder: Path) -> dict[str, Any]:
    """A checkpoint's `state.json`.

    Raises:
        CheckpointError: it is damaged, or written by a version of Luminoth that is newer than this one.
    """
    state = read_json(Path(folder) / STATE_FILE)
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{folder}/{STATE_FILE}: does not say the step")
    if state.get("format", 0) > _STATE_FORMAT:
        raise CheckpointError(
            f"{folder}: written by Luminoth {state.get('versions', {}).get('luminoth', '(newer)')}, format "
            f"{state['format']}; this is {__version__}, which reads format {_STATE_FORMAT}: update Luminoth"
        )
    return state


def read_checkpoint_classes(folder: Path) -> list[str]:
    """The class names of a checkpoint, in the order of their ids."""
    classes = read_json(Path(folder) / CLASSES_FILE)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise CheckpointError(f"{folder}/{CLASSES_FILE}: expected a list of names")
    return classes


def read_checkpoint_config(folder: Path) -> Any:
    """The `Config` a checkpoint was trained with.

    Raises:
        CheckpointError: there is no such file.
        ConfigError: it is not a configuration that this version accepts.
    """
    from luminoth.config import load_config

    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; is this a checkpoint's folder?")
    return load_config([path])


def read_json(path: Path) -> Any:
    """Raises CheckpointError when there is no JSON at `path`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def find_damage(folder: Path) -> str | None:
    """What is wrong with a run's checkpoint, as far as its files tell without a model; None when nothing is.

    Power cuts and failing disks leave files that are short or hold something else, under a good name.
    """
    for name in (WEIGHTS_FILE, STATE_FILE, CLASSES_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            return f"{name} is missing"
    try:
        state = read_json(folder / STATE_FILE)
        read_checkpoint_classes(folder)
        found = hash_file(folder / WEIGHTS_FILE)
    except CheckpointError as error:
        return str(error)
    if not isinstance(state, dict) or "step" not in state:
        return f"{STATE_FILE} does not say the step"
    saved = state.get("weights")  # written by training alone
    if saved is None:  # of an earlier version: HDF5 sees at least that its end is missing
        return _why_unreadable(folder / WEIGHTS_FILE)
    if saved != found:
        return f"{WEIGHTS_FILE} is not what was saved ({found['bytes']} bytes, {saved['bytes']} were written)"
    return None


def _why_unreadable(path: Path) -> str | None:
    from luminoth.checkpoints.weights_file import stored_groups

    try:
        stored_groups(path)
    except CheckpointError as error:
        return str(error)
    return None


def hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """{file name: {"sha256": hexadecimal, "bytes": size}} of all files of a checkpoint but its metadata.

    Raises:
        CheckpointError: one cannot be read.
    """
    names = (WEIGHTS_FILE, STATE_FILE, CONFIG_FILE, CLASSES_FILE)
    return {name: hash_file(folder / name) for name in names if (folder / name).is_file()}


def hash_file(path: Path) -> dict[str, Any]:
    """The same of one file."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_SIZE):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    return {"sha256": digest.hexdigest(), "bytes": size}


# --- Writing ------------------------------------------------------------------------------------------------


def write_facts(folder: Path, config: Any, classes: Sequence[str], state: Mapping[str, Any]) -> None:
    """Writes `state.json`, `config.yml` and `classes.json`; `versions` are those installed unless `state` has them."""
    from luminoth.config import dump_config

    if "versions" not in state:
        versions = {"luminoth": __version__, "tensorflow": version("tensorflow"), "keras": version("keras")}
        state = {**state, "versions": versions}
    write_json(folder / STATE_FILE, {"format": _STATE_FORMAT, **state, "saved": now()})
    write_json(folder / CLASSES_FILE, list(classes))
    (folder / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")


def amend_state(folder: Path, **changes: Any) -> None:
    """Sets keys of a checkpoint's `state.json`; the file is whole at any moment.

    Raises:
        CheckpointError: it cannot be read.
        OutputError: it cannot be written; it is as it was then.
    """
    path = folder / STATE_FILE
    unfinished = folder / f".{STATE_FILE}.unfinished"
    try:
        write_json(unfinished, {**read_json(path), **changes})
        sync(unfinished)
        os.replace(unfinished, path)
        sync(folder)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def refuse_existing(destination: Path) -> None:
    """Raises OutputError when there is something at `destination`; asked before the long work."""
    if Path(destination).exists():
        raise OutputError(f"{destination}: exists already; remove it or choose another destination")


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `folder` to write into; renames it to `folder` at the end.

    Raises:
        OutputError: it cannot be written; what was at `folder` before is untouched then.
    """
    unfinished = folder.with_name(f"{UNFINISHED_PREFIX}{folder.name.removeprefix('ckpt-')}.{os.getpid()}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        bring_to_disk(unfinished)
        if folder.exists():
            folder.rename(unfinished.with_name(unfinished.name + ".replaced"))
        unfinished.rename(folder)
        sync(folder.parent)
        shutil.rmtree(unfinished.with_name(unfinished.name + ".replaced"), ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the checkpoint ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def bring_to_disk(folder: Path) -> None:
    """Returns when the files of a folder, and that they are in it, would survive a loss of power."""
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """The same for one file, or for the names in one folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
