"""Downloading the pictures that a data set names by address; each is kept in the data set and never fetched twice.

failures = fetch_pictures(images)                          several at once; image_id -> why there is none
make_example(image, ..., not_fetched=failures.get(image.image_id, ""))
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from luminoth import web
from luminoth.data.readers.base import AnnotatedImage
from luminoth.errors import DownloadError, OutputError
from luminoth.web import RequestError

_THREADS = 16  # they only wait for the network
_ENOUGH_TO_JUDGE = 4  # pictures that all could not connect: then it is the network


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


def _fetch(image: AnnotatedImage, timeout: float, tries: int, pause: float) -> RequestError | None:
    for attempt in range(tries):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _download(image.url, image.path, timeout)
        except RequestError as failed:
            failure = failed
            if not failure.passing:
                break
        else:
            return None
    return failure


def _download(url: str, path: Path, timeout: float) -> None:
    """One try; leaves the whole picture at `path`, or nothing."""
    with web.ask(url, timeout) as response:
        kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
        if kind.startswith("text/"):
            raise RequestError(f"{url} answered with {kind}, not with a picture")
        beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                for block in web.read_blocks(response, url):
                    file.write(block)
                if file.tell() == 0:
                    raise RequestError(f"nothing came from {url}", passing=True)
            beside.replace(path)
        except OSError as error:
            raise OutputError(
                f"{path}: a downloaded picture cannot be written ({error.strerror or error}); free space or allow "
                "writing there, or use only pictures that are on disk: -o download=false"
            ) from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
