"""What the played Cloud Storage answers: the part of the JSON and XML APIs that TensorFlow and Google's client use."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tests.cloud.fake_gcs_folders import Folders, Refused, Stored

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
UPLOADED = "https://www.googleapis.com/upload/storage/v1/b/{}/o?uploadType=resumable&name={}&upload_id={}"

# What may happen to a request instead of, or after, being done; besides an HTTP status.
LOST, DONE_BUT_LOST = "lost", "done but lost"


@dataclass(frozen=True)
class Slow:
    """The request is done, but only after a while."""

    seconds: float


Failure = int | str | Slow


@dataclass
class Request:
    """One request; the body may be shorter than announced where the connection broke."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes
    is_whole: bool


@dataclass
class Answer:
    """What is sent back."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def as_json(content: dict, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json; charset=UTF-8"})


@dataclass
class Upload:
    """A resumable upload: what has arrived, and what became of it."""

    bucket: str
    name: str
    query: dict[str, str]
    file: Path
    done: Stored | None = None


@dataclass
class FakeGcs:
    """The service, and what it was asked.

    Attributes:
        folders: of the buckets.
        environment: what leads a process here, TensorFlow and google-cloud-storage alike.
        failures: (pattern of `METHOD path?query`, what happens), each for one request, in order. What happens is an
            HTTP status, LOST, DONE_BUT_LOST or Slow. Patterns of uploads should name the object: TensorFlow tries a
            failed one twice more when the file is freed, which may be while the next one is written.
        requests: (method, path with query, both without escapes).
        on_request: called with them before anything is done, when the body has not been read yet; what it returns
            happens to the request, unless it is None.
        largest_page: of a listing; what is asked for may be more.
    """

    folders: Folders
    environment: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    on_request: Callable[[str, str], Failure | None] = lambda method, path: None
    largest_page: int = 1000
    _uploads: dict[str, Upload] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def root(self) -> Path:
        """The folder of the buckets' folders."""
        return self.folders.root

    def asked(self, pattern: str) -> list[tuple[str, str]]:
        """The requests whose `METHOD path?query` matches."""
        return [each for each in self.requests if re.search(pattern, " ".join(each))]

    def begin(self, method: str, path: str) -> Failure | None:
        """Notes a request; what is to happen to it."""
        with self._lock:
            self.requests.append((method, path))
            for index, (pattern, failure) in enumerate(self.failures):
                if re.search(pattern, f"{method} {path}"):
                    del self.failures[index]
                    return failure
        return self.on_request(method, path)

    def answer(self, request: Request) -> Answer:
        """Does what is asked for."""
        for method, pattern, action in ROUTES:
            found = re.fullmatch(pattern, request.path)
            if method == request.method and found:
                try:
                    return action(self, request, *map(unquote, found.groups()))
                except Refused as error:
                    return refusal(error.status, str(error))
                except FileNotFoundError:
                    return refusal(404, "It has just gone.")
        return refusal(404, f"fake: no route {request.method} {request.path}")

    def get_bucket(self, request: Request, bucket: str) -> Answer:
        self.folders.bucket(bucket)
        return as_json(bucket_resource(bucket))

    def get_layout(self, request: Request, bucket: str) -> Answer:
        """TensorFlow asks for it before it renames a folder."""
        self.folders.bucket(bucket)
        return as_json({"kind": "storage#storageLayout", "bucket": bucket, "hierarchicalNamespace": {"enabled": False}})

    def create_bucket(self, request: Request) -> Answer:
        name = json.loads(request.body)["name"]
        self.folders.create_bucket(name)
        return as_json(bucket_resource(name))

    def list_objects(self, request: Request, bucket: str) -> Answer:
        query = request.query
        prefix, delimiter, size = query.get("prefix", ""), query.get("delimiter"), int(query.get("maxResults", 1000))
        entries: dict[str, str] = {}  # name of an item or a prefix -> which of both
        for name in self.folders.names(bucket, prefix):
            inside, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            entries.setdefault(*((prefix + inside + cut, "prefixes") if cut else (name, "items")))
        rest = [each for each in entries.items() if each[0].encode() > query.get("pageToken", "").encode()]
        chosen, left = rest[: min(size, self.largest_page)], rest[min(size, self.largest_page) :]
        page: dict[str, Any] = {}
        for name, kind in chosen:
            if kind == "prefixes":
                page.setdefault(kind, []).append(name)
            elif stored := self.folders.find(bucket, name):
                is_name_enough = query.get("fields", "").startswith("items/name")
                page.setdefault(kind, []).append({"name": name} if is_name_enough else stored.resource())
        return as_json(page | ({"nextPageToken": chosen[-1][0]} if left else {}))

    def get_object(self, request: Request, bucket: str, name: str) -> Answer:
        if request.query.get("alt") == "media":
            return self.read(request, bucket, name)
        stored = self.folders.get(bucket, name, request.query.get("generation"))
        if request.query.get("fields") == "size,generation,updated":
            # What TensorFlow asks for; the rest would cost a reading.
            return as_json({"size": str(stored.size), "generation": str(stored.generation), "updated": stored.updated})
        return as_json(stored.resource())

    def read(self, request: Request, bucket: str, name: str) -> Answer:
        stored = self.folders.get(bucket, name, request.query.get("generation"))
        if name.endswith("/"):
            return Answer(200)
        with stored.path.open("rb") as file:  # what is opened stays, whatever is put
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
            if not asked:
                return Answer(200, file.read(), {"Content-Type": "application/octet-stream"})
            start, end = int(asked[1]), min(int(asked[2] or size), size - 1)
            if start >= size:
                return Answer(416, b"The requested range cannot be satisfied.", {"Content-Range": f"bytes */{size}"})
            file.seek(start)
            content = file.read(end + 1 - start)
        span = f"bytes {start}-{end}/{size}"
        return Answer(206, content, {"Content-Type": "application/octet-stream", "Content-Range": span})

    def delete(self, request: Request, bucket: str, name: str) -> Answer:
        self.folders.delete(bucket, name, request.query)
        return Answer(204)

    def copy(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        return as_json(self._put(to_bucket, to_name, self.folders.get(bucket, name).read(), request).resource())

    def rewrite(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        resource = json.loads(self.copy(request, bucket, name, to_bucket, to_name).content)
        size = resource["size"]
        done = {"kind": "storage#rewriteResponse", "done": True, "objectSize": size, "totalBytesRewritten": size}
        return as_json(done | {"resource": resource})

    def compose(self, request: Request, bucket: str, name: str) -> Answer:
        # TensorFlow's JSON has single quotes, and Cloud Storage takes it.
        sources = json.loads(request.body.replace(b"'", b'"'))["sourceObjects"]
        content = b"".join(self.folders.get(bucket, each["name"]).read() for each in sources)
        return as_json(self._put(bucket, name, content, request).resource())

    def upload(self, request: Request, bucket: str) -> Answer:
        self.folders.bucket(bucket)
        query = request.query
        kind = query["uploadType"]
        if kind == "media":
            return as_json(self._put(bucket, query["name"], request.body, request).resource())
        if kind == "multipart":
            content_type = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
            described, content = message_from_bytes(content_type + request.body, policy=HTTP).iter_parts()
            name = json.loads(described.get_payload(decode=True))["name"]
            return as_json(self._put(bucket, name, content.get_payload(decode=True), request).resource())
        name = query.get("name") or json.loads(request.body)["name"]
        with self._lock:
            key = f"upload-{len(self._uploads)}"
            self._uploads[key] = Upload(bucket, name, query, self.folders.new_file())
        place = UPLOADED.format(bucket, quote(name, safe=""), key)
        if request.headers["Host"] not in HOSTS:
            place = place.replace("https://www.googleapis.com", f"http://{request.headers['Host']}")
        return Answer(200, headers={"Location": place})

    def resume(self, request: Request, bucket: str) -> Answer:
        upload = self._uploads.get(request.query["upload_id"])
        if upload is None:
            raise Refused(404, "No such upload.")
        if upload.done:
            return as_json(upload.done.resource())
        span = request.headers.get("Content-Range") or f"bytes 0-/{len(request.body)}"
        start, total = re.fullmatch(r"bytes (\*|\d+)(?:-\d*)?/(\*|\d+)", span).groups()
        with upload.file.open("r+b") as file:
            if start != "*":
                file.seek(int(start))
                file.write(request.body)
            received = file.seek(0, os.SEEK_END)
        if request.is_whole and total != "*" and received == int(total):
            upload.done = self.folders.put(bucket, upload.name, upload.file, upload.query)
            return as_json(upload.done.resource())
        return Answer(308, headers={"Range": f"bytes=0-{received - 1}"} if received else {})

    def _put(self, bucket: str, name: str, content: bytes, request: Request) -> Stored:
        if not request.is_whole:
            raise Refused(400, "The body is shorter than it was said to be.")
        file = self.folders.new_file()
        file.write_bytes(content)
        return self.folders.put(bucket, name, file, request.query)


OBJECT = r"/storage/v1/b/([^/]+)/o/([^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/storage/v1/b/([^/]+)", FakeGcs.get_bucket),
    ("GET", r"/storage/v1/b/([^/]+)/storageLayout", FakeGcs.get_layout),
    ("POST", r"/storage/v1/b", FakeGcs.create_bucket),
    ("GET", r"/storage/v1/b/([^/]+)/o", FakeGcs.list_objects),
    ("GET", OBJECT, FakeGcs.get_object),
    ("DELETE", OBJECT, FakeGcs.delete),
    ("POST", rf"{OBJECT}/copyTo/b/([^/]+)/o/([^/]+)", FakeGcs.copy),
    ("POST", rf"{OBJECT}/rewriteTo/b/([^/]+)/o/([^/]+)", FakeGcs.rewrite),
    ("POST", rf"{OBJECT}/compose", FakeGcs.compose),
    ("POST", r"/upload/storage/v1/b/([^/]+)/o", FakeGcs.upload),
    ("PUT", r"/upload/storage/v1/b/([^/]+)/o", FakeGcs.resume),
    ("GET", rf"/download{OBJECT}", FakeGcs.read),
    ("GET", r"/(?!storage/v1/|download/|upload/)([^/]+)/([^/]+)", FakeGcs.read),
]


def bucket_resource(name: str) -> dict[str, Any]:
    return {"kind": "storage#bucket", "id": name, "name": name, "location": "US-CENTRAL1", "storageClass": "STANDARD"}


def refusal(status: int, message: str) -> Answer:
    """An answer that refuses, in Google's form."""
    return as_json({"error": {"code": status, "message": message, "errors": [{"message": message}]}}, status)
