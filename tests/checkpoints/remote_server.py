"""A server in this process that plays the remote, well and badly."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from luminoth import web

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to the network</body></html>"


class RemoteServer(ThreadingHTTPServer):
    """Gives `files` (path -> bytes), as `behaviour` says: path -> what happens at each request, the last ever after.

    whole           the file, or the part that is asked for
    noranges        always the whole file, without a version
    unnamed         parts, but no version (neither ETag nor Last-Modified)
    dated           a Last-Modified and a weak ETag
    nolength        without Content-Length
    wrongpart       another part than was asked for
    cut:N           N bytes, then the connection ends
    stall:N         N bytes, then nothing for a while
    hangup          no answer
    404, 503, 429   that status
    moved:ADDRESS   a redirection
    page            a web page, said so
    hiddenpage      a web page, said to be bytes

    Attributes:
        requests: (path, headers) of each.
        stalled: let go with `set`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, list[str]] = defaultdict(lambda: ["whole"])
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stalled, self.lock = threading.Event(), threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that went away

    def ranges(self, path: str) -> list[str]:
        """What parts of a file were asked for, `` for the whole."""
        return [headers.get("Range", "") for asked, headers in self.requests if asked == path]


class _Handler(BaseHTTPRequestHandler):
    server: RemoteServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers)))
            behaviours = self.server.behaviour[self.path]
            behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        kind, _, setting = behaviour.partition(":")
        if kind.isdigit() or (self.path not in self.server.files and kind == "whole"):
            self.send_response(int(kind) if kind.isdigit() else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "moved":
            self.send_response(302)
            self.send_header("Location", setting)
            self.end_headers()
        elif kind in ("page", "hiddenpage"):
            self._send(200, PAGE, {"Content-Type": "text/html" if kind == "page" else "application/octet-stream"})
        elif kind != "hangup":
            self._send_file(kind, int(setting or 0))

    def _send_file(self, kind: str, count: int) -> None:
        content = self.server.files[self.path]
        version = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": version, "Content-Type": "application/octet-stream"}
        if kind in ("noranges", "unnamed"):
            del headers["ETag"]
        if kind == "dated":
            version = f"Mon, 01 Jan 2024 00:00:{len(content) % 60:02d} GMT"
            headers |= {"ETag": 'W/"weak"', "Last-Modified": version}
        status, start = 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and kind != "noranges" and self.headers.get("If-Range", version) == version:
            status, start = 206, int(asked[1]) + (kind == "wrongpart")
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if start >= len(content):
                status, content, headers["Content-Range"] = 416, b"", f"bytes */{len(content)}"
        part = content[start:]
        sent = part[:count] if kind in ("cut", "stall") else part
        self._send(status, sent, headers, length=None if kind == "nolength" else len(part))
        if kind == "stall":
            self.wfile.flush()
            self.server.stalled.wait(5)

    def _send(self, status: int, sent: bytes, headers: dict[str, str], length: int | None = -1) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(sent) if length == -1 else length))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def remote_server(monkeypatch) -> Iterator[RemoteServer]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("LUMI_")]:
        monkeypatch.delenv(name)
    web.opener.cache_clear()
    server = RemoteServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.stalled.set()
        server.shutdown()
        server.server_close()
        web.opener.cache_clear()
