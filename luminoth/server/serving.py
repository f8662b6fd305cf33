"""Runs the application on waitress: what a client may cost, answers to what is no request, a stop that finishes."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress

from flask import Flask
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import RequestEntityTooLarge

from luminoth.errors import ConfigError
from luminoth.server.access import access_log
from luminoth.server.problems import CONTENT_TYPE, problem_body

_BACKLOG = 1024
_MOST_CONNECTIONS = 1000
_MOST_HEADER_BYTES = 32_768
_IDLE_SECONDS = 30
_MOST_SECONDS_TO_SEND = 120.0
# Of a body that is too large by what it says of itself: read and thrown away, for few clients read while they send.
_MOST_BYTES_THROWN_AWAY = 200_000_000
_MOST_READS_AT_END = 64
# While stopping: a connection that has been silent for so long has nothing on its way.
_SILENCE = 0.25


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections may come to; `port` 0 is one that is free.

    Raises:
        ConfigError: the address is not to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); name another port, "
            "or 0 for any that is free"
        ) from error
    listener.listen(_BACKLOG)
    return listener


class Server:
    """Serves an application until it is told to stop.

    Args:
        app: from `create_app`.
        listener: from `listen`.
        threads: how many requests are worked on at once; most of them wait.
        max_upload_bytes: largest body, also of those that do not say how large they are.
        trusted_proxy: address of a proxy whose X-Forwarded headers tell client, scheme and host; `*` is any; None:
            such headers are ignored.
    """

    def __init__(
        self,
        app: Flask,
        listener: socket.socket,
        *,
        threads: int,
        max_upload_bytes: int,
        trusted_proxy: str | None = None,
    ) -> None:
        proxy = {}
        if trusted_proxy is not None:
            headers = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
            proxy = {"trusted_proxy": trusted_proxy, "trusted_proxy_headers": headers, "trusted_proxy_count": 1}
        self._map: dict = {}
        self._server = create_server(
            app.wsgi_app,
            map=self._map,
            sockets=[listener],
            threads=threads,
            ident=None,
            max_request_body_size=max_upload_bytes + 1,  # waitress refuses what is as large
            max_request_header_size=_MOST_HEADER_BYTES,
            connection_limit=_MOST_CONNECTIONS,
            channel_timeout=_IDLE_SECONDS,
            clear_untrusted_proxy_headers=True,
            **proxy,
        )
        self._server.channel_class = _Channel
        self._server.is_stopping = False
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits a moment

    def run(self, grace: float) -> int:
        """Serves until `stop` is called, then finishes what was begun.

        Args:
            grace: seconds it may take.

        Returns:
            How many requests were cut off.
        """
        while not self._server.is_stopping:
            self._turn(1.0)
        self._stop_listening()
        deadline = time.monotonic() + grace
        while self._server.active_channels and time.monotonic() < deadline:
            self._close_silent()
            self._turn(0.05)
        cut_off = sum(_has_work(channel) for channel in self._server.active_channels.values())
        wasyncore.close_all(self._map)
        self._server.task_dispatcher.shutdown(timeout=1)
        return cut_off

    def stop(self) -> None:
        """Ends `run`; to be called from a signal or another thread."""
        self._server.is_stopping = True
        with suppress(OSError):  # it has ended already
            self._server.pull_trigger()

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        now = time.monotonic()
        for channel in list(self._server.active_channels.values()):
            if channel.request is not None and now - channel.began > _MOST_SECONDS_TO_SEND:
                channel.will_close = True

    def _stop_listening(self) -> None:
        """Whoever is connected by now is still answered."""
        known = -1
        while known != len(self._server.active_channels):
            known = len(self._server.active_channels)
            self._server.handle_accept()
        self._server.accepting = False
        self._server.del_channel(self._map)
        self._server.socket.close()

    def _close_silent(self) -> None:
        now = time.time()  # as waitress counts
        for channel in list(self._server.active_channels.values()):
            if not _has_work(channel) and now - channel.last_activity > _SILENCE:
                channel.will_close = True


def _has_work(channel: HTTPChannel) -> bool:
    return bool(channel.requests or channel.request is not None or channel.total_outbufs_len)


class _Parser(HTTPRequestParser):
    """Reads a body that is too large to its end before it says so, unless the client waits to be asked for it."""

    _left = 0

    def received(self, data: bytes) -> int:
        if self._left:
            taken = min(len(data), self._left)
            self._left -= taken
            self.completed = self._left == 0
            return taken
        taken = super().received(data)
        if isinstance(self.error, RequestEntityTooLarge) and not self.chunked:
            if self.expect_continue:
                self.expect_continue = False
            else:
                self._left = min(self.content_length, _MOST_BYTES_THROWN_AWAY)
                self.completed = False
        return taken


class _Task(WSGITask):
    """Tells clients of a server that stops not to send more on this connection."""

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping:
            self.set_close_on_finish()
        return super().build_response_header()


class _ErrorTask(ErrorTask):
    """Answers what never came to the application in the same form as the application."""

    def execute(self) -> None:
        code = self.request.error.code
        body = problem_body(code, _DETAILS.get(code, "The request cannot be understood."))
        self.status = f"{code} {self.request.error.reason}"
        self.response_headers += [("Content-Type", CONTENT_TYPE), ("X-Content-Type-Options", "nosniff")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        access_log.info(
            "%s - - %d", self.channel.addr[0], code, extra={"client": self.channel.addr[0], "status": code}
        )  # fmt: skip


class _Channel(HTTPChannel):
    """A connection.

    Attributes:
        began: when the request that is being received did, on the clock of `time.monotonic`.
    """

    task_class, error_task_class, parser_class = _Task, _ErrorTask, _Parser
    began = 0.0

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.began = time.monotonic()
        return super().received(data)

    def handle_close(self) -> None:
        """Reads what has come first: closed over it, the connection would be reset, and the answer might be lost."""
        with suppress(OSError):
            for _ in range(_MOST_READS_AT_END if self.connected else 0):
                if not self.socket.recv(65_536):
                    break
        super().handle_close()


_DETAILS = {
    413: "The request is larger than accepted.",
    431: "The request's headers are larger than accepted.",
    500: "The server failed on this request; its log says why.",
    501: "The request's transfer encoding is not known here; send it with a Content-Length, or chunked.",
}
