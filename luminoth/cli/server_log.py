"""What a server says while it runs: a line for each request, and errors, on standard error."""

from __future__ import annotations

import json
import logging
import os
import time

ACCESS_LOGGER = "luminoth.server.access"

# What every record has; all else was given by whoever logs.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def log_requests(log_format: str) -> None:
    """Sends the log of the server to standard error from now on.

    Args:
        log_format: "text" or "json".
    """
    # A descriptor of its own: while TensorFlow is loaded, what is written to number 2 is thrown away.
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8"))
    handler.setFormatter(_JsonLines() if log_format == "json" else _Lines("%(asctime)s %(message)s"))
    for name in ("luminoth.server", "waitress"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """Text; what a client sent cannot begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else "".join(each if each.isprintable() else "?" for each in text)


class _JsonLines(logging.Formatter):
    """`{"time": "2030-01-31T12:00:00.123Z", "level": "info", "message": ..., "status": 200, ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _OWN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
