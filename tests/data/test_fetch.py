"""Downloading pictures from a server in this process that behaves and misbehaves as asked for."""

import os
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from luminoth import web
from luminoth.data.readers import fetch
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.readers.checks import make_example
from luminoth.data.readers.fetch import fetch_pictures
from luminoth.data.report import Kind
from luminoth.errors import DownloadError, OutputError
from tests.data.source_sets import picture_bytes

WHOLE = picture_bytes()


class _Handler(BaseHTTPRequestHandler):
    """What happens is in the name: `404-a.jpg`, `503-then-200.jpg`, `cut-a.jpg`, ..."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        with self.server.lock:
            self.server.asked[name] += 1
            times = self.server.asked[name]
        if name.startswith("together"):
            self.server.gate.wait(5)
        if name.startswith("moved"):
            self.send_response(302)
            self.send_header("Location", "/there.jpg" if name == "moved.jpg" else "file:///etc/hostname")
            self.end_headers()
        elif name.startswith(("404", "403", "500")) or (name.startswith(("503", "429")) and times == 1):
            self.send_error(int(name[:3]))
        elif name.startswith("hangup") and times == 1:
            self.close_connection = True
        else:
            self._send(name, times)

    def _send(self, name, times):
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if name.startswith("page") else "image/jpeg")
        if not name.startswith("nolength"):
            self.send_header("Content-Length", str(len(WHOLE)))
        self.end_headers()
        if name.startswith("slow"):
            self.wfile.write(WHOLE[:100])
            self.wfile.flush()
            self.server.slow_until.wait(5)
        elif name.startswith("cut") or (name.startswith("once-cut") and times == 1):
            self.wfile.write(WHOLE[:100])
        else:
            self.wfile.write(WHOLE)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """Its address, and how often each name was `asked` for."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    web.opener.cache_clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked, server.lock = Counter(), threading.Lock()
    server.gate, server.slow_until = threading.Barrier(8), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.slow_until.set()
    server.shutdown()
    server.server_close()
    web.opener.cache_clear()


def picture(folder, server, name):
    return AnnotatedImage(name, folder / name, (), "boxes.csv line 2", url=f"{server.url}/train/{name}")


def run(folder, server, *names, **settings):
    settings = {"timeout": 5.0, "pause": 0.001, **settings}
    return fetch_pictures([picture(folder, server, name) for name in names], **settings)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_pictures_are_kept_and_not_fetched_again(tmp_path, server):
    assert run(tmp_path / "train", server, "a.jpg", "b.jpg", "nolength.jpg") == {}
    assert files(tmp_path) == ["a.jpg", "b.jpg", "nolength.jpg"]
    assert all((tmp_path / "train" / name).read_bytes() == WHOLE for name in files(tmp_path))
    (tmp_path / "train" / "b.jpg").unlink()
    assert run(tmp_path / "train", server, "a.jpg", "b.jpg", "nolength.jpg") == {}
    assert server.asked == {"a.jpg": 1, "b.jpg": 2, "nolength.jpg": 1}


def test_only_pictures_with_an_address_are_fetched(tmp_path, server):
    assert fetch_pictures([AnnotatedImage("a", tmp_path / "a.jpg", (), "x")]) == {}
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "tries", "reason"),
    [
        ("404-a.jpg", 1, "could not be downloaded: HTTP 404 Not Found from {url}"),
        ("403-a.jpg", 1, "could not be downloaded: HTTP 403 Forbidden from {url}"),
        ("500-a.jpg", 3, "could not be downloaded: HTTP 500 Internal Server Error from {url}"),
        ("cut-a.jpg", 3, "could not be downloaded: only 100 of {length} bytes came from {url}"),
        ("page.jpg", 1, "could not be downloaded: {url} answered with text/html, not with a picture"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_but_a_reason(tmp_path, server, name, tries, reason):
    url = f"{server.url}/train/{name}"
    expected = reason.format(url=url, length=len(WHOLE))
    assert run(tmp_path, server, name, "good.jpg") == {name: expected}
    assert files(tmp_path) == ["good.jpg"]
    assert server.asked[name] == tries
    checked = make_example(picture(tmp_path, server, name), {"car": 0}, not_fetched=expected)
    (finding,) = checked.findings
    assert (checked.example, finding.kind, finding.detail) == (None, Kind.MISSING_IMAGE, expected)


@pytest.mark.parametrize("name", ["503-a.jpg", "429-a.jpg", "once-cut.jpg", "hangup.jpg"])
def test_passing_trouble_is_tried_again(tmp_path, server, name):
    assert run(tmp_path, server, name) == {}
    assert (tmp_path / name).read_bytes() == WHOLE
    assert server.asked[name] == 2


def test_waiting_grows_and_ends(tmp_path, server, monkeypatch):
    waited = []
    monkeypatch.setattr(fetch.time, "sleep", waited.append)
    run(tmp_path, server, "500-a.jpg", tries=4, pause=0.5)
    assert waited == [0.5, 1.0, 2.0]


def test_a_server_that_stalls_is_left(tmp_path, server):
    started = time.monotonic()
    failures = run(tmp_path, server, "slow.jpg", timeout=0.1, tries=2)
    assert failures["slow.jpg"].startswith("could not be downloaded: no answer in time, while http://127.0.0.1")
    assert time.monotonic() - started < 3
    assert files(tmp_path) == []


def test_several_at_once(tmp_path, server):
    names = [f"together-{i}.jpg" for i in range(8)]  # none is answered before all have been asked for
    assert run(tmp_path, server, *names) == {}
    assert files(tmp_path) == names


def test_redirections_do_not_lead_to_files(tmp_path, server):
    failures = run(tmp_path, server, "moved.jpg", "moved-to-file.jpg")
    assert list(failures) == ["moved-to-file.jpg"]
    assert "HTTP 302" in failures["moved-to-file.jpg"]
    assert (tmp_path / "moved.jpg").read_bytes() == WHOLE


def test_other_schemes_are_not_opened(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(WHOLE)
    image = AnnotatedImage("a", tmp_path / "a.jpg", (), "x", url=(tmp_path / "secret.jpg").as_uri())
    assert "unknown url type: file" in fetch_pictures([image], pause=0.0)["a"]
    assert files(tmp_path) == ["secret.jpg"]


def test_proxies_come_from_the_environment(tmp_path, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    image = AnnotatedImage("a", tmp_path / "a.jpg", (), "x", url="http://nowhere.invalid/train/a.jpg")
    assert fetch_pictures([image]) == {}
    assert (tmp_path / "a.jpg").read_bytes() == WHOLE


def test_no_network_ends_the_run_and_one_picture_does_not(tmp_path, server):
    server.url = "http://127.0.0.1:9"
    assert "Connection refused" in run(tmp_path, server, "a.jpg")["a.jpg"]
    with pytest.raises(DownloadError, match=r"127.0.0.1:9: none of 4 pictures .*Connection refused.*-o download=false"):
        run(tmp_path, server, "a.jpg", "b.jpg", "c.jpg", "d.jpg")


def test_a_folder_that_cannot_be_written_ends_the_run(tmp_path, server):
    (tmp_path / "train").write_text("a file")
    with pytest.raises(OutputError, match=r"train/a\.jpg: a downloaded picture cannot be written"):
        run(tmp_path / "train", server, "a.jpg")
