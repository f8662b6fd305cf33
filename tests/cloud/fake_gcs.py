"""Cloud Storage, played by a server of this machine that keeps each bucket as a plain folder.

TensorFlow's own client of `gs://` knows only Google's addresses. It is led here as through any proxy: the server
answers `CONNECT storage.googleapis.com:443` by speaking TLS itself, with a certificate that the environment declares
trusted. google-cloud-storage asks the same server in plain HTTP.

    with fake_gcs(root) as gcs:  # root/<bucket>/<object>
        subprocess.run(command, env={**os.environ, **gcs.environment})

Code under test that runs in the process of the tests needs `fake_gcs_apart`, whose server is a process of its own.
TensorFlow looks up the proxy, the certificate and the token at each request, but `GCS_*` only when it is imported.

As in Cloud Storage, an object appears whole, when its upload ends; it gets a new generation with each write; and a
folder is only what names have in common. The zero-byte object `a/` that TensorFlow writes for a folder is the folder
itself, plus a note in memory; a folder made by other means is no object.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.cloud.fake_gcs_api import DONE_BUT_LOST, HOSTS, LOST, Answer, Failure, FakeGcs, Request, Slow, refusal
from tests.cloud.fake_gcs_folders import Folders

__all__ = ["DONE_BUT_LOST", "LOST", "FakeGcs", "RemoteGcs", "Slow", "fake_gcs", "fake_gcs_apart"]


class _Handler(BaseHTTPRequestHandler):
    gcs: FakeGcs
    tls: ssl.SSLContext
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        """From here on the connection is one to Google, as far as the client can tell."""
        if self.path not in [f"{host}:443" for host in HOSTS]:
            return self._send(refusal(403, f"fake: {self.path} is not played here"))
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.request = self.tls.wrap_socket(self.request, server_side=True)
        self.setup()
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.request.close()  # of TLS; the server closes its own only

    def _handle(self) -> None:
        failure = self.gcs.begin(self.command, unquote(self.path))
        if failure == LOST:
            return self._drop()
        if isinstance(failure, Slow):
            threading.Event().wait(failure.seconds)  # tests replace time.sleep
        body, is_whole = self._receive()
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request = Request(self.command, url.path, query, self.headers, body, is_whole)
        answer = refusal(failure, "fake: on purpose") if isinstance(failure, int) else self.gcs.answer(request)
        if failure == DONE_BUT_LOST or not request.is_whole:
            return self._drop()
        return self._send(answer)

    def _receive(self) -> tuple[bytes, bool]:
        """(body, whether it came to its end); TensorFlow sends a file in chunks, and says its length all the same."""
        body = bytearray()
        is_chunked = self.headers.get("Transfer-Encoding") == "chunked"
        try:
            while is_chunked and (size := int(self.rfile.readline(), 16)):
                body += self.rfile.read(size)
                self.rfile.readline()
            if is_chunked:
                return bytes(body), self.rfile.readline() == b"\r\n"
            length = int(self.headers.get("Content-Length") or 0)
            while len(body) < length and (more := self.rfile.read1(1 << 20)):
                body += more
            return bytes(body), len(body) == length
        except (OSError, ValueError):  # the client is gone
            return bytes(body), False

    def _drop(self) -> None:
        self.close_connection = True

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes away, or is killed, is no error
            super().handle_error(request, client_address)


def write_certificate(path: Path) -> None:
    """Key and certificate for Google's hosts in one file, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Cloud Storage of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none)
    path.write_bytes(private + certificate.public_bytes(encoding))


@contextmanager
def fake_gcs(root: str | os.PathLike) -> Iterator[FakeGcs]:
    """Serves the folders of `root` until the block ends."""
    root = Path(root).resolve()
    own = Path(tempfile.mkdtemp(prefix=".gcs-", dir=root))
    try:
        gcs = FakeGcs(Folders(root, own))
        write_certificate(own / "google.pem")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(own / "google.pem")
        server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"gcs": gcs, "tls": tls}))
        url = f"http://127.0.0.1:{server.server_port}"
        gcs.environment = {
            "STORAGE_EMULATOR_HOST": url,
            "https_proxy": url,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(own / "google.pem"),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "NO_GCE_CHECK": "true",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "2",
            "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "1000",
            "GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "10000",
        }
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield gcs
        finally:
            server.shutdown()
            server.server_close()
    finally:
        shutil.rmtree(own)


class RemoteGcs:
    """A FakeGcs in another process, as far as it can be reached from here.

    TensorFlow's Python holds the interpreter's lock while it frees a file whose upload has failed, and tries to upload
    it once more meanwhile: a server in the same process could not answer.
    """

    def __init__(self, root: Path, connection: Connection) -> None:
        self.root, self._connection = root, connection
        self._lock = threading.Lock()
        self.environment: dict[str, str] = self._ask("environment")

    @property
    def failures(self) -> tuple[tuple[str, Failure], ...]:
        """Those that have not happened yet; to be replaced as a whole."""
        return tuple(self._ask("failures"))

    @failures.setter
    def failures(self, failures: list[tuple[str, Failure]]) -> None:
        self._ask("failures", list(failures))

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._ask("requests"))

    @requests.setter
    def requests(self, requests: list[tuple[str, str]]) -> None:
        self._ask("requests", list(requests))

    @property
    def largest_page(self) -> int:
        return self._ask("largest_page")

    @largest_page.setter
    def largest_page(self, size: int) -> None:
        self._ask("largest_page", size)

    def asked(self, pattern: str) -> list[tuple[str, str]]:
        """The requests whose `METHOD path?query` matches."""
        return [each for each in self.requests if re.search(pattern, " ".join(each))]

    def _ask(self, name: str, *value: Any) -> Any:
        with self._lock:
            self._connection.send((name, *value))
            return self._connection.recv()


def _serve_apart(root: Path, connection: Connection) -> None:
    with fake_gcs(root) as gcs:
        while True:
            try:
                name, *value = connection.recv()
            except EOFError:
                return
            if value:
                setattr(gcs, name, value[0])
            connection.send(getattr(gcs, name))


@contextmanager
def fake_gcs_apart(root: str | os.PathLike) -> Iterator[RemoteGcs]:
    """As `fake_gcs`, by a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_apart, args=(Path(root), theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield RemoteGcs(Path(root).resolve(), ours)
    finally:
        ours.close()
        process.join(10)
