"""Errors as answers: problem details (RFC 9457), which say what a client can do and nothing of what is inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, g, has_app_context
from werkzeug.exceptions import HTTPException

_log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


class Problem(HTTPException):
    """An error that a request brought about, or that its sender must know of.

    Args:
        status: of HTTP.
        detail: one sentence for the sender.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = status
        self.extra_headers = dict(headers or {})


def problem_body(status: int, detail: str, request_id: str | None = None) -> bytes:
    """The answer's body."""
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if request_id:
        problem["instance"] = f"urn:request:{request_id}"
    return json.dumps(problem).encode() + b"\n"


def register(app: Flask) -> None:
    """Makes every error of an application a problem."""

    def answer(error: HTTPException) -> Response:
        status = error.code or 500
        headers: dict[str, str] = {}
        if isinstance(error, Problem):
            detail, headers = error.description or "", error.extra_headers
        elif error.response is not None:  # a redirection, for one
            return error.response
        else:
            detail = _DETAILS.get(status, HTTPStatus(status).phrase)
            headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        body = problem_body(status, detail, g.get("request_id"))
        return Response(body, status, {**headers, "Content-Type": CONTENT_TYPE})

    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(Exception, lambda error: answer(unforeseen(error)))


def unforeseen(error: Exception) -> Problem:
    """What is told of an error that nobody reckoned with; what it was is in the log."""
    request_id = g.get("request_id") if has_app_context() else None
    _log.error("request %s: %s", request_id, type(error).__name__, exc_info=error)
    return Problem(500, _DETAILS[500])


_DETAILS = {
    400: "The request cannot be understood.",
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not know the method; the header Allow names those it knows.",
    413: "The request is larger than accepted.",
    500: "The server failed on this request; its log says why.",
}
