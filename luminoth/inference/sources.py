"""Which pictures and videos a user means: files, folders, patterns, lists of paths, addresses, cameras, streams."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

Kind = Literal["image", "video", "live"]

# Beyond what data sets are made of, what phones and browsers save. HEIF wants a library; see `read_image`.
PICTURE_EXTENSIONS = IMAGE_EXTENSIONS | {".jpe", ".jfif", ".heic", ".heif", ".avif"}
VIDEO_EXTENSIONS = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".mts", ".m2ts")
) | {".ogv", ".vob"}
LIST_EXTENSION = ".txt"
STANDARD_INPUT = "-"

_FILE_SCHEMES = ("http", "https", "gs")
_STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "srt", "tcp", "udp")
_ENDLESS_ENDINGS = (".mjpg", ".mjpeg")  # what cameras with a web page send
_CAMERA = re.compile(r"camera:(.+)")


@dataclass(frozen=True)
class MediaFile:
    """One thing to look at.

    Attributes:
        source: where it is: the path as the user gave it or below the folder they gave, an address, `camera:0`.
        kind: by the ending of its name; one with an unknown ending counts as an image until it is opened.
        relative: its place within the folder the user gave; the bare name for what was given by name.
    """

    source: str
    kind: Kind
    relative: PurePosixPath | Path

    @property
    def is_address(self) -> bool:
        """Whether it must be fetched before it can be opened."""
        return self.kind != "live" and scheme_of(self.source) in _FILE_SCHEMES

    @property
    def needs_network(self) -> bool:
        """Whether it is on no device of this machine."""
        return scheme_of(self.source) is not None

    @property
    def has_known_ending(self) -> bool:
        """Whether the ending says what kind it is."""
        return self.kind == "live" or kind_of(self.relative.name) is not None

    @property
    def name(self) -> str:
        """What results and messages call it: `source`, without the password that an address may hold."""
        if "@" not in self.source or scheme_of(self.source) is None:
            return self.source
        parts = urlsplit(self.source)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class MediaList:
    """What a user's arguments mean, each picture and video once, folders in natural order (2 before 10).

    Folders are walked anew each time this is iterated over, one folder after the other, and never held: of a hundred
    thousand pictures only the names in one folder are.

    Args:
        arguments: files, taken whatever their ending; folders, of which the files with a known ending (in any case)
            are taken, but no hidden ones (macOS puts `._photo.jpg` beside `photo.jpg`); patterns such as `a/**/*.jpg`,
            whose matches count as the content of folders does; text files of such arguments, a line each; `-` for
            that on `standard_input`; addresses of files (http, https, gs) and of streams (rtsp and its like);
            `camera:0`.
        recursive: search folders deeper.
        leave_out: folders inside the given ones that are not searched: where results go.
        standard_input: is read to its end at once.

    Attributes:
        images, videos, live: how many there are of each, when this was made.
        problems: one line for each argument that leads to nothing.

    Raises:
        DataError: there is nothing to look at.
    """

    def __init__(
        self,
        arguments: Sequence[str | os.PathLike],
        *,
        recursive: bool = False,
        leave_out: Iterable[str | os.PathLike] = (),
        standard_input: IO[str] | None = None,
    ) -> None:
        self._recursive = recursive
        self._left_out = {os.path.realpath(folder) for folder in leave_out}
        self.problems: list[str] = []
        self._arguments: list[tuple[str, str]] = []  # each with the folder of the list that it stands in, or ""
        for argument in map(os.fspath, arguments):
            self._arguments += self._listed(argument, standard_input) or [(argument, "")]
        self._seen = _Seen()
        counts = dict.fromkeys(("image", "video", "live"), 0)
        for file in self._walk(self._seen, self.problems):
            counts[file.kind] += 1
        self.images, self.videos, self.live = counts["image"], counts["video"], counts["live"]
        if not len(self):
            more = f" (and {len(self.problems) - 1} more such arguments)" if len(self.problems) > 1 else ""
            raise DataError((self.problems or ["nothing to look at was given"])[0] + more)

    def __len__(self) -> int:
        return self.images + self.videos + self.live

    def __iter__(self) -> Iterator[MediaFile]:
        return self._walk(_Seen(), [])

    def holds(self, path: str | os.PathLike) -> bool:
        """Whether a file that is there is one of these."""
        return os.path.isfile(path) and self._seen.has(os.path.realpath(path))

    def _listed(self, argument: str, standard_input: IO[str] | None) -> list[tuple[str, str]]:
        """The lines of a list; empty when the argument is none."""
        if argument == STANDARD_INPUT:
            lines = _lines(standard_input.read() if standard_input else "")
            folder, name = os.curdir, "standard input"
        elif argument.lower().endswith(LIST_EXTENSION) and os.path.isfile(argument):
            try:
                lines = _lines(Path(argument).read_text(encoding="utf-8-sig", errors="surrogateescape"))
            except OSError as error:
                raise DataError(f"{argument}: cannot be read ({error.strerror or error})") from error
            folder, name = os.path.dirname(argument) or os.curdir, argument
        else:
            return []
        if not lines:
            raise DataError(f"{name}: is empty; accepted are paths, patterns and addresses, one a line")
        return [(line, folder) for line in lines]

    def _walk(self, seen: _Seen, problems: list[str]) -> Iterator[MediaFile]:
        for argument, list_folder in self._arguments:
            was_searched = os.path.realpath(argument) in seen.folders
            found = None
            for found, real in self._meant_by(argument, list_folder, seen):
                if real is None:
                    yield found
                elif not seen.has(real):
                    seen.given.add(real)
                    yield found
            if found is None and not was_searched:
                problems.append(self._nothing(argument))

    def _meant_by(self, argument: str, list_folder: str, seen: _Seen) -> Iterator[tuple[MediaFile, str | None]]:
        """Each with what tells it from others, unless it lies in a folder that is searched: those are once anyway."""
        if _is_live(argument):
            yield MediaFile(argument, "live", PurePosixPath(_live_name(argument))), argument
            return
        if scheme_of(argument) in _FILE_SCHEMES:
            name = _name_in_address(argument)
            yield MediaFile(argument, kind_of(name) or "image", PurePosixPath(name)), argument
            return
        path = argument
        if list_folder and not os.path.lexists(path):
            path = os.path.join(list_folder, path) if os.path.lexists(os.path.join(list_folder, path)) else path
        if os.path.isdir(path):
            yield from self._in_folder(path, seen)
        elif glob.has_magic(path) and not os.path.exists(path):
            yield from self._matching(path, seen)
        elif os.path.exists(path) or list_folder:  # one missing file of a long list is a bad file like others
            yield MediaFile(path, kind_of(path) or "image", Path(os.path.basename(path))), os.path.realpath(path)

    def _in_folder(self, folder: str, seen: _Seen) -> Iterator[tuple[MediaFile, str | None]]:
        if os.path.realpath(folder) in seen.folders:
            return
        for parent, folders, names in os.walk(folder, followlinks=True):
            here = os.path.realpath(parent)
            seen.folders.add(here)
            # A link may lead back to a folder that was searched already, as may another argument.
            folders[:] = [
                name
                for name in (sorted(folders, key=_natural) if self._recursive else ())
                if not name.startswith(".")
                and (real := os.path.realpath(os.path.join(parent, name))) not in seen.folders
                and real not in self._left_out
            ]
            inside, shown = Path(os.path.relpath(parent, folder)), os.fspath(Path(parent))  # without `./`
            for name in sorted(filter(_is_wanted, names), key=_natural):
                path = name if shown == os.curdir else os.path.join(shown, name)
                if os.path.isfile(path):
                    file = MediaFile(path, kind_of(name), inside / name)
                    if os.path.islink(path):
                        yield file, os.path.realpath(path)
                    elif os.path.join(here, name) not in seen.given:
                        yield file, None

    def _matching(self, pattern: str, seen: _Seen) -> Iterator[tuple[MediaFile, str | None]]:
        """Files with a known ending and, as a shell would give them, folders, which are then searched."""
        stem, ending = os.path.splitext(pattern)
        if "[" not in ending:
            ending = re.sub("[a-zA-Z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", ending)
        fixed = pattern[: re.search(r"[*?[]", pattern).start()].rpartition(os.sep)[0]
        for path in sorted(glob.iglob(stem + ending, recursive=True), key=_natural):
            if os.path.isfile(path) and _is_wanted(os.path.basename(path)):
                yield MediaFile(path, kind_of(path), Path(os.path.relpath(path, fixed or "."))), os.path.realpath(path)
            elif os.path.isdir(path) and "**" not in pattern:  # which gives folders beside all that is in them
                yield from self._in_folder(path, seen)

    def _nothing(self, argument: str) -> str:
        if os.path.isdir(argument):
            message = f"no images or videos found in {argument}, accepted endings: {accepted_endings()}"
            deeper = not self._recursive and _has_media_below(argument)
            return message + ("; there are some in its subfolders: add -r to search them" if deeper else "")
        if glob.has_magic(argument):
            return f"{argument}: no image or video has a name like this, accepted endings: {accepted_endings()}"
        return f"{argument}: there is no such file or folder"


class _Seen:
    """What a walk has met.

    Attributes:
        given: real paths of what was given by name or is reached through a link; addresses.
        folders: real paths of folders that are searched.
    """

    def __init__(self) -> None:
        self.given: set[str] = set()
        self.folders: set[str] = set()

    def has(self, real: str) -> bool:
        """Whether a file was given, or lies in a folder that is searched."""
        folder, name = os.path.split(real)
        return real in self.given or (folder in self.folders and _is_wanted(name))


def _has_media_below(folder: str) -> bool:
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(map(_is_wanted, names)):
            return True
    return False


def accepted_endings() -> str:
    """For messages: `.bmp .gif ... (images), .avi ... (videos)`."""
    return f"{' '.join(sorted(PICTURE_EXTENSIONS))} (images), {' '.join(sorted(VIDEO_EXTENSIONS))} (videos)"


def kind_of(name: str) -> Literal["image", "video"] | None:
    """What the ending of a name, in any case, says; None: it is unknown."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in PICTURE_EXTENSIONS:
        return "image"
    return "video" if suffix in VIDEO_EXTENSIONS else None


def scheme_of(source: str) -> str | None:
    """`https` of an address; None: it is none, but a path."""
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+)://", source)
    return found[1].lower() if found else None


def _is_wanted(name: str) -> bool:
    """Whether a file of this name is taken of a folder."""
    return not name.startswith(".") and kind_of(name) is not None


def _is_live(source: str) -> bool:
    scheme = scheme_of(source)
    return (
        _CAMERA.fullmatch(source) is not None
        or scheme in _STREAM_SCHEMES
        or (scheme in ("http", "https") and urlsplit(source).path.lower().endswith(_ENDLESS_ENDINGS))
    )


def _live_name(source: str) -> str:
    """`camera-0`, `192-168-1-7-stream1`: a name for a file that is to get an ending."""
    parts = urlsplit(source)
    camera = _CAMERA.fullmatch(source)
    said = f"camera-{camera[1].strip('/')}" if camera else f"{parts.hostname or parts.scheme}{parts.path}"
    return re.sub(r"[^\w-]+", "-", said).strip("-") or "stream"


def _name_in_address(address: str) -> str:
    """The last part of an address's path, without what is no part of a file's name."""
    parts = urlsplit(address)
    last = unquote(PurePosixPath(parts.path).name) or parts.hostname or "picture"
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "_", last)[-120:]


def _lines(text: str) -> list[str]:
    """Not empty lines, or what stands between zeros, as of `find -print0`."""
    lines = text.split("\0") if "\0" in text else text.split("\n")
    return [line.rstrip("\r") for line in lines if line.strip()]


def _natural(name: str) -> tuple[str, str]:
    """Sorts `frame2` before `frame10`: each number stands behind the number of its digits."""

    def with_length(number: re.Match) -> str:
        digits = number[0].lstrip("0")
        return f"{len(digits):03}{digits}"

    return re.sub("[0-9]+", with_length, name.casefold()), name
