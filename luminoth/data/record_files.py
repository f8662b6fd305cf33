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

CLASSES_FILE = "classes.json"

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.tfrecords")


def find_records(dataset_dir: str | os.PathLike, split: str) -> list[str]:
    """The record files of a split, in order: `<split>.tfrecords`, or all `<split>-00000-of-0000N.tfrecords`.

    Raises:
        DataError: there are none, or shards are missing.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder; make it with `lumi dataset transform --output-dir {folder}`"
        )
    single = folder / f"{split}.tfrecords"
    shards = [str(path) for path in record_paths(folder, split) if path != single]
    if single.is_file() and shards:
        raise DataError(f"{folder}: both {single.name} and {Path(shards[0]).name} are there; keep one of the two forms")
    if single.is_file():
        return [str(single)]
    if not shards:
        there = list_splits(folder)
        found = f"there are records of: {', '.join(there)}" if there else "there is no .tfrecords file at all"
        raise DataError(f"{folder}: looked for {single.name} and {split}-00000-of-*.tfrecords; {found}")
    count = int(_SHARD.fullmatch(Path(shards[0]).name).group(3))
    expected = [str(folder / f"{split}-{index:05d}-of-{count:05d}.tfrecords") for index in range(count)]
    if shards != expected:
        wrong = sorted(Path(path).name for path in set(expected) ^ set(shards))
        raise DataError(
            f"{folder}: the {count} shards of {split} are not complete; missing or too many: {', '.join(wrong)}"
        )
    return shards


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
    """The splits of which a folder holds records, sorted."""
    splits = set()
    for path in Path(dataset_dir).glob("*.tfrecords"):
        shard = _SHARD.fullmatch(path.name)
        splits.add(shard.group(1) if shard else path.name.removesuffix(".tfrecords"))
    return sorted(splits)


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

    Raises:
        DataError: `classes.json` is missing or not a list of distinct names.
    """
    path = Path(dataset_dir) / CLASSES_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file; `lumi dataset transform` writes it beside the records: "
            'a JSON list of class names, such as ["car", "person"]'
        ) from error
    except (OSError, ValueError) as error:
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
