"""Checkpoints: saved by training, published, shared, downloaded, and called by name.

    from luminoth import checkpoints

    for entry in checkpoints.list():
        print(entry.id, entry.alias, entry.status, entry.average_precision)
    loaded = checkpoints.load("toytown")        # loaded.model, loaded.config, loaded.classes

A checkpoint is a folder (`folder.py`); those of a run are in `runs.py`, the store of published ones in `store.py`.
Importing this imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminoth.checkpoints.archive import Imported
    from luminoth.checkpoints.compare import Comparison
    from luminoth.checkpoints.entry import Entry
    from luminoth.checkpoints.loading import LoadedModel
    from luminoth.checkpoints.remote import Refreshed
    from luminoth.checkpoints.store import Resolved


def load(name_or_path: str | os.PathLike, *, precision: str | None = None, xla: bool | None = None) -> LoadedModel:
    """Builds the model of a checkpoint and loads its weights.

    Args:
        name_or_path: id or alias, or the folder of a checkpoint or of a run.
        precision, xla: see `luminoth.models.build.build_model`; None: as the checkpoint's configuration says.

    Raises:
        CheckpointError: there is none of that name, or it cannot be loaded.
    """
    from luminoth.checkpoints.loading import load_model

    return load_model(find(name_or_path), precision=precision, xla=xla)


def find(name_or_path: str | os.PathLike) -> Path:
    """The folder of a checkpoint that is on this machine.

    Args:
        name_or_path: id or alias, or the folder of a checkpoint or of a run.

    Raises:
        CheckpointError: there is none of that name; says what there is.
    """
    from luminoth.checkpoints.store import find_checkpoint

    return find_checkpoint(os.fspath(name_or_path))


def list() -> Sequence[Entry]:
    """All checkpoints that have a name: those on this machine, the newest first, then those that can be downloaded."""
    from luminoth.checkpoints.downloadable import remote_entries
    from luminoth.checkpoints.store import Store

    here = Store().entries()
    ids = {entry.id for entry in here}
    return [*here, *(entry for entry in remote_entries() if entry.id not in ids)]


def info(name: str) -> Entry:
    """What is known of a checkpoint, on this machine or to be downloaded.

    Args:
        name: id or alias; of several with one alias, see `luminoth.checkpoints.store.choose`.

    Raises:
        CheckpointError: there is none of that name; says what there is.
    """
    return resolve(name).entry


def resolve(name: str) -> Resolved:
    """As `info`, with the others of the same alias: a `luminoth.checkpoints.store.Resolved`."""
    from luminoth.checkpoints.store import Store, choose

    store = Store()
    return store.look_up(name) or choose(name, list()) or store.resolve(name)


def create(
    source: str | os.PathLike, *, which: str = "last", half: bool = False, fields: Mapping[str, str] | None = None
) -> Entry:
    """Publishes a checkpoint of a run, so that it can be called by name.

    Args:
        source: the folder of a run or of a checkpoint.
        which: of a run: `last`, `best`, or a step.
        half: store the weights as 16-bit floats.
        fields: name, alias, description, source, licence, dataset.name.

    Raises:
        CheckpointError: there is no such checkpoint, or a field is not accepted.
        OutputError: the store cannot be written.
    """
    from luminoth.checkpoints.folder import is_checkpoint
    from luminoth.checkpoints.publish import choose_checkpoint, create_checkpoint

    folder = Path(source).expanduser()
    return create_checkpoint(folder if is_checkpoint(folder) else choose_checkpoint(folder, which), fields, half=half)


def edit(name: str, fields: Mapping[str, str]) -> Entry:
    """Changes what a checkpoint in the store says of itself; see `luminoth.checkpoints.store.Store.edit`."""
    from luminoth.checkpoints.store import Store

    return Store().edit(name, fields)


def delete(name: str) -> Entry:
    """Removes a checkpoint from the store, without asking; see `luminoth.checkpoints.store.Store.delete`."""
    from luminoth.checkpoints.store import Store

    return Store().delete(name)


def export_tar(name: str, destination: str | os.PathLike = ".") -> Path:
    """Writes a checkpoint as `<id>.tar`; see `luminoth.checkpoints.archive.export_checkpoint`."""
    from luminoth.checkpoints.archive import export_checkpoint
    from luminoth.checkpoints.store import Store

    return export_checkpoint(Store().resolve(name).entry, Path(destination))


def import_tar(path: str | os.PathLike, *, as_new: bool = False) -> Imported:
    """Takes such a file into the store; see `luminoth.checkpoints.archive.import_checkpoint`."""
    from luminoth.checkpoints.archive import import_checkpoint

    return import_checkpoint(Path(path), as_new=as_new)


def diff(a: str | os.PathLike, b: str | os.PathLike) -> Comparison:
    """What differs between two checkpoints; see `luminoth.checkpoints.compare.Comparison`."""
    from luminoth.checkpoints.compare import compare_checkpoints

    return compare_checkpoints(find(a), find(b))


def download(name: str) -> Entry:
    """Fetches a checkpoint, verifies it, converts it where it is weights of others, and stores it; does not ask.

    One that is here already stays as it is. For progress see `luminoth.checkpoints.remote.download_checkpoint`.

    Args:
        name: an id, an alias or the name of a published model, see `list`.

    Raises:
        CheckpointError: nothing of that name can be downloaded, or the file is not what the index says.
        DownloadError: the file does not come, or another one; what has come stays for the next call.
        OutputError: it cannot be written.
    """
    from luminoth.checkpoints.downloadable import find_remote
    from luminoth.checkpoints.remote import download_checkpoint
    from luminoth.errors import CheckpointError

    remote = find_remote(name)
    if remote is None:
        raise CheckpointError(f"nothing called `{name}` can be downloaded; luminoth.checkpoints.list() has what can")
    return download_checkpoint(remote)


def refresh() -> Refreshed:
    """Fetches the index that `LUMI_REMOTE_URL` names; see `luminoth.checkpoints.remote.refresh_index`."""
    from luminoth.checkpoints.remote import refresh_index

    return refresh_index()
