"""Asking a server for something, by the rules that hold for all that Luminoth fetches: one request, not repeated.

Only http and https, through the proxies that the environment names, with certificates checked; redirections are
followed, but not in a circle and never from https to http; `LUMI_OFFLINE=1` forbids everything.
"""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

_BLOCK = 1 << 16
_MOST_REDIRECTIONS = 10
# The server is busy or broken for the moment; all other refusals would be the same the next time.
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})


class RequestError(Exception):
    """One request that failed, and why.

    Attributes:
        passing: it may be otherwise a moment later.
        unconnected: no server answered.
        status: of the answer; None: there was none.
        wait: seconds after which the server wants to be asked again; 0: it did not say.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = False,
        unconnected: bool = False,
        status: int | None = None,
        wait: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.passing, self.unconnected, self.status, self.wait = passing, unconnected, status, wait


def is_offline() -> bool:
    """Whether the environment variable `LUMI_OFFLINE` forbids using the network."""
    return os.environ.get("LUMI_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def ask(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The server's answer, its body not yet read; to be closed by the caller.

    Args:
        url: http or https.
        timeout: seconds without an answer, or later without a further byte, after which it has failed.
        headers: to be sent.

    Raises:
        RequestError: there is no answer, or it is none of success.
    """
    if is_offline():
        raise RequestError(f"LUMI_OFFLINE is set, so {url} was not asked for", unconnected=True)
    try:
        return opener().open(urllib.request.Request(url, headers=dict(headers or {})), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        raise RequestError(
            f"HTTP {error.code} {error.reason} from {url}",
            passing=error.code in _PASSING,
            status=error.code,
            wait=float(wait) if wait.isdigit() else 0.0,
        ) from error
    except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError
        raise RequestError(
            f"{_reason(error)}, asking for {url}",
            passing=not isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError),
            unconnected=isinstance(error, OSError),
        ) from error
    except ValueError as error:
        raise RequestError(f"{url} is no address ({error})") from error


def read_blocks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """The body, piece by piece; what the server said of its length must be true.

    Raises:
        RequestError: the connection ended, or there came less than was said.
    """
    got = 0
    while block := _read(response, url):
        got += len(block)
        yield block
    said = response.headers.get("Content-Length", "")
    if said.isdigit() and got != int(said):
        raise RequestError(f"only {got} of {said} bytes came from {url}", passing=True)


@cache
def opener() -> urllib.request.OpenerDirector:
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
        _Redirections(),
        urllib.request.HTTPErrorProcessor(),
    ):
        web.add_handler(handler)
    web.addheaders = [("User-Agent", "luminoth")]
    return web


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections; Python's own handler goes round in a circle four times, and from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        passed = [*getattr(req, "passed", ()), req.full_url]
        refusal = None
        if newurl in passed:
            refusal = f"{passed[0]} leads round in a circle: {' -> '.join([*passed[passed.index(newurl) :], newurl])}"
        elif len(passed) > _MOST_REDIRECTIONS:
            refusal = f"{passed[0]} was redirected more than {_MOST_REDIRECTIONS} times, at last to {newurl}"
        elif urlsplit(newurl).scheme not in ("http", "https"):
            refusal = f"{req.full_url} leads to {newurl}, which is not on the web"
        elif req.type == "https" and urlsplit(newurl).scheme != "https":
            refusal = f"{req.full_url} leads from https to {newurl}, where anyone on the way could change what comes"
        if refusal:
            fp.close()
            raise RequestError(refusal, status=code)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.passed = passed
        return request


def _read(response: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise RequestError(f"{_reason(error)}, while {url} was coming", passing=True) from error


def _reason(error: Exception) -> str:
    """What an error of the network says, without the layers around it."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({inner.verify_message}; SSL_CERT_FILE names further authorities)"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
