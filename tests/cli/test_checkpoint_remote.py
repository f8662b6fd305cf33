"""`lumi checkpoint download`, `refresh` and what `lumi predict` does without a checkpoint, against a server here."""

import hashlib
import json
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from luminoth.checkpoints import downloadable
from luminoth.checkpoints.archive import export_checkpoint
from luminoth.checkpoints.convert.published import PUBLISHED
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.remote_index import index_of
from luminoth.checkpoints.store import Store, find_checkpoint
from luminoth.errors import CheckpointError
from tests.checkpoints.convert.small_model import NAME, install_small_model, small_model, small_state
from tests.checkpoints.convert.torch_writer import state_file
from tests.checkpoints.remote_server import PAGE, remote_server


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchvision publishes it, of the small model."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_small_model(monkeypatch, tmp_path_factory.mktemp("small"))
        return state_file(small_state(small_model()))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A checkpoint as `lumi checkpoint export` writes it: the embedded one."""
    return export_checkpoint(Store().resolve("toytown").entry, tmp_path_factory.mktemp("tar")).read_bytes()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch, tmp_path, home, weights):
    """In the place of those who publish: a detector that is converted in a moment, called `accurate`."""
    with remote_server(monkeypatch) as server:
        monkeypatch.setenv("LUMI_HOME", str(home))
        monkeypatch.setattr("luminoth.checkpoints.downloading.time.sleep", lambda seconds: None)
        install_small_model(monkeypatch, tmp_path)
        published = replace(PUBLISHED[NAME], digest_start=hashlib.sha256(weights).hexdigest()[:8])
        monkeypatch.setitem(PUBLISHED, NAME, published)
        (row,) = index_of({NAME: published})["checkpoints"]
        row |= {"alias": "accurate", "url": f"{server.address}/w.pth"}
        (tmp_path / "index.json").write_text(json.dumps({"format": 1, "checkpoints": [row]}))
        monkeypatch.setattr(downloadable, "SHIPPED_INDEX", tmp_path / "index.json")
        server.files["/w.pth"] = weights
        server.id = published.id
        yield server


@pytest.fixture
def offer(server, archive):
    """Puts an index with a ready-made checkpoint at the server; returns its row."""

    def offer(monkeypatch, **changes):
        row = {
            "id": "0123456789ab", "kind": "luminoth", "alias": "streets", "name": "Drawn streets", "licence": "CC0",
            "url": f"{server.address}/t.tar", "sha256": hashlib.sha256(archive).hexdigest(), "size": len(archive),
        } | changes  # fmt: skip
        server.files |= {"/t.tar": archive, "/index.json": json.dumps({"format": 1, "checkpoints": [row]}).encode()}
        monkeypatch.setenv("LUMI_REMOTE_URL", f"{server.address}/index.json")
        return row

    return offer


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fails(lumi, *arguments):
    """What a command that fails says in its last line."""
    status, out, err = lumi(*arguments)
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("Error: ")
    return last.removeprefix("Error: ")


# --- download ----------------------------------------------------------------------------------------------------


def test_download_and_what_is_then_there(lumi, server, home):
    status, out, err = lumi("checkpoint", "download", "accurate")
    folder = home / "checkpoints" / server.id
    assert (status, out) == (0, f"{folder}\n")
    assert err.splitlines() == [
        f"{PUBLISHED[NAME].title}; licence: {PUBLISHED[NAME].licence}",
        "Converting w.pth",
        "Use it: lumi predict IMAGE --checkpoint accurate",
    ]
    for name in ("accurate", NAME, server.id):
        assert find_checkpoint(name) == folder
    metadata = json.loads((folder / "metadata.json").read_text())
    assert (metadata["origin"], metadata["alias"], metadata["model"]) == ("downloaded", "accurate", NAME)
    assert (metadata["url"], metadata["scores"]["AP"]) == (f"{server.address}/w.pth", 0.37)
    assert load_model(folder).step == 0
    assert not (home / "downloads").exists()
    listed = {row["alias"]: row for row in json.loads(lumi("checkpoint", "list", "--json")[1])}
    assert [listed["accurate"]["status"], len(listed)] == ["DOWNLOADED", 2]

    status, out, err = lumi("checkpoint", "download", NAME, "--yes", "--json")
    assert (status, json.loads(out)["id"], err) == (0, server.id, "`accurate` is already downloaded.\n")
    assert len(server.requests) == 1


def test_the_original_file_can_be_kept(lumi, server, home, weights):
    assert lumi("checkpoint", "download", "accurate", "--keep-file")[0] == 0
    kept = home / "downloads" / server.id / "w.pth"
    assert kept.read_bytes() == weights
    lumi("checkpoint", "delete", "accurate", "--yes")
    assert find_checkpoint_status(lumi) == "NOT_DOWNLOADED"
    assert lumi("checkpoint", "download", "accurate")[0] == 0
    assert len(server.requests) == 1  # not fetched again
    assert not kept.exists()


def find_checkpoint_status(lumi):
    return next(
        row["status"] for row in json.loads(lumi("checkpoint", "list", "--json")[1]) if row["alias"] == "accurate"
    )


def test_names_that_cannot_be_downloaded(lumi, server):
    assert fails(lumi, "checkpoint", "download", "nope") == (
        "nothing called `nope` can be downloaded; `lumi checkpoint list` shows what can, and `lumi checkpoint refresh` "
        "looks for more"
    )
    assert fails(lumi, "checkpoint", "download", "toytown").startswith("`toytown` is a checkpoint of this machine")
    assert server.requests == []


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("404", "w.pth could not be downloaded: HTTP 404 Not Found from {url}"),
        ("503", "w.pth could not be downloaded: HTTP 503 Service Unavailable from {url}"),
        ("page", "w.pth could not be downloaded: {url} answered with a web page instead of the file"),
        ("moved:/w.pth", "w.pth could not be downloaded: {url} leads round in a circle: {url} -> {url}"),
        ("cut:0", "w.pth could not be downloaded: only 0 of "),
    ],
)
def test_trouble_is_said_in_a_line_and_leaves_nothing(lumi, server, home, behaviour, said):
    server.behaviour["/w.pth"] = [behaviour]
    assert fails(lumi, "checkpoint", "download", "accurate").startswith(said.format(url=f"{server.address}/w.pth"))
    assert not (home / "downloads").exists()
    assert everything(home) == []
    assert find_checkpoint_status(lumi) == "NOT_DOWNLOADED"


def test_the_wrong_file_is_not_looked_at(lumi, server, home, monkeypatch):
    monkeypatch.setattr("luminoth.checkpoints.convert.converter.read_source", lambda *_: pytest.fail("read"))
    server.files["/w.pth"] = b"PK" * 1000
    assert "is another file, SHA-256 " in fails(lumi, "checkpoint", "download", "accurate")
    assert everything(home) == []


def test_a_retry_goes_on_where_it_stopped(lumi, server, home, weights):
    server.behaviour["/w.pth"] = ["cut:70000", "404", "whole"]
    message = fails(lumi, "checkpoint", "download", "accurate")
    assert message.endswith("; 70.0 kB of it are kept: run it again to go on from there")
    assert everything(home) == [f"downloads/{server.id}/w.pth.part", f"downloads/{server.id}/w.pth.part.json"]
    assert lumi("checkpoint", "download", "accurate")[0] == 0
    assert server.ranges("/w.pth") == ["", "bytes=70000-", "bytes=70000-"]
    assert not (home / "downloads").exists()


def test_a_file_that_is_not_what_the_index_says_is_not_stored(lumi, server, home, tmp_path):
    server.files["/w.pth"] = state_file({"fc.weight": np.zeros(3, np.float32)})
    index = json.loads((tmp_path / "index.json").read_text())
    index["checkpoints"][0]["sha256"] = hashlib.sha256(server.files["/w.pth"]).hexdigest()
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert "does not fit the model" in fails(lumi, "checkpoint", "download", "accurate")
    assert everything(home) in ([], ["checkpoints/.lock", "checkpoints/index.json"])


def test_two_processes_fetch_it_once(server, home, tmp_path, offer, monkeypatch, lumi):
    offer(monkeypatch)
    assert lumi("checkpoint", "refresh")[0] == 0
    program = "from luminoth.cli.main import main; main(['checkpoint', 'download', 'streets'])"
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    assert {out for out, _ in ended} == {f"{home / 'checkpoints' / '0123456789ab'}\n"}
    assert len(server.ranges("/t.tar")) == 1


# --- refresh -----------------------------------------------------------------------------------------------------


def test_refresh_without_an_address(lumi, server, home):
    status, out, err = lumi("checkpoint", "refresh")
    assert (status, out) == (0, "No changes in remote index.\n")
    assert err == "1 checkpoints can be downloaded: those in the package (LUMI_REMOTE_URL is not set).\n"
    assert everything(home) == []


def test_refresh_and_a_ready_made_checkpoint(lumi, server, home, offer, monkeypatch):
    row = offer(monkeypatch, colour="no concern")
    status, out, err = lumi("checkpoint", "refresh")
    assert (status, out) == (0, "1 remote checkpoint added.\n")
    assert err.endswith(f"2 checkpoints can be downloaded: those at {server.address}/index.json and in the package.\n")
    assert everything(home) == ["remote_index.json"]
    assert lumi("checkpoint", "refresh")[1] == "No changes in remote index.\n"

    assert lumi("checkpoint", "download", "streets")[0] == 0
    metadata = json.loads((find_checkpoint("streets") / "metadata.json").read_text())
    assert (metadata["id"], metadata["origin"], metadata["licence"]) == (row["id"], "downloaded", "CC0")
    assert not (home / "downloads").exists()

    offer(monkeypatch, name="Streets")
    assert json.loads(lumi("checkpoint", "refresh", "--json")[1])["changed"] == [row["id"]]
    monkeypatch.delenv("LUMI_REMOTE_URL")
    assert lumi("checkpoint", "refresh")[1] == "1 remote checkpoint removed.\n"
    assert find_checkpoint("streets").name == row["id"]  # what was downloaded stays


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "{url}: is no index of checkpoints (Expecting property name"),
        (b'{"format": 1, "checkpoints": [{"id": 7}]}', "{url}: checkpoints[0].id: 7, expected a text"),
        (b'{"format": 99, "checkpoints": []}', "{url}: an index of format 99; this is Luminoth"),
        (PAGE, "remote_index.json could not be downloaded: {url} answered with a web page"),
        (b"[" * 5_000_000, "remote_index.json could not be downloaded: {url} is larger than the 4.0 MB"),
        (b"[" * 100_000, "{url}: is no index of checkpoints ("),
    ],
)
def test_a_bad_index_leaves_the_good_one(lumi, server, home, offer, monkeypatch, content, said):
    offer(monkeypatch)
    assert lumi("checkpoint", "refresh")[0] == 0
    before = (home / "remote_index.json").read_bytes()
    server.files["/index.json"] = content
    assert fails(lumi, "checkpoint", "refresh").startswith(said.format(url=f"{server.address}/index.json"))
    assert everything(home) == ["remote_index.json"]
    assert (home / "remote_index.json").read_bytes() == before


def test_what_this_version_does_not_know_is_said(lumi, server, offer, monkeypatch):
    offer(monkeypatch, kind="other")
    status, out, err = lumi("checkpoint", "refresh")
    assert (status, out) == (0, "No changes in remote index.\n")
    assert err.startswith("Passed over, 0123456789ab: of kind `other`")


def test_a_changed_tar_is_not_taken_in(lumi, server, home, offer, monkeypatch, archive):
    offer(monkeypatch)
    lumi("checkpoint", "refresh")
    server.files["/t.tar"] = archive[:-2000] + b"x" * 2000
    assert "is another file" in fails(lumi, "checkpoint", "download", "streets")
    assert everything(home) == ["remote_index.json"]


# --- predict -----------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def on_a_terminal(monkeypatch, answer):
    """Somebody sits there and answers."""
    monkeypatch.setattr("luminoth.cli.checkpoint_fetch._is_terminal", lambda: True)
    asked = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question) or answer)
    return asked


def chosen(lumi, *arguments):
    """Name of the folder of the checkpoint that `lumi predict` would take; the model itself is not made."""
    taken = []

    def detector(checkpoint, *_, **__):
        taken.append(checkpoint)
        raise CheckpointError("as far as this")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("luminoth.inference.detector.Detector", detector)
        assert fails(lumi, *arguments) == "as far as this"
    return taken[0].name


def test_from_nothing_to_boxes_with_one_word(lumi, server, picture, monkeypatch):
    asked = on_a_terminal(monkeypatch, True)
    tf.config.run_functions_eagerly(True)  # a graph takes longer to make than it saves for one picture
    try:
        status, out, err = lumi("predict", picture)
    finally:
        tf.config.run_functions_eagerly(False)
    assert (status, json.loads(out)["file"]) == (0, str(picture))
    assert err.splitlines()[:3] == [
        "Found 1 files to predict.",
        "Neither checkpoint nor config specified, assuming `accurate`.",
        "Converting w.pth",
    ]
    assert asked == [
        f"`accurate` ({PUBLISHED[NAME].title}, 167 MB, licence: {PUBLISHED[NAME].licence}) is not on this machine. "
        "Download it?"
    ]
    asked.clear()
    for further in ((), ("--offline",), ("--yes", "--checkpoint", NAME)):  # once it is there nobody asks
        assert chosen(lumi, "predict", picture, *further) == server.id
    assert asked == []
    assert len(server.requests) == 1


def test_yes_is_enough_without_a_terminal(lumi, server, picture, monkeypatch):
    assert chosen(lumi, "predict", picture, "--yes") == server.id


def test_without_consent_nothing_is_fetched(lumi, server, picture, monkeypatch):
    not_here = (
        "the checkpoint `accurate` is not on this machine: `lumi checkpoint download accurate` fetches and converts it "
        "(167 MB)"
    )
    assert fails(lumi, "predict", picture) == f"{not_here}; with --yes this command does it by itself"
    on_a_terminal(monkeypatch, False)
    assert fails(lumi, "predict", picture).startswith(not_here)
    assert fails(lumi, "predict", picture, "--checkpoint", "accurate").startswith(not_here)
    assert server.requests == []


@pytest.mark.parametrize("how", ["--offline", "LUMI_OFFLINE"])
def test_offline_touches_no_network(lumi, server, picture, monkeypatch, how):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was touched"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was touched"))
    if how == "LUMI_OFFLINE":
        monkeypatch.setenv(how, "1")
    arguments = [how] if how == "--offline" else []
    assert fails(lumi, "predict", picture, "--yes", *arguments).endswith(f"(167 MB), which {how} forbids here")
    assert chosen(lumi, "predict", picture, "--checkpoint", "toytown", *arguments) == "toytown"
    if how == "LUMI_OFFLINE":
        assert "LUMI_OFFLINE is set" in fails(lumi, "checkpoint", "download", "accurate")


def test_the_library_never_asks_and_never_fetches(server, monkeypatch):
    from luminoth import Detector

    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(CheckpointError, match="`lumi checkpoint download accurate` fetches and converts it"):
        Detector()
    assert server.requests == []
