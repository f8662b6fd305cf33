import http.server
import sys
import threading
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luminoth.inference import fetch
from luminoth.inference.fetch import bring_here
from luminoth.inference.sources import MediaList
from tests.inference.films import write_film


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes); `refusals` are statuses given before a path is served."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.refusals, self.asked = {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        refusals = self.server.refusals.get(self.path, [])
        status = refusals.pop(0) if refusals else 200 if self.path in self.server.files else 404
        content = self.server.files.get(self.path, b"") if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving():
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    with serving() as server:
        yield server


def one(argument):
    (file,) = MediaList([argument])
    return file


def test_fetched_and_given_back(server, tmp_path):
    server.files["/a/b.jpg?size=2"] = b"pixels"
    local = bring_here(one(f"{server.address}/a/b.jpg?size=2"), tmp_path, 7)
    assert (local.path, local.path.read_bytes(), local.problem) == (tmp_path / "7.jpg", b"pixels", None)
    local.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_passes_is_asked_for_again(server, tmp_path):
    server.files["/a.jpg"] = b"pixels"
    server.refusals["/a.jpg"] = [503, 429]
    assert bring_here(one(f"{server.address}/a.jpg"), tmp_path, 0).path.read_bytes() == b"pixels"
    assert len(server.asked) == 3
    server.refusals["/a.jpg"] = [503, 503, 503]
    problem = bring_here(one(f"{server.address}/a.jpg"), tmp_path, 1).problem
    assert str(problem).startswith(f"{server.address}/a.jpg: cannot be fetched (HTTP 503 ")
    assert "HTTP 404" in str(bring_here(one(f"{server.address}/missing.jpg"), tmp_path, 2).problem)
    assert server.asked.count("/missing.jpg") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0.jpg"]


def test_too_large(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 2**20)
    server.files["/a.jpg"] = bytes(2**20 + 1)
    problem = bring_here(one(f"{server.address}/a.jpg"), tmp_path, 0).problem
    assert str(problem).endswith(
        "a.jpg: is larger than 0.000976562 GB, the most that is fetched; download it and name the file"
    )
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_not_told(server, tmp_path):
    problem = bring_here(one(f"{server.address.replace('//', '//me:secret@')}/a.jpg"), tmp_path, 0).problem
    assert "secret" not in str(problem)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_OFFLINE", "1")
    for address in ("http://127.0.0.1:9/a.jpg", "gs://bucket/a.jpg"):
        assert "LUMI_OFFLINE is set" in str(bring_here(one(address), tmp_path, 0).problem)


def test_what_files_are_whose_names_do_not_tell(server, tmp_path):
    write_film(tmp_path / "a.mp4", count=3)
    (tmp_path / "a.mp4").rename(tmp_path / "clip")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "picture", "WEBP")
    (tmp_path / "notes").write_text("hello")
    kinds = [bring_here(one(tmp_path / name), tmp_path, 0).file.kind for name in ("clip", "picture", "notes")]
    assert kinds == ["video", "image", "image"]
    server.files["/watch?v=3"] = (tmp_path / "clip").read_bytes()
    assert bring_here(one(f"{server.address}/watch?v=3"), tmp_path, 0).file.kind == "video"
    assert bring_here(one(tmp_path / "clip"), tmp_path, 0).path == tmp_path / "clip"


@pytest.fixture
def bucket(monkeypatch):
    """A stand-in for google-cloud-storage, with the few calls that are used."""
    files = {"a/b.jpg": b"pixels"}

    class DefaultCredentialsError(Exception):
        pass

    class Blob:
        def __init__(self, content):
            self.content, self.size = content, len(content)

        def download_to_filename(self, name):
            Path(name).write_bytes(self.content)

    class Client:
        used = None

        def __init__(self, project, credentials):
            Client.used = (project, credentials)

        @classmethod
        def create_anonymous_client(cls):
            return cls(None, "anonymous")

        def bucket(self, name):
            if name != "mine":
                raise RuntimeError(f"403 no access to {name}\nand more")
            return types.SimpleNamespace(get_blob=lambda path: Blob(files[path]) if path in files else None)

    def default():
        raise DefaultCredentialsError

    modules = {
        "google": types.ModuleType("google"),
        "google.auth": types.SimpleNamespace(default=default),
        "google.auth.exceptions": types.SimpleNamespace(DefaultCredentialsError=DefaultCredentialsError),
        "google.cloud": types.SimpleNamespace(storage=types.SimpleNamespace(Client=Client)),
    }
    modules["google"].auth = modules["google.auth"]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Client


def test_of_a_bucket(bucket, tmp_path):
    assert bring_here(one("gs://mine/a/b.jpg"), tmp_path, 3).path.read_bytes() == b"pixels"
    assert bucket.used == (None, "anonymous")
    sys.modules["google.auth"].default = lambda: ("mine too", None)
    assert bring_here(one("gs://mine/a/b.jpg"), tmp_path, 4).problem is None
    assert bucket.used == ("none", "mine too")
    for address, message in (
        ("gs://mine/c.jpg", "gs://mine/c.jpg: there is no such file in the bucket"),
        ("gs://yours/c.jpg", "gs://yours/c.jpg: cannot be fetched (403 no access to yours)"),
        ("gs://mine/a/", "gs://mine/a/: names no file; accepted is gs://bucket/path/of/a/file"),
    ):
        assert str(bring_here(one(address), tmp_path, 5).problem) == message


def test_buckets_want_a_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    problem = bring_here(one("gs://mine/a.jpg"), tmp_path, 0).problem
    assert str(problem) == "gs://mine/a.jpg: `pip install google-cloud-storage` makes gs:// addresses readable"
