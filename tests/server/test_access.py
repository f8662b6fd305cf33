"""Who may ask, what browsers are told, what is logged."""

import io
import json
import logging

import pytest

from luminoth.server.settings import Settings
from tests.server.fakes import application, client, encoded

__all__ = ["client"]

KEYS = Settings(api_keys=("first-key", "zweiter-schlüssel"))


def predict(client, **headers):
    return client.post("/api/pixel/predict/", data={"image": (io.BytesIO(encoded()), "a.png")}, headers=headers)


# --- Keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer first-key"}, 200),
        ({"Authorization": "bearer first-key"}, 200),
        ({"X-API-Key": "first-key"}, 200),
        ({}, 401),
        ({"Authorization": "Bearer first-ke"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Basic first-key"}, 401),
        ({"Authorization": "first-key"}, 401),
        ({"X-API-Key": "first-keyy"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": "\xff"}, 401),
    ],
)
def test_keys(headers, status):
    answer = predict(application(settings=KEYS).test_client(), **headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.content_type == "application/problem+json"


def test_what_needs_a_key():
    client = application(settings=KEYS).test_client()
    guarded = {path: client.get(path).status_code for path in ("/api/models", "/api/nix", "/metrics")}
    assert set(guarded.values()) == {401}
    open_to_all = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/docs.css")
    assert {client.get(path).status_code for path in open_to_all} == {200}
    assert "Bearer KEY" in client.get("/docs").text


# --- Browsers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/models", "/nix", "/static/docs.css", "/docs"])
def test_headers_of_every_answer(client, path):
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Request-ID"].isalnum()
    assert "Access-Control-Allow-Origin" not in headers


def test_static_files_are_asked_for_again_but_not_sent_again(client):
    first = client.get("/static/docs.css")
    again = client.get("/static/docs.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    assert client.get("/api/models").headers["Cache-Control"] == "no-store"


def test_other_origins_are_let_in_by_name_only():
    client = application(settings=Settings(cors_origins=("https://a.example",))).test_client()
    answer = predict(client, Origin="https://a.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert "Origin" in answer.headers["Vary"]
    other = predict(client, Origin="https://b.example")
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Origin" in other.headers["Vary"]


def test_browsers_ask_before_they_send():
    settings = Settings(cors_origins=("https://a.example",), api_keys=("key",))
    client = application(settings=settings).test_client()
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/pixel/predict/", headers=asked)
    assert answer.status_code == 204  # without a key: browsers do not send it yet
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    stranger = client.options("/api/pixel/predict/", headers={**asked, "Origin": "https://b.example"})
    assert stranger.status_code == 401
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_any_origin():
    client = application(settings=Settings(cors_origins=("*",))).test_client()
    assert predict(client, Origin="https://c.example").headers["Access-Control-Allow-Origin"] == "*"


# --- The log ------------------------------------------------------------------------------------------------------


def test_a_line_for_each_request(client, caplog):
    with caplog.at_level(logging.INFO, "luminoth.server.access"):
        answer = predict(client)
        answer.close()
    record = next(each for each in caplog.records if each.name == "luminoth.server.access")
    assert (record.method, record.path, record.status) == ("POST", "/api/pixel/predict/", 200)
    assert record.request_id == answer.headers["X-Request-ID"]
    assert record.bytes_in > 50
    assert record.seconds > 0


def formatted(formatter, message, **extra):
    return formatter.format(logging.makeLogRecord({"msg": message, "levelname": "INFO", "created": 0.5, **extra}))


def test_lines_of_json_and_text():
    from luminoth.cli.server_log import _JsonLines, _Lines

    line = json.loads(formatted(_JsonLines(), 'a "b"\n', msecs=500, status=200))
    assert line == {"time": "1970-01-01T00:00:00.500Z", "level": "info", "message": 'a "b"\n', "status": 200}
    assert formatted(_Lines("%(message)s"), "/a\n1.2.3.4 GET /forged 200\x1b[2J") == "/a?1.2.3.4 GET /forged 200?[2J"
