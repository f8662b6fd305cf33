"""Checkpoints as one file: `<id>.tar`, made to be passed on, and taken in again with distrust.

The archive is a plain tar of the checkpoint's five files. Reading takes nothing for granted: the headers are read here,
since a checkpoint needs one kind of member of the dozen that tar knows, and each of the others (links, devices, sparse
files, long names) is a way to write elsewhere or without end. Names come from a list, sizes are bounded, everything is
hashed before the store is touched, and checked once more as it is when it lies in the store's hidden folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from luminoth.checkpoints.entry import FILES, Entry, read_entry
from luminoth.checkpoints.folder import (
    CONFIG_FILE,
    METADATA_FILE,
    WEIGHTS_FILE,
    hash_files,
    read_checkpoint_classes,
    read_checkpoint_config,
    read_state,
    refuse_existing,
    sync,
)
from luminoth.checkpoints.metadata import is_sealed, parse_metadata, read_metadata, write_metadata
from luminoth.checkpoints.naming import is_id, new_id
from luminoth.checkpoints.store import Store
from luminoth.checkpoints.weights_file import refuse_tricks
from luminoth.errors import CheckpointError, LuminothError, OutputError

_BLOCK = 512
_READ_SIZE = 1 << 20
_REGULAR, _EXTENDED = b"0\0", b"xg"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
}
_MOST_MEMBERS = 32
_LARGEST = {WEIGHTS_FILE: 8 << 30, CONFIG_FILE: 256 << 10}
_LARGEST_OTHER = 4 << 20
_DEEPEST_YAML = 20
_LARGEST_EXTENDED = 64 << 10


# --- Out ----------------------------------------------------------------------------------------------------


def export_checkpoint(entry: Entry, destination: Path = Path()) -> Path:
    """Writes a checkpoint of the store as one file.

    Args:
        entry: which.
        destination: a folder, in which the file is named by the id, or a file that ends in `.tar`.

    Returns:
        The file.

    Raises:
        CheckpointError: a file of the checkpoint is missing or not what its metadata says.
        OutputError: the destination exists or cannot be written.
    """
    destination = Path(destination).expanduser()
    path = destination if destination.suffix == ".tar" and not destination.is_dir() else destination / f"{entry.id}.tar"
    refuse_existing(path)
    try:
        refuse_tricks(entry.folder / WEIGHTS_FILE)
    except CheckpointError as error:  # most likely a run's checkpoint that was put into the store by hand
        raise CheckpointError(
            f"{entry.folder}/{error}; nobody could import it. Publish it with `lumi checkpoint create {entry.folder}`"
        ) from error
    metadata = read_metadata(entry.folder)
    found = hash_files(entry.folder)
    if is_sealed(metadata) and (wrong := _differing(metadata["files"], found)):
        raise CheckpointError(
            f"{entry.folder}: damaged: {', '.join(wrong)} not as published (SHA-256); it is not exported. Delete it "
            "and get it anew"
        )
    metadata = {name: value for name, value in metadata.items() if name != "origin"} | {"id": entry.id, "files": found}
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as archive:
            text = _json_bytes(metadata)
            archive.addfile(_member(METADATA_FILE, len(text)), io.BytesIO(text))
            for name, facts in found.items():
                with open(entry.folder / name, "rb") as file:
                    archive.addfile(_member(name, facts["bytes"]), file)
        sync(beside)
        beside.rename(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


def _member(name: str, size: int) -> tarfile.TarInfo:
    """The same for the same content: no times, owners or rights of this machine."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


# --- In -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        entry: the checkpoint in the store.
        is_new: False: the very same one was there already, and nothing was changed.
    """

    entry: Entry
    is_new: bool


def import_checkpoint(
    path: Path, *, as_new: bool = False, facts: Mapping[str, Any] | None = None, store: Store | None = None
) -> Imported:
    """Takes a file that `export_checkpoint` wrote into the store. Nothing in it is run.

    Args:
        path: the tar file.
        as_new: give it a new id; for when another checkpoint has its id.
        facts: for its metadata, in the place of what the file says, its id among them.
        store: where to; None: the user's.

    Raises:
        CheckpointError: the file is no checkpoint, is damaged, holds anything it should not, or is of a newer version;
            or another checkpoint has its id.
        OutputError: the store cannot be written.
    """
    path, store = Path(path).expanduser(), store or Store()
    try:
        with open(path, "rb") as file:
            metadata, found = _inspect(file, path)
            metadata |= {"origin": "imported", **(facts or {})}
            checkpoint_id = new_id() if as_new else metadata["id"]
            if not is_id(checkpoint_id):
                raise CheckpointError(
                    f"{path}: {METADATA_FILE} has no usable id ({checkpoint_id!r}); import it with a new one: --new-id"
                )
            if there := _same_id(store, checkpoint_id, found, path):
                return Imported(there, is_new=False)
            try:
                with store.adding(checkpoint_id) as unfinished:
                    file.seek(0)
                    _extract(file, path, unfinished, found)
                    _check_content(unfinished, path)
                    write_metadata(unfinished, metadata | {"id": checkpoint_id})
            except OutputError:
                if there := _same_id(store, checkpoint_id, found, path):  # another process imported it meanwhile
                    return Imported(there, is_new=False)
                raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    return Imported(read_entry(store.folder / checkpoint_id), is_new=True)


def _inspect(file: BinaryIO, path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Reads the whole archive without writing anything: its metadata, and what its other files are."""
    found: dict[str, dict[str, Any]] = {}
    text = None
    for name, size in _members(file, path):
        if name == METADATA_FILE:
            text = b"".join(_blocks(file, size, path))
            continue
        digest = hashlib.sha256()
        for block in _blocks(file, size, path):
            digest.update(block)
        found[name] = {"sha256": digest.hexdigest(), "bytes": size}
    if text is None:
        raise CheckpointError(f"{path}: has no {METADATA_FILE}; is it a file that `lumi checkpoint export` wrote?")
    if missing := sorted(set(FILES) - {METADATA_FILE} - set(found)):
        raise CheckpointError(f"{path}: has no {', '.join(missing)}; is it a file that `lumi checkpoint export` wrote?")
    metadata = parse_metadata(_parse_json(text, path), path)
    if is_sealed(metadata):
        if wrong := _differing(metadata["files"], found):
            raise CheckpointError(f"{path}: damaged or changed: {', '.join(wrong)} not as its metadata says (SHA-256)")
    elif _is_of_format_1(text):
        raise CheckpointError(f"{path}: {METADATA_FILE} does not say the SHA-256 of its files; it was changed")
    return metadata, found


def _same_id(store: Store, checkpoint_id: str, found: Mapping[str, Any], path: Path) -> Entry | None:
    """The checkpoint that has this id already, if it is the same; None: nobody has it.

    Raises:
        CheckpointError: it is another one.
    """
    there = next((entry for entry in store.entries() if entry.id == checkpoint_id), None)
    if there is None:
        store.refuse_existing(checkpoint_id)
    elif hash_files(there.folder) != found:
        raise CheckpointError(
            f"{path}: another checkpoint has the id {checkpoint_id} ({there.name or there.alias or 'without a name'}); "
            "take this one in under a new id with --new-id, or delete that one first"
        )
    return there


def _extract(file: BinaryIO, path: Path, folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the files into a folder, held to what they were when they were inspected."""
    for name, size in _members(file, path):
        if name == METADATA_FILE:
            continue  # written anew
        digest = hashlib.sha256()
        with open(folder / name, "xb") as copy:
            for block in _blocks(file, size, path):
                digest.update(block)
                copy.write(block)
        if name not in found or digest.hexdigest() != found[name]["sha256"]:
            raise CheckpointError(f"{path}: changed while it was read")


def _check_content(folder: Path, path: Path) -> None:
    """Whether the files are what their names say; what is wrong shall show now and not when it is used."""
    try:
        read_state(folder)
        if not read_checkpoint_classes(folder):
            raise CheckpointError("classes.json: names no class")
        _refuse_yaml_tricks(folder / CONFIG_FILE)
        read_checkpoint_config(folder)
        refuse_tricks(folder / WEIGHTS_FILE)
    except LuminothError as error:
        reason = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), path.name)
        raise CheckpointError(f"{path}: {reason}") from error


def _refuse_yaml_tricks(path: Path) -> None:
    """Refuses what costs time or memory without end: parts that are repeated by naming them, and depth."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(path.read_text(encoding="utf-8"), yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST_YAML:
                raise CheckpointError(f"{path.name}: has aliases or deep nesting; refused")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path.name}: is no YAML ({str(error).splitlines()[0]})") from error


def _differing(stated: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of files that are not what was stated of them, that are missing, or of which nothing was stated."""
    return sorted(name for name in {*stated, *found} if stated.get(name) != found.get(name))


def _parse_json(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {METADATA_FILE} is no JSON ({error})") from error


def _is_of_format_1(text: bytes) -> bool:
    return json.loads(text).get("format", 0) >= 1


# --- The form of tar ----------------------------------------------------------------------------------------


def _members(file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """Yields (name, size) of each member, with the file at the member's first byte.

    Raises:
        CheckpointError: it is no tar, or has a member that a checkpoint does not have.
    """
    seen: set[str] = set()
    count = 0
    while (header := file.read(_BLOCK)).strip(b"\0"):
        count += 1
        if count > _MOST_MEMBERS:
            raise CheckpointError(f"{path}: has more than {_MOST_MEMBERS} members; a checkpoint has {len(FILES)}")
        name, size, kind = _parse_header(header, path)
        start = file.tell()
        if kind in _EXTENDED:  # further facts of the next member, such as times; none matters here
            if size > _LARGEST_EXTENDED:
                raise CheckpointError(f"{path}: has a header of {size} bytes; no checkpoint has")
        else:
            _check_member(name, size, kind, seen, path)
            seen.add(name)
            yield name, size
        file.seek(start + -(-size // _BLOCK) * _BLOCK)
    if not seen:
        raise CheckpointError(f"{path}: is no tar file, or an empty one")


def _parse_header(header: bytes, path: Path) -> tuple[str, int, bytes]:
    """Name, size and kind of a member."""
    try:
        if len(header) != _BLOCK:
            raise ValueError
        stated = int(header[148:156].strip(b" \0"), 8)
        if stated != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
            raise ValueError
        size = int(header[124:136].strip(b" \0") or b"0", 8)
        if size < 0:
            raise ValueError
    except ValueError:
        raise CheckpointError(
            f"{path}: is no tar file, or damaged or compressed; give the .tar that was exported"
        ) from None
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:262] == b"ustar" else b""
    return (prefix + b"/" + name if prefix else name).decode("latin-1"), size, header[156:157]


def _check_member(name: str, size: int, kind: bytes, seen: set[str], path: Path) -> None:
    shown = repr(name[:60])
    if kind not in _REGULAR:
        raise CheckpointError(
            f"{path}: {shown} is {_KINDS.get(kind, 'of a kind that has no place here')}, not a file; refused"
        )
    if name == "checkpoint" or name.startswith("model.ckpt"):
        raise CheckpointError(f"{path}: a checkpoint of Luminoth 0.2 (TensorFlow 1), which cannot be read any more")
    if name not in FILES:
        raise CheckpointError(f"{path}: {shown} is no file of a checkpoint (those are {', '.join(FILES)}); refused")
    if name in seen:
        raise CheckpointError(f"{path}: {shown} is in it twice; refused")
    largest = _LARGEST.get(name, _LARGEST_OTHER)
    if size > largest:
        raise CheckpointError(
            f"{path}: {name} would have {size:,} bytes, more than the {largest:,} that are accepted; refused"
        )


def _blocks(file: BinaryIO, size: int, path: Path) -> Iterator[bytes]:
    """The next `size` bytes, in pieces."""
    while size:
        block = file.read(min(size, _READ_SIZE))
        if not block:
            raise CheckpointError(f"{path}: is cut short; copy or export it again")
        size -= len(block)
        yield block
