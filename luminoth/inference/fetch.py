"""Brings what lies elsewhere to this machine, and finds out what files are whose names do not tell."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import av
from PIL import Image, UnidentifiedImageError

from luminoth.errors import ImageError
from luminoth.inference.sources import MediaFile, scheme_of
from luminoth.web import RequestError, ask, is_offline, read_blocks

MOST_BYTES = 4 * 2**30
_ATTEMPTS = 3
_LONGEST_WAIT_SECONDS = 30.0
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class LocalFile:
    """A picture or video on this machine.

    Attributes:
        file: what the user meant, its kind being known now.
        path: where it lies; None: it could not be fetched.
        problem: why it could not be.
    """

    file: MediaFile
    path: Path | None
    problem: ImageError | None = None

    def discard(self) -> None:
        """Removes what was fetched; the user's own files stay."""
        if self.file.is_address and self.path is not None:
            self.path.unlink(missing_ok=True)


def bring_here(file: MediaFile, folder: Path, number: int) -> LocalFile:
    """A file that can be opened; from an address, it is fetched into `folder`.

    Args:
        file: an image or video.
        folder: for what is fetched.
        number: tells what is fetched from other files there.
    """
    path = Path(file.source)
    if file.is_address:
        path = folder / f"{number}{os.path.splitext(file.relative.name)[1]}"
        try:
            _fetch(file, path)
        except ImageError as error:
            path.unlink(missing_ok=True)
            return LocalFile(file, None, error)
    if not file.has_known_ending:
        file = replace(file, kind=_kind_of_content(path))
    return LocalFile(file, path)


def _kind_of_content(path: Path) -> Literal["image", "video"]:
    """A video if it can be opened as one and not as a picture."""
    try:
        Image.open(path).close()
    except UnidentifiedImageError:
        try:
            with av.open(os.fspath(path)) as container:
                return "video" if container.streams.video else "image"
        except (av.FFmpegError, OSError):
            return "image"
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return "image"
    return "image"


def _fetch(file: MediaFile, path: Path) -> None:
    if is_offline():
        raise ImageError(f"{file.name}: LUMI_OFFLINE is set, so it was not asked for")
    try:
        if scheme_of(file.source) == "gs":
            _fetch_from_bucket(file, path)
        else:
            _fetch_from_web(file, path)
    except OSError as error:
        raise ImageError(f"{file.name}: cannot be kept in {path.parent} ({error.strerror or error})") from error


def _fetch_from_web(file: MediaFile, path: Path) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with ask(file.source, _TIMEOUT_SECONDS) as answer, path.open("wb") as written:
                _check_size(file, int(answer.headers.get("Content-Length") or 0))
                size = 0
                for block in read_blocks(answer, file.name):
                    size += len(block)
                    _check_size(file, size)
                    written.write(block)
            return
        except RequestError as error:
            if not error.passing or attempt == _ATTEMPTS:
                reason = str(error).replace(file.source, file.name)
                raise ImageError(f"{file.name}: cannot be fetched ({reason})") from error
            time.sleep(min(error.wait or attempt, _LONGEST_WAIT_SECONDS))


def _fetch_from_bucket(file: MediaFile, path: Path) -> None:
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage
    except ImportError as error:
        raise ImageError(f"{file.name}: `pip install google-cloud-storage` makes gs:// addresses readable") from error
    bucket, _, name = file.source.partition("://")[2].partition("/")
    if not bucket or not name or name.endswith("/"):
        raise ImageError(f"{file.name}: names no file; accepted is gs://bucket/path/of/a/file")
    try:
        try:
            credentials, project = google.auth.default()
            client = storage.Client(project=project or "none", credentials=credentials)  # which reading does not need
        except DefaultCredentialsError:  # what everybody may read can be read without
            client = storage.Client.create_anonymous_client()
        blob = client.bucket(bucket).get_blob(name)
        if blob is None:
            raise ImageError(f"{file.name}: there is no such file in the bucket")
        _check_size(file, blob.size or 0)
        blob.download_to_filename(os.fspath(path))
    except ImageError:
        raise
    except Exception as error:  # of several libraries, without a common ancestor
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ImageError(f"{file.name}: cannot be fetched ({reason})") from error


def _check_size(file: MediaFile, size: int) -> None:
    if size > MOST_BYTES:
        raise ImageError(
            f"{file.name}: is larger than {MOST_BYTES / 2**30:g} GB, the most that is fetched; download it and name "
            "the file"
        )
