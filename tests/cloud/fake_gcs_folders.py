"""The objects of the played Cloud Storage: files of plain folders."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


class Refused(Exception):  # noqa: N818
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Stored:
    """An object that is there. Its generation is its time in microseconds, as Cloud Storage's are."""

    bucket: str
    name: str
    path: Path
    size: int
    generation: int

    @property
    def updated(self) -> str:
        return f"{datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.generation):%Y-%m-%dT%H:%M:%S.%fZ}"

    def read(self) -> bytes:
        return b"" if self.name.endswith("/") else self.path.read_bytes()

    def resource(self) -> dict[str, Any]:
        """As the JSON API describes it."""
        import google_crc32c

        content = self.read()
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "size": str(self.size),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
            "etag": f"{self.generation:x}",
            "timeCreated": self.updated,
            "updated": self.updated,
        }


class Folders:
    """Objects, kept as the files of one folder for each bucket. Safe to use from many threads."""

    def __init__(self, root: Path, beside: Path) -> None:
        """`beside`: a folder of the same file system for what is not an object yet."""
        self.root, self.beside = root, beside
        self._markers: dict[Path, int] = {}
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._latest = 0

    def bucket(self, name: str) -> Path:
        """The folder of a bucket that exists."""
        folder = self.root / name
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name) or not folder.is_dir():
            raise Refused(404, "The specified bucket does not exist.")
        return folder

    def create_bucket(self, name: str) -> None:
        if (self.root / name).exists():
            raise Refused(409, "Your previous request to create the named bucket succeeded and you already own it.")
        (self.root / name).mkdir()

    def find(self, bucket: str, name: str) -> Stored | None:
        """The object of that name; None: there is none."""
        path = self._path(bucket, name)
        with self._lock:
            if name.endswith("/"):
                is_marked = path in self._markers and path.is_dir()
                return Stored(bucket, name, path, 0, self._markers[path]) if is_marked else None
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if path.is_dir() else Stored(bucket, name, path, status.st_size, status.st_mtime_ns // 1000)

    def get(self, bucket: str, name: str, generation: str | None = None) -> Stored:
        """The object of that name, or of that generation of it, which is gone when another was put."""
        found = self.find(bucket, name)
        if found is None or int(generation or found.generation) != found.generation:
            raise Refused(404, f"No such object: {bucket}/{name}")
        return found

    def names(self, bucket: str, prefix: str) -> list[str]:
        """The names that begin so, in Cloud Storage's order."""
        root = self.bucket(bucket)
        inner = prefix.rpartition("/")[0]
        if inner or prefix.startswith("/"):
            self._path(bucket, inner)
        with self._lock:
            names = []
            for folder, _, files in os.walk(root / inner):
                inside = Path(folder).relative_to(root).as_posix() + "/"
                names += [(inside + file).removeprefix("./") for file in files]
                names += [inside] if Path(folder) in self._markers else []
            return sorted((name for name in names if name.startswith(prefix)), key=str.encode)

    def new_file(self) -> Path:
        """An empty file that is no object."""
        path = self.beside / str(next(self._numbers))
        path.touch()
        return path

    def put(self, bucket: str, name: str, file: Path, query: dict[str, str]) -> Stored:
        """Makes the file an object, at once and whole, in place of one of that name."""
        path = self._path(bucket, name)
        with self._lock:
            self._check_generation(bucket, name, query)
            self._latest = max(self._latest + 1, time.time_ns() // 1000)
            try:
                if name.endswith("/"):
                    path.mkdir(parents=True, exist_ok=True)
                    self._markers[path] = self._latest
                    file.unlink()
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.utime(file, ns=(self._latest * 1000, self._latest * 1000))
                    file.replace(path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise Refused(400, f"fake: {name} is both a file and a folder; plain folders cannot hold that")
            return self.get(bucket, name)

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self._lock:
            self._check_generation(bucket, name, query)
            found = self.get(bucket, name)
            if name.endswith("/"):
                del self._markers[found.path]
            else:
                found.path.unlink()
            # A folder without objects is nothing.
            for folder in (found.path, *found.path.parents):
                if folder == self.root / bucket or folder in self._markers:
                    break
                if folder.is_dir():
                    if any(folder.iterdir()):
                        break
                    folder.rmdir()

    def _path(self, bucket: str, name: str) -> Path:
        parts = name.removesuffix("/").split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise Refused(400, f"fake: {name!r} is no path; plain folders cannot hold such an object")
        return self.bucket(bucket).joinpath(*parts)

    def _check_generation(self, bucket: str, name: str, query: dict[str, str]) -> None:
        if "ifGenerationMatch" in query:
            found = self.find(bucket, name)
            if int(query["ifGenerationMatch"]) != (found.generation if found else 0):
                raise Refused(412, "At least one of the pre-conditions you specified did not hold.")
