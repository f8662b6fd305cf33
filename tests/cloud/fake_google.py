"""Vertex AI's custom jobs and Cloud Logging's entries, played by a server in this process.

Bodies are held against the discovery documents that Google's client ships, by code of its own and not by Luminoth's.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from googleapiclient.discovery_cache import get_static_doc

VERTEX = json.loads(get_static_doc("aiplatform", "v1"))
LOGGING = json.loads(get_static_doc("logging", "v2"))
PYTHON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
SEVERITIES = ["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"]
START = datetime(2026, 11, 22, 10, tzinfo=UTC)

# What may happen to a request instead of, or after, being done.
LOST, DONE_BUT_LOST, DONE_BUT_500 = "lost", "done but lost", "done but 500"


def error(code: int, status: str, message: str, *details: dict) -> tuple[int, dict]:
    """An answer that refuses, in Google's form."""
    return code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def error_info(reason: str, **metadata: str) -> dict:
    """The detail of an error that says why."""
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


@dataclass
class FakeGoogle:
    """The state of the services, and what they were asked.

    Attributes:
        url: of all services.
        jobs: full name -> description, in the order of creation.
        failures: (method and path as a pattern, what happens), each for one request, in order.
        requests: (method, path, body).
        entries: of the logs, ordered by time and insert id.
        largest_page: of jobs and entries; what is asked for may be more.
        on_get: called when a job is looked at, with its description.
    """

    url: str = ""
    jobs: dict[str, dict] = field(default_factory=dict)
    failures: list[tuple[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    entries: list[dict] = field(default_factory=list)
    largest_page: int = 1000
    on_get: Callable[[dict], None] = lambda job: None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(4728593847562937001))

    def asked(self, pattern: str) -> list[tuple[str, str, Any]]:
        """The requests whose method and path match."""
        return [each for each in self.requests if re.search(pattern, f"{each[0]} {each[1]}")]

    def add_job(self, display_name: str, state: str = "RUNNING", labels: dict | None = None, **more: Any) -> str:
        """Puts a job of project `proj-1` into us-central1; its full name."""
        body = {"displayName": display_name, "labels": labels or {}}
        return self._add("projects/proj-1/locations/us-central1", body, f"JOB_STATE_{state}", more)

    def _add(self, parent: str, body: dict, state: str, more: dict) -> str:
        number = next(self.numbers)
        created = f"{START + timedelta(minutes=len(self.jobs)):%Y-%m-%dT%H:%M:%S.123456789Z}"
        name = f"{parent}/customJobs/{number}"
        self.jobs[name] = {**body, "name": name, "state": state, "createTime": created, **more}
        return name

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, dict]:
        """Does what is asked for."""
        if (method, path) == ("POST", "/v2/entries:list"):
            return self._list_entries(body)
        found = re.fullmatch(r"/v1/(projects/[^/]+/locations/[^/]+)/customJobs(?:/(\d+))?(:cancel)?", path)
        if not found:
            return error(404, "NOT_FOUND", f"no route {path}")
        parent, number, cancel = found.groups()
        if number is None:
            return self._create(parent, body) if method == "POST" else self._list_jobs(parent, query)
        job = self.jobs.get(f"{parent}/customJobs/{number}")
        if job is None:
            return error(404, "NOT_FOUND", f"The CustomJob does not exist: {number}.")
        if cancel:
            job.update(state="JOB_STATE_CANCELLING")
            return 200, {}
        if method == "DELETE":
            del self.jobs[job["name"]]
            return 200, {"name": f"{parent}/operations/1", "done": True}
        self.on_get(job)
        return 200, job

    def _create(self, parent: str, body: Any) -> tuple[int, dict]:
        try:
            check(VERTEX, {"$ref": "GoogleCloudAiplatformV1CustomJob"}, body)
        except ValueError as problem:
            return error(400, "INVALID_ARGUMENT", str(problem))
        return 200, self.jobs[self._add(parent, body, "JOB_STATE_PENDING", {})]

    def _list_jobs(self, parent: str, query: dict[str, list[str]]) -> tuple[int, dict]:
        jobs = [job for job in self.jobs.values() if job["name"].startswith(f"{parent}/")]
        filter = query.get("filter", [""])[0]
        if found := re.fullmatch(r"labels\.(\w+)=([\w-]+)", filter):
            jobs = [job for job in jobs if job["labels"].get(found[1]) == found[2]]
        elif found := re.fullmatch(r"labels\.(\w+):\*", filter):
            jobs = [job for job in jobs if found[1] in job["labels"]]
        elif filter:
            return error(400, "INVALID_ARGUMENT", f"filter {filter}")
        return self._page("customJobs", jobs, int(query["pageSize"][0]), query.get("pageToken", ["0"])[0])

    def _list_entries(self, body: Any) -> tuple[int, dict]:
        try:
            check(LOGGING, {"$ref": "ListLogEntriesRequest"}, body)
        except ValueError as problem:
            return error(400, "INVALID_ARGUMENT", str(problem))
        chosen = [entry for entry in self.entries if matches(entry, body["filter"])]
        return self._page("entries", chosen, body["pageSize"], body.get("pageToken", "0"))

    def _page(self, name: str, items: list, size: int, token: str) -> tuple[int, dict]:
        start, end = int(token), int(token) + min(size, self.largest_page)
        page = {name: items[start:end]} if items else {}
        return 200, page | ({"nextPageToken": str(end)} if end < len(items) else {})


def matches(entry: dict, filter: str) -> bool:
    """Whether a log entry is chosen by a filter; those that Luminoth writes are understood."""
    rest = filter
    for part in ('resource.type="ml_job"', f'resource.labels.job_id="{entry["resource"]["labels"]["job_id"]}"'):
        if part not in rest:
            return False
        rest = rest.replace(part, "")
    order = (entry["timestamp"], entry["insertId"])
    for pattern, is_chosen in (
        (r'\(\(timestamp="(\S+)" AND insertId>"(\S+)"\) OR timestamp>"\1"\)', lambda last: order > tuple(last)),
        (r'timestamp>="(\S+)"()', lambda first: order[0] >= first[0]),
        (r'resource\.labels\.task_name="(\S+)"()', lambda task: entry["resource"]["labels"]["task_name"] == task[0]),
        (r"severity>=(\w+)()", lambda least: SEVERITIES.index(entry["severity"]) >= SEVERITIES.index(least[0])),
    ):
        if found := re.search(pattern, rest):
            rest = rest.replace(found[0], "")
            if not is_chosen(found.groups()):
                return False
    assert not rest.replace("AND", "").strip(), f"a filter that the fake does not know: {rest}"
    return True


def check(document: dict, schema: dict, value: Any, at: str = "$") -> None:
    """Refuses what the schema of a discovery document does not know, as Google does."""
    if "$ref" in schema:
        schema = document["schemas"][schema["$ref"]]
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            raise ValueError(f"{at}: expected array")
        for index, each in enumerate(value):
            check(document, schema["items"], each, f"{at}[{index}]")
    elif kind == "object":
        if not isinstance(value, dict):
            raise ValueError(f"{at}: expected object")
        for name, each in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if not below:
                raise ValueError(f'Invalid JSON payload received. Unknown name "{name}" at {at!r}: Cannot find field.')
            if below.get("readOnly"):
                raise ValueError(f"{at}.{name}: output only")
            check(document, below, each, f"{at}.{name}")
    elif schema.get("format") == "int64":
        if not re.fullmatch(r"-?\d+", str(value)):
            raise ValueError(f"{at}: bad int64 {value!r}")
    elif kind in PYTHON_TYPES:
        if not isinstance(value, PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            raise ValueError(f"{at}: bad {kind} {value!r}")
        if "enum" in schema and value not in schema["enum"]:
            raise ValueError(f"{at}: {value!r} not in enum")


class _Handler(BaseHTTPRequestHandler):
    google: FakeGoogle
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        google, url = self.google, urlsplit(self.path)
        google.requests.append((self.command, url.path, body))
        what = None
        if google.failures and re.search(google.failures[0][0], f"{self.command} {url.path}"):
            what = google.failures.pop(0)[1]
        if isinstance(what, tuple):
            return self._send(*what)
        if what != LOST:
            answer = google.answer(self.command, url.path, parse_qs(url.query), body)
        if what in (LOST, DONE_BUT_LOST):
            self.close_connection = True
            return self.connection.close()
        return self._send(*(error(500, "INTERNAL", "Internal error") if what == DONE_BUT_500 else answer))

    def _send(self, status: int, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815


@contextmanager
def fake_google() -> Iterator[FakeGoogle]:
    """Serves until the block ends."""
    google = FakeGoogle()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"google": google}))
    server.daemon_threads = True
    google.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
