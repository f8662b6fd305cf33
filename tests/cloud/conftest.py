import os
import socket

import pytest

from luminoth.cloud.access import LOGGING_VARIABLE, VERTEX_VARIABLE, connect
from tests.cli.conftest import lumi  # noqa: F401
from tests.cloud.fake_gcs import fake_gcs_apart
from tests.cloud.fake_google import fake_google


@pytest.fixture(scope="session")
def storage_url():
    """Cloud Storage, played by the emulator."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _no_google(monkeypatch, tmp_path):
    """Nothing of the machine's own settings reaches a test, and nothing of a test Google."""
    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "lumi-home"))


@pytest.fixture
def google(monkeypatch, storage_url):
    """The services; the environment leads to them, and nobody waits."""
    with fake_google() as google:
        monkeypatch.setenv(VERTEX_VARIABLE, google.url)
        monkeypatch.setenv(LOGGING_VARIABLE, google.url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "proj-1")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield google


@pytest.fixture
def cloud(google):
    """Clients of these services."""
    from google.auth.credentials import AnonymousCredentials

    return connect("proj-1", "us-central1", AnonymousCredentials())


@pytest.fixture
def bucket_name(request):
    """A name of the test's own: the emulator lives longer than a test."""
    return f"b-{abs(hash((request.node.nodeid, os.getpid()))) % 10**12}"


@pytest.fixture(scope="session")
def _gcs_server(tmp_path_factory):
    with fake_gcs_apart(tmp_path_factory.mktemp("buckets")) as gcs:
        yield gcs


@pytest.fixture
def gcs(monkeypatch, _gcs_server):
    """Cloud Storage for TensorFlow and for Google's client, in this process and in its children."""
    for name, value in _gcs_server.environment.items():
        monkeypatch.setenv(name, value)
    _gcs_server.failures, _gcs_server.requests = [], []
    return _gcs_server


@pytest.fixture
def gcs_bucket(gcs, bucket_name):
    """The folder of a bucket of the test's own; gs://<its name> leads to it."""
    folder = gcs.root / bucket_name
    folder.mkdir()
    return folder
