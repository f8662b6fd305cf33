"""Folders of records: the files of a split, how many records they hold, and `classes.json` beside them."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

from luminoth.errors import DataError
from luminoth.storage import download, is_address, join, list_names, local_root, read_bytes, stands_for

CLASSES_FILE = "classes.json"

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.tfrecords")


def find_records(dataset_dir: str | os.PathLike, split: str) -> list[str]:
    """The record files of a split, in order: `<split>.tfrecords`, or all `<split>-00000-of-0000N.tfrecords`.

    Args:
        dataset_dir: a folder, or its `gs://` address: the files are copied to this disk then, once a process.
        split: its name.

    Raises:
        DataError: there are none, or shards are missing; or they cannot be copied.
    """
    names = _names_in(dataset_dir)
    single = f"{split}.tfrecords"
    shards = [name for name in names if _split_of(name) == split and name != single]
    if single in names and shards:
        raise DataError(f"{dataset_dir}: both {single} and {shards[0]} are there; keep one of the two forms")
    if single in names:
        return _at_hand(dataset_dir, [single])
    if not shards:
        there = list_splits(dataset_dir)
        found = f"there are records of: {', '.join(there)}" if there else "there is no .tfrecords file at all"
        raise DataError(f"{dataset_dir}: looked for {single} and {split}-00000-of-*.tfrecords; {found}")
    count = int(_SHARD.fullmatch(shards[0]).group(3))
    expected = [f"{split}-{index:05d}-of-{count:05d}.tfrecords" for index in range(count)]
    if shards != expected:
        wrong = sorted(set(expected) ^ set(shards))
        raise DataError(
            f"{dataset_dir}: the {count} shards of {split} are not complete; missing or too many: {', '.join(wrong)}"
        )
    return _at_hand(dataset_dir, shards)


def _names_in(dataset_dir: str | os.PathLike) -> list[str]:
    """The names of the files in a folder of records, sorted; raises DataError where there is no such folder."""
    try:
        if is_address(dataset_dir):
            if names := list_names(dataset_dir):
                return names
            raise DataError(
                f"{dataset_dir}: there is nothing at this address; copy what `lumi dataset transform` wrote there, "
                "records and classes.json"
            )
        return sorted(os.listdir(dataset_dir))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{dataset_dir}: there is no such folder; make it with `lumi dataset transform --output-dir {dataset_dir}`"
        ) from error
    except OSError as error:
        raise DataError(f"{dataset_dir}: cannot be read ({error.strerror})") from error


def _split_of(name: str) -> str | None:
    """The split of which a file of that name holds records."""
    shard = _SHARD.fullmatch(name)
    return shard.group(1) if shard else name.removesuffix(".tfrecords") if name.endswith(".tfrecords") else None


def _at_hand(dataset_dir: str | os.PathLike, names: Sequence[str]) -> list[str]:
    """The paths of files of a folder; of a bucket's they are copies."""
    if not is_address(dataset_dir):
        return [str(Path(dataset_dir) / name) for name in names]
    address = dataset_dir.rstrip("/")
    folder = local_root() / "records" / hashlib.sha256(address.encode()).hexdigest()[:16]
    stands_for(folder, address)
    missing = {join(address, name): folder / name for name in names if not (folder / name).exists()}
    try:
        download(missing, address)
    except OSError as error:
        raise DataError(f"{error.filename or address}: cannot be copied ({error.strerror})") from error
    return [str(folder / name) for name in names]


def shard_names(split: str, count: int) -> list[str]:
    """The names of a split's record files, in order: `<split>.tfrecords` when there is one, else of shards."""
    if count == 1:
        return [f"{split}.tfrecords"]
    return [f"{split}-{index:05d}-of-{count:05d}.tfrecords" for index in range(count)]


def record_paths(dataset_dir: str | os.PathLike, split: str) -> list[Path]:
    """All record files that are there of a split, in whatever form, complete or not."""
    folder = Path(dataset_dir)
    shards = sorted(folder.glob(f"{glob.escape(split)}-?????-of-?????.tfrecords"))
    single = folder / f"{split}.tfrecords"
    return [single, *shards] if single.is_file() else shards


def list_splits(dataset_dir: str | os.PathLike) -> list[str]:
    """The splits of which a folder, or what is at a `gs://` address, holds records, sorted.

    Raises:
        DataError: there is no such folder.
    """
    return sorted({_split_of(name) for name in _names_in(dataset_dir)} - {None})


def count_records(files: Sequence[str | os.PathLike]) -> int:
    """Counts records by their length headers, reading no picture.

    Raises:
        DataError: a file is missing, is no TFRecord file, or is cut off.
    """
    return sum(_count_one(os.fspath(path)) for path in files)


def _count_one(path: str) -> int:
    """A record is: uint64 length, uint32 checksum of the length, the data, uint32 checksum of the data."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: there is no such record file")
    size, position, count = os.path.getsize(path), 0, 0
    with open(path, "rb", buffering=0) as file:
        while position < size:
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            position += 16 + length
            if position > size:
                raise DataError(f"{path}: {_damage(header, count)}; write it again with `lumi dataset transform`")
            file.seek(position)
            count += 1
    return count


def hash_records(files: Sequence[str | os.PathLike]) -> str:
    """What tells one set of records from another, in hexadecimal: the SHA-256 of their lengths and checksums.

    Reads 16 bytes a record, no picture. The same records in the same order have one hash, however many shards they
    are in.

    Args:
        files: whole record files, as `count_records` has found them to be.
    """
    digest = hashlib.sha256()
    for path in files:
        size = os.path.getsize(path)
        with open(path, "rb", buffering=0) as file:
            while file.tell() < size:
                header = file.read(12)
                file.seek(struct.unpack("<Q", header[:8])[0], os.SEEK_CUR)
                digest.update(header[:8] + file.read(4))
    return digest.hexdigest()


def _damage(header: bytes, count: int) -> str:
    if header[:2] == b"\x1f\x8b":
        return "a gzip-compressed file is not read (unpack it, or write it without compression)"
    return "not a TFRecord file, or cut off within its first record" if count == 0 else f"cut off after {count} records"


def read_classes(dataset_dir: str | os.PathLike) -> list[str]:
    """The class names of a folder of records, in the order of their ids.

    Args:
        dataset_dir: a folder, or its `gs://` address.

    Raises:
        DataError: `classes.json` is missing or not a list of distinct names.
    """
    path = join(dataset_dir, CLASSES_FILE) if is_address(dataset_dir) else Path(dataset_dir) / CLASSES_FILE
    try:
        names = json.loads(read_bytes(path) if is_address(path) else path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file; `lumi dataset transform` writes it beside the records: "
            'a JSON list of class names, such as ["car", "person"]'
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f'{path}: must be a JSON list of class names, such as ["car", "person"]')
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path}: each class must be named once; repeated: {', '.join(repeated)}")
    return names


def write_classes(dataset_dir: str | os.PathLike, class_names: Sequence[str]) -> Path:
    """Writes `classes.json` beside the records."""
    path = Path(dataset_dir) / CLASSES_FILE
    write_json(path, list(class_names))
    return path


def write_json(path: Path, value: object) -> None:
    """Writes JSON beside `path`, then renames, so that no half of a file is ever seen."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
