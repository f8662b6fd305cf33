"""Downloading the pictures that a data set names by address; each is kept in the data set and never fetched twice.

failures = fetch_pictures(images)                          several at once; image_id -> why there is none
make_example(image, ..., not_fetched=failures.get(image.image_id, ""))
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from luminoth.data.readers.base import AnnotatedImage
from luminoth.errors import DownloadError, OutputError

_THREADS = 16  # they only wait for the network
_BLOCK = 1 << 16
# The server is busy or broken for the moment; all other refusals would be the same the next time.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})
_ENOUGH_TO_JUDGE = 4  # pictures that all could not connect: then it is the network


class _FailedError(Exception):
    """A picture that could not be had, and why; `passing` when it may be otherwise a moment later."""

    def __init__(self, reason: str, *, passing: bool = False, unconnected: bool = False) -> None:
        super().__init__(reason)
        self.passing, self.unconnected = passing, unconnected


def fetch_pictures(
    images: Sequence[AnnotatedImage], *, timeout: float = 30.0, tries: int = 3, pause: float = 0.5
) -> dict[str, str]:
    """Downloads those pictures that have an address and are not on disk; nothing is done about the others.

    A picture is written under another name and renamed when it is whole, so what an interrupted run leaves at
    `path` is good, and the next run goes on from there. Proxies are taken from the environment.

    Args:
        images: as the reader gave them; several are fetched at once.
        timeout: seconds without an answer, or without a further byte, after which a try has failed.
        tries: how often a picture is asked for while the connection fails or the server says that it is busy.
        pause: seconds before the second try; doubled before each further one.

    Returns:
        image_id -> reason, for each picture that could not be downloaded.

    Raises:
        DownloadError: not one of several pictures reached its server: the network is down, and going on would only
            report all that follow as missing.
        OutputError: a picture cannot be written.
    """
    absent = [image for image in images if image.url and not os.path.exists(image.path)]
    if not absent:
        return {}
    fetch = partial(_fetch, timeout=timeout, tries=tries, pause=pause)
    pool = ThreadPoolExecutor(min(_THREADS, len(absent)))
    try:
        outcomes = list(pool.map(fetch, absent))
    finally:
        pool.shutdown(cancel_futures=True)
    failures = {image.image_id: failure for image, failure in zip(absent, outcomes, strict=True) if failure is not None}
    if len(absent) >= _ENOUGH_TO_JUDGE and all(failure and failure.unconnected for failure in outcomes):
        raise DownloadError(
            f"{urlsplit(absent[0].url).netloc}: none of {len(absent)} pictures could be downloaded ({outcomes[0]}); "
            "run it again when the network is back (pictures that are there are not fetched again), "
            "or use only those that are on disk: -o download=false"
        )
    return {image_id: f"could not be downloaded: {failure}" for image_id, failure in failures.items()}


def _fetch(image: AnnotatedImage, timeout: float, tries: int, pause: float) -> _FailedError | None:
    for attempt in range(tries):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _download(image.url, image.path, timeout)
        except _FailedError as failed:
            failure = failed
            if not failure.passing:
                break
        else:
            return None
    return failure


def _download(url: str, path: Path, timeout: float) -> None:
    """One try; leaves the whole picture at `path`, or nothing."""
    with _open(url, timeout) as response:
        kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
        if kind.startswith("text/"):
            raise _FailedError(f"{url} answered with {kind}, not with a picture")
        beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                _copy_whole(response, file, url)
            beside.replace(path)
        except OSError as error:
            raise OutputError(
                f"{path}: a downloaded picture cannot be written ({error.strerror or error}); free space or allow "
                "writing there, or use only pictures that are on disk: -o download=false"
            ) from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    try:
        return _web().open(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason} from {url}"
        raise _FailedError(reason, passing=error.code in _PASSING) from error
    except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError
        reason = f"{_reason(error)}, asking for {url}"
        raise _FailedError(reason, passing=True, unconnected=isinstance(error, OSError)) from error
    except ValueError as error:
        raise _FailedError(f"{url} is no address ({error})") from error


@cache
def _web() -> urllib.request.OpenerDirector:
    """Opens http and https, also through a proxy and after a redirection, and nothing else: no file:, no ftp:.

    Made once, for reading the certificates takes longer than asking for a picture.
    """
    web = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        web.add_handler(handler)
    web.addheaders = [("User-Agent", "luminoth")]
    return web


def _copy_whole(response: http.client.HTTPResponse, file: BinaryIO, url: str) -> None:
    """Copies the body; what the server said of its length must be true."""
    got = 0
    while block := _read(response, url):
        file.write(block)
        got += len(block)
    said = response.headers.get("Content-Length", "")
    if said.isdigit() and got != int(said):
        raise _FailedError(f"only {got} of {said} bytes came from {url}", passing=True)
    if got == 0:
        raise _FailedError(f"nothing came from {url}", passing=True)


def _read(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _FailedError(f"{_reason(error)}, while {url} was coming", passing=True) from error


def _reason(error: Exception) -> str:
    """What an error of the network says, without the layers around it."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
