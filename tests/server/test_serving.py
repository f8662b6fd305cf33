"""The server on real sockets: bodies that are too large, clients that go away, a stop that finishes what was begun."""

import http.client
import io
import json
import logging
import os
import random
import resource
import socket
import threading
import time
from contextlib import contextmanager, suppress

import av
import numpy as np
import pytest

from luminoth.errors import ConfigError
from luminoth.server import serving
from luminoth.server.serving import Server, listen
from luminoth.server.settings import Settings
from tests.server.fakes import PixelModel, application, car, encoded

PREDICT = "/api/pixel/predict/"
LIMIT = 100_000


@contextmanager
def serving_of(app, **options):
    """Runs a server in a thread; gives (server, port, list that gets what `run` returns)."""
    listener = listen("127.0.0.1", 0)
    server = Server(app, listener, **{"threads": 20, "max_upload_bytes": LIMIT, **options})
    ended = []
    thread = threading.Thread(target=lambda: ended.append(server.run(grace=5.0)), daemon=True)
    thread.start()
    try:
        yield server, listener.getsockname()[1], ended
    finally:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


def ask(port, body=None, *, method="POST", path=PREDICT, connection=None, **headers):
    """(status, content, headers) of the answer; on a connection of its own by default."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    own.request(method, path, body, {"Content-Type": "image/png", **headers})
    answer = own.getresponse()
    content = answer.read()
    if connection is None:
        own.close()
    return answer.status, content, answer.headers


def raw(port, request):
    """What comes back for bytes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.fixture(scope="module")
def port():
    app = application(settings=Settings(max_upload_bytes=LIMIT))
    with serving_of(app) as (_, port, _):
        yield port


def objects(content):
    return json.loads(content)["objects"]


def test_several_requests_on_one_connection(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for red in (1, 2, 3):
        status, content, _ = ask(port, encoded((red, 4, 0)), connection=connection)
        assert (status, objects(content)) == (200, [car(red, 4)])
    connection.close()


@pytest.mark.parametrize("size", [LIMIT + 1, 50 * LIMIT])
def test_too_large_bodies(port, size):
    status, content, headers = ask(port, bytes(size))
    assert status == 413
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(content)["status"] == 413


def chunked(body, piece=1000):
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def test_bodies_that_do_not_say_how_large_they_are(port):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n"
    head = (head + "Connection: close\r\n\r\n").encode()
    assert raw(port, head + chunked(encoded((9, 4, 0)))).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        connection.sendall(chunked(bytes(LIMIT + 2000))[:-5])  # goes on for ever
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"hello\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
)
def test_what_is_no_request(port, request_bytes, status):
    head, _, body = raw(port, request_bytes).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == int(status)


def test_clients_that_never_finish(port, monkeypatch):
    monkeypatch.setattr(serving, "_MOST_SECONDS_TO_SEND", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        ended = time.monotonic() + 10
        with suppress(ConnectionError):
            while time.monotonic() < ended:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < ended


def clip():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", 10, width=32, height=32, pix_fmt="yuv420p")
        for index in range(6):
            pixels = np.full((32, 32, 3), 40 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_lines_of_a_clip_leave_as_they_come_and_who_goes_away_frees_the_room():
    model = PixelModel()
    with serving_of(application(model, max_batch=1, max_queue=1)) as (_, port, _):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/api/pixel/video/", clip(), {"Content-Type": "video/avi"})
        answer = connection.getresponse()
        model.may_go_on.clear()
        assert json.loads(answer.readline())["frame"] == 0
        assert ask(port, encoded())[0] == 503
        answer.close()
        connection.close()
        model.may_go_on.set()
        assert _soon(lambda: ask(port, encoded())[0] == 200)


def _soon(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("trusted", "client"), [(None, "127.0.0.1"), ("127.0.0.1", "9.8.7.6"), ("1.1.1.1", "127.0.0.1")]
)
def test_who_asks_is_what_a_trusted_proxy_says(trusted, client, caplog):
    with (
        caplog.at_level(logging.INFO, "luminoth.server.access"),
        serving_of(application(), trusted_proxy=trusted) as (_, port, _),
    ):
        ask(port, method="GET", path="/healthz", **{"X-Forwarded-For": "9.8.7.6"})
        assert _soon(lambda: caplog.records)
    assert [each.client for each in caplog.records if each.name == "luminoth.server.access"] == [client]


def test_stop_finishes_what_was_begun():
    model = PixelModel()
    with serving_of(application(model)) as (server, port, ended):
        model.may_go_on.clear()
        answers = {}

        def one(red):
            answers[red] = ask(port, encoded((red, 1, 0)))

        threads = [threading.Thread(target=one, args=(red,)) for red in range(12)]
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        assert ask(port, method="GET", path="/healthz", connection=idle)[0] == 200
        half = socket.create_connection(("127.0.0.1", port), timeout=20)  # is still sending
        half.sendall(f"GET /healthz HTTP/1.1\r\nHost: {'x' * 10}".encode())
        for thread in threads:
            thread.start()
        assert _soon(lambda: b"} 12.0" in ask(port, method="GET", path="/metrics")[1])
        server.stop()
        assert _soon(lambda: _is_refused(port))
        half.sendall(b"\r\n\r\n")
        assert half.recv(100).startswith(b"HTTP/1.1 200 ")
        model.may_go_on.set()
        for thread in threads:
            thread.join(10)
        assert _soon(lambda: ended)
    assert ended == [0]
    assert {red: (status, objects(content)) for red, (status, content, _) in answers.items()} == {
        red: (200, [car(red, 1)]) for red in range(12)
    }
    assert {headers["Connection"] for _, _, headers in answers.values()} == {"close"}


def _is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it came while the listener was being closed
        return True
    return False


def test_what_takes_too_long_is_cut_off_and_counted():
    model = PixelModel()
    app = application(model)
    listener = listen("127.0.0.1", 0)
    server = Server(app, listener, threads=4, max_upload_bytes=LIMIT)
    ended = []
    runner = threading.Thread(target=lambda: ended.append(server.run(grace=0.2)), daemon=True)
    runner.start()
    model.may_go_on.clear()

    def one():
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(listener_port, encoded())

    listener_port = listener.getsockname()[1]
    client = threading.Thread(target=one)
    client.start()
    assert _soon(lambda: b"} 1.0" in ask(listener_port, method="GET", path="/metrics")[1])
    server.stop()
    runner.join(10)
    model.may_go_on.set()
    client.join(10)
    assert ended == [1]


def test_an_address_that_is_not_to_be_had():
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match=r"--port \d+: cannot listen there \("):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match=r"--host no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


# --- Soak ---------------------------------------------------------------------------------------------------------


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux' /proc")
def test_good_huge_broken_and_aborted_uploads_at_once():
    app = application(settings=Settings(max_upload_bytes=LIMIT, max_pixels=90_000))
    pictures = {red: encoded((red, 7, 0), size=(200, 300)) for red in range(0, 200, 10)}
    wrong, counts = [], []
    with serving_of(app) as (_, port, _):

        def one(seed, stop):
            choose = random.Random(seed)
            while time.monotonic() < stop:
                kind = choose.choice(["good", "good", "huge", "large", "broken", "aborted"])
                red = choose.choice(list(pictures))
                try:
                    if kind == "aborted":
                        _abort(port, pictures[red])
                        continue
                    body = {"huge": bytes(5 * LIMIT), "large": LARGE, "broken": pictures[red][:-40]}.get(kind)
                    status, content, _ = ask(port, body or pictures[red])
                except OSError as error:
                    wrong.append((kind, error))
                    continue
                expected = {"good": 200, "huge": 413, "large": 413, "broken": 422}[kind]
                if status != expected or (kind == "good" and objects(content) != [car(red, 7)]):
                    wrong.append((kind, status, content))
                counts.append(kind)

        def soak(seconds):
            stop = time.monotonic() + seconds
            threads = [threading.Thread(target=one, args=(seed, stop)) for seed in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)

        soak(1.5)
        before = memory()
        soak(2.5)
        grown = memory() - before
        assert _soon(lambda: b'on_their_way{model="pixel"} 0.0' in ask(port, method="GET", path="/metrics")[1])
    assert not wrong, wrong[:5]
    assert {"good", "huge", "large", "broken"} == set(counts)
    assert grown < 0.05 * before, f"{grown / 1e6:.1f} MB more than {before / 1e6:.1f}"


LARGE = encoded((1, 2, 3), size=(301, 300))


def _abort(port, body):
    """Closes the connection in the middle of an upload."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
