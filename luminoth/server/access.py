"""What holds for every request: who may ask, the headers of answers, a line in the log, a count."""

from __future__ import annotations

import hmac
import logging
import time
import uuid

from flask import Flask, Request, Response, g, request

from luminoth.server.measures import Measures
from luminoth.server.problems import Problem
from luminoth.server.settings import Settings

access_log = logging.getLogger("luminoth.server.access")

_CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# What a browser may send and read across origins.
_CORS_METHODS, _CORS_HEADERS, _CORS_SECONDS = "GET, POST", "Authorization, Content-Type, X-API-Key", "600"


def register(app: Flask, settings: Settings, measures: Measures) -> None:
    """Adds all of it to an application."""

    @app.before_request
    def begin() -> Response | None:
        g.started = time.monotonic()
        g.request_id = uuid.uuid4().hex
        if _is_preflight(request) and _allowed_origin(request, settings):
            return Response(status=204)
        if settings.api_keys and _is_guarded(request.path) and not _has_key(request, settings.api_keys):
            raise Problem(
                401, "This server wants a key: Authorization: Bearer KEY, or X-API-Key: KEY.",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["X-Request-ID"] = g.request_id
        if request.path.startswith("/api/"):
            response.headers["Cache-Control"] = "no-store"
        _allow_origin(response, settings)
        client, method, path = request.remote_addr, request.method, request.path
        route = request.url_rule.rule if request.url_rule else "none"
        request_id, started, length = g.request_id, g.started, request.content_length

        def tell() -> None:  # when the last byte is on its way: a video's answer takes a while
            seconds = time.monotonic() - started
            measures.request(route, method, response.status_code, seconds)
            access_log.info(
                "%s %s %s %d %.3f s", client, method, path, response.status_code, seconds,
                extra={
                    "client": client, "method": method, "path": path, "status": response.status_code,
                    "seconds": round(seconds, 4), "bytes_in": length, "request_id": request_id,
                },
            )  # fmt: skip

        response.call_on_close(tell)
        return response


def _is_guarded(path: str) -> bool:
    return path.startswith("/api/") or path == "/metrics"


def _has_key(request: Request, keys: tuple[str, ...]) -> bool:
    """Compares with every key in a time that tells nothing of them."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = request.headers.get("X-API-Key") or (token.strip() if scheme.lower() == "bearer" else "")
    matches = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
    return any(matches)


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def _allowed_origin(request: Request, settings: Settings) -> str | None:
    origin = request.headers.get("Origin")
    if "*" in settings.cors_origins:
        return "*"
    return origin if origin in settings.cors_origins else None


def _allow_origin(response: Response, settings: Settings) -> None:
    if not settings.cors_origins:
        return
    response.vary.add("Origin")
    if origin := _allowed_origin(request, settings):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID"
        if _is_preflight(request):
            response.headers["Access-Control-Allow-Methods"] = _CORS_METHODS
            response.headers["Access-Control-Allow-Headers"] = _CORS_HEADERS
            response.headers["Access-Control-Max-Age"] = _CORS_SECONDS
