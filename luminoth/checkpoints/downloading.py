"""One file from a server to a path: whole and of the right checksum, or not at all.

download_file(["https://host/weights.pth"], folder / "weights.pth", checksum=Checksum("sha256", "dd69338a"))

What has come stays in `weights.pth.part` until the file is whole; `weights.pth.part.json` says what it is a part of.
The next call asks for the rest, and for the whole when the server cannot give parts or the file has changed there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

from luminoth import web
from luminoth.errors import DownloadError, OutputError
from luminoth.web import RequestError

Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]

_DIGESTS = {"sha256": ("SHA-256", 64), "md5": ("MD5", 32)}
_LONGEST_PAUSE = 60.0
_LOCK_POLL = 0.2
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_WEB_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml)", re.IGNORECASE)


@dataclass(frozen=True)
class Checksum:
    """What the hash of a file must be, or begin with: those who publish files put a few digits into their names.

    Attributes:
        digest: `sha256` or `md5`.
        start: the hash or its beginning, in hexadecimal.
    """

    digest: str
    start: str

    def __str__(self) -> str:
        label, digits = _DIGESTS[self.digest]
        return f"{label} {self.start}{'...' if len(self.start) < digits else ''}"

    def found(self, path: Path) -> str:
        """The hash of a file, in hexadecimal."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(self.digest, usedforsecurity=False)).hexdigest()

    def fits(self, path: Path) -> bool:
        return self.found(path).startswith(self.start.lower())


def download_file(
    addresses: Sequence[str],
    path: Path,
    *,
    checksum: Checksum | None = None,
    most: int | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    timeout: float = 30.0,
    tries: int = 5,
    pause: float = 1.0,
) -> Path:
    """Fetches a file unless it is there; returns `path`.

    Proxies are taken from the environment. A second process that wants the same file waits for the first.

    Args:
        addresses: of the file, http or https; each is asked when those before it do not give the file.
        path: where the file shall be; its folder is made.
        checksum: compared before the file gets its name; a file that does not fit is deleted.
        most: bytes that it may have.
        progress: called with the bytes that are there and, unless the server does not say, how many there will be.
        say: called with a line on what does not go straight: waiting, trying again, the next mirror.
        timeout: seconds without an answer, or without a further byte, after which a try has failed.
        tries: how often an address is asked, in a row without anything new, while the trouble may pass.
        pause: seconds before the second try; doubled before each further one.

    Raises:
        DownloadError: no address gave the file; what has come stays for the next call.
        OutputError: it cannot be written.
    """
    path, say = Path(path), say or (lambda line: None)
    reasons: list[str] = []
    try:
        lock = path.with_name(f"{path.name}.lock")
        with held(lock, lambda: say(f"{path.name}: another process is downloading it; waiting for it")):
            if path.is_file() and (checksum is None or checksum.fits(path)):
                return path
            for address in addresses:
                part = _Part(path, address, checksum, most, progress or (lambda done, total: None))
                try:
                    _fetch(part, say, timeout, tries, pause)
                except RequestError as error:
                    reasons.append(str(error))
                    if len(reasons) < len(addresses):
                        say(f"{error}; trying {addresses[len(reasons)]}")
                else:
                    part.finish()
                    return path
            kept = part.size
    except OSError as error:
        raise OutputError(
            f"{path}: a download cannot be written ({error.strerror or error}); free space or allow writing there, "
            "or keep checkpoints elsewhere with LUMI_HOME"
        ) from error
    raise DownloadError(
        f"{path.name} could not be downloaded: {'; '.join(reasons)}"
        + (f"; {readable_size(kept)} of it are kept: run it again to go on from there" if kept else "")
    )


def mirrored(url: str) -> list[str]:
    """The addresses of a file on the mirrors of `LUMI_MIRROR_URL`, which take the place of scheme and host.

    With `https://mirror.example/weights` the file `https://host/models/a.pth` is asked for at
    `https://mirror.example/weights/models/a.pth`. Several are separated by commas, and asked in that order.
    """
    parts = urlsplit(url)
    rest = urlunsplit(("", "", parts.path, parts.query, ""))
    mirrors = [mirror.strip() for mirror in os.environ.get("LUMI_MIRROR_URL", "").split(",")]
    return [mirror.rstrip("/") + rest for mirror in mirrors if mirror]


@contextmanager
def held(path: Path, when_taken: Callable[[], None]) -> Iterator[None]:
    """Holds a file, which is made and deleted again, so that one process at a time is in the block.

    The system frees it however the program ends. Without `fcntl`, on Windows, nothing is held.

    Args:
        path: of the file that stands for the lock; its folder is made.
        when_taken: called once when another process has it, before waiting.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    is_told = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another process has deleted the folder in between, as it was empty
            continue
        try:
            with suppress(FileNotFoundError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who had it deletes it: a lock on a file that has no name any more keeps nobody out.
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    break
        except BlockingIOError:
            if not is_told:
                when_taken()
                is_told = True
            time.sleep(_LOCK_POLL)
        os.close(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def readable_size(count: int) -> str:
    """1,234,567 -> `1.2 MB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 100 * size else f"{count / size:.0f} {unit}"
    return f"{count} bytes"


class _Part:
    """What has come of a file from an address.

    Attributes:
        url: the address.
        checksum: of the whole file.
        file: the part's path, `<name>.part`.
    """

    def __init__(self, path: Path, url: str, checksum: Checksum | None, most: int | None, progress: Progress) -> None:
        self._whole, self.url, self.checksum, self._most, self._progress = (
            path,
            url,
            checksum,
            most or math.inf,
            progress,
        )
        self.file, self._facts = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        return _size(self.file)

    def headers(self) -> dict[str, str]:
        """That ask for what is missing, if it is still the same file."""
        facts = self._read_facts()
        if not self.size or facts is None:
            return {}
        if facts["url"] == self.url and facts["validator"]:
            return {"Range": f"bytes={self.size}-", "If-Range": facts["validator"]}
        # Of another mirror, or of a server that names no versions: only the checksum can tell whether parts belong.
        return {"Range": f"bytes={self.size}-"} if self.checksum is not None else {}

    def take(self, response: HTTPResponse) -> None:
        """Reads an answer to its end; what is no part of the file is refused before anything is written."""
        if response.headers.get_content_type() in _WEB_PAGE_TYPES:
            raise RequestError(_is_web_page(self.url))
        start, total = self._place(response)
        if total is not None and total > start:
            _refuse_full_disk(self.file.parent, total - start)
        blocks = web.read_blocks(response, self.url)
        first = next(blocks, b"")
        if start == 0:
            if not first:
                raise RequestError(f"nothing came from {self.url}", passing=True)
            if _WEB_PAGE.match(first):
                raise RequestError(_is_web_page(self.url))
            self._note(response)
        with open(self.file, "r+b" if start else "wb") as file:
            file.seek(start)
            done = self._copy(chain([first], blocks), file, start, total)
        if done > self._most:
            self.drop()
            raise RequestError(f"{self.url} is larger than the {readable_size(self._most)} that such a file may be")
        if total is not None and done != total:
            raise RequestError(f"only {done} of {total} bytes came from {self.url}", passing=True)

    def finish(self) -> None:
        self.file.replace(self._whole)
        _to_disk(self._whole.parent)
        self._facts.unlink(missing_ok=True)

    def verify(self) -> str | None:
        """Why the file is not the one that was asked for; None: it is, or nobody knows."""
        if self.checksum is None or self.checksum.fits(self.file):
            return None
        found = Checksum(self.checksum.digest, self.checksum.found(self.file))
        return f"what came from {self.url} is another file, {found}; published is {self.checksum}; it was deleted"

    def drop(self) -> None:
        self.file.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)

    def _place(self, response: HTTPResponse) -> tuple[int, int | None]:
        """Where the body begins in the file, and how long the file is, as far as the server says it."""
        said = response.headers.get("Content-Length", "")
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            return 0, int(said) if said.isdigit() else None
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != self.size:
            self.drop()  # then the whole is asked for
            raise RequestError(f"{self.url} answered with another part than was asked for", passing=True)
        return self.size, None if match[2] == "*" else int(match[2])

    def _copy(self, blocks: Iterable[bytes], file: BinaryIO, done: int, total: int | None) -> int:
        self._progress(done, total)
        for block in blocks:
            done += len(block)
            if done > self._most:
                break
            file.write(block)
            self._progress(done, total)
        file.flush()
        os.fsync(file.fileno())
        return done

    def _note(self, response: HTTPResponse) -> None:
        """Writes down which version of the file it is a part of."""
        validator = response.headers.get("ETag", "")
        if validator.startswith("W/"):  # the same for a reader, not for its bytes
            validator = ""
        validator = validator or response.headers.get("Last-Modified", "")
        self._facts.write_text(json.dumps({"url": self.url, "validator": validator}), encoding="utf-8")

    def _read_facts(self) -> dict[str, str] | None:
        try:
            facts = json.loads(self._facts.read_text(encoding="utf-8"))
            return {"url": str(facts["url"]), "validator": str(facts["validator"])}
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _fetch(part: _Part, say: Say, timeout: float, tries: int, pause: float) -> None:
    """Asks one address until the part is the whole file, or asking again is of no use."""
    failed, most = 0, part.size
    while True:
        try:
            _ask_for_rest(part, timeout)
            return
        except RequestError as error:
            if part.size > most:  # it goes on, if in pieces
                failed, most = 0, part.size
            failed += 1
            if not error.passing or failed >= tries:
                raise
            wait = min(max(pause * 2 ** (failed - 1), error.wait), _LONGEST_PAUSE)
            say(f"{error}; trying again in {wait:.0f} s")
            time.sleep(wait)


def _ask_for_rest(part: _Part, timeout: float) -> None:
    """One request; afterwards the part is the whole file, or else RequestError says why not."""
    headers = part.headers()
    is_continued = False
    try:
        with web.ask(part.url, timeout, {"Accept-Encoding": "identity", **headers}) as response:
            is_continued = response.status == HTTPStatus.PARTIAL_CONTENT
            part.take(response)
    except RequestError as error:
        if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not headers:
            raise
        # Nothing lies behind what has come: it is the whole, which only a checksum can tell, or too long.
        is_continued = True
        if part.checksum is None:
            part.drop()
            raise RequestError(f"{part.url} became shorter", passing=True) from error
    reason = part.verify()
    if reason is not None:
        part.drop()
        # Parts of two versions, or of two mirrors' files, make no whole: the whole is asked for.
        raise RequestError(reason, passing=is_continued)


def _is_web_page(url: str) -> str:
    return f"{url} answered with a web page instead of the file: a proxy or a login page may stand before it"


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: no room for a download: {readable_size(needed)} are to come, {readable_size(free)} are free; "
            "free space, or keep checkpoints elsewhere with LUMI_HOME"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _to_disk(folder: Path) -> None:
    with suppress(OSError):  # not everywhere can a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
