"""One file from a server in this process that behaves and misbehaves as asked for."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from luminoth.checkpoints.downloading import Checksum, download_file, held, mirrored, readable_size
from luminoth.errors import DownloadError, OutputError
from tests.checkpoints.remote_server import remote_server

WHOLE = bytes(range(256)) * 1000
OTHER = WHOLE[::-1] + b"more"
SHA = Checksum("sha256", hashlib.sha256(WHOLE).hexdigest()[:8])


@pytest.fixture
def server(monkeypatch):
    with remote_server(monkeypatch) as server:
        server.files["/a.pth"] = WHOLE
        yield server


@pytest.fixture
def fetch(tmp_path, server):
    """Downloads `/a.pth` and returns what was said."""

    def fetch(*addresses, checksum=SHA, **settings):
        said = []
        settings = {"timeout": 5.0, "pause": 0.001, "say": said.append, **settings}
        assert download_file(
            addresses or [f"{server.address}/a.pth"], tmp_path / "a.pth", checksum=checksum, **settings
        )
        assert (tmp_path / "a.pth").read_bytes() == WHOLE
        assert files(tmp_path) == ["a.pth"]
        return said

    return fetch


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def fails(fetch, *arguments, **settings):
    with pytest.raises(DownloadError) as caught:
        fetch(*arguments, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_fetched_once(tmp_path, server, fetch):
    seen = []
    assert fetch(progress=lambda done, total: seen.append((done, total))) == []
    assert seen[0] == (0, len(WHOLE))
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    fetch()
    assert len(server.requests) == 1
    (tmp_path / "a.pth").write_bytes(OTHER)  # not what it says it is
    fetch()
    assert len(server.requests) == 2
    assert server.requests[0][1]["User-Agent"] == "luminoth"


@pytest.mark.parametrize("checksum", [None, SHA, Checksum("md5", hashlib.md5(WHOLE).hexdigest())])
@pytest.mark.parametrize("again", ["whole", "noranges", "dated", "unnamed", "nolength"])
def test_what_was_cut_off_goes_on(tmp_path, server, fetch, checksum, again):
    server.behaviour["/a.pth"] = ["cut:70000", again]
    said = fetch(checksum=checksum)
    assert said == [f"only 70000 of {len(WHOLE)} bytes came from {server.address}/a.pth; trying again in 0 s"]
    assert server.ranges("/a.pth") == ["", "bytes=70000-"]


@pytest.mark.parametrize("kind", ["cut:70000", "stall:70000"])
def test_a_second_call_goes_on_where_the_first_ended(tmp_path, server, fetch, kind):
    server.behaviour["/a.pth"] = [kind, "whole"]
    message = fails(fetch, tries=1, timeout=0.2)
    assert message.startswith("a.pth could not be downloaded: ")
    kept = (tmp_path / "a.pth.part").stat().st_size
    assert message.endswith(f"; {readable_size(kept)} of it are kept: run it again to go on from there")
    assert kept == 70000 if kind.startswith("cut") else kept == 65536
    assert files(tmp_path) == ["a.pth.part", "a.pth.part.json"]
    assert fetch() == []
    assert server.ranges("/a.pth") == ["", f"bytes={kept}-"]


def test_by_date_where_the_version_is_weak(tmp_path, server, fetch):
    server.behaviour["/a.pth"] = ["dated"]
    with pytest.raises(RuntimeError, match="stop"):
        fetch(progress=stop_at(1))
    fetch()
    assert server.requests[-1][1]["If-Range"].startswith("Mon, 01 Jan 2024")


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path, server, fetch):
    server.files["/a.pth"] = OTHER
    server.behaviour["/a.pth"] = ["cut:70000", "whole"]
    fails(fetch, tries=1)
    server.files["/a.pth"] = WHOLE
    assert fetch() == []
    assert server.ranges("/a.pth") == ["", "bytes=70000-"]


def test_parts_that_do_not_belong_together_are_fetched_anew(tmp_path, server, fetch):
    server.files["/a.pth"] = OTHER
    server.behaviour["/a.pth"] = ["cut:70000", "unnamed"]  # nothing says which version the rest is of
    fails(fetch, tries=1)
    (tmp_path / "a.pth.part.json").write_text('{"url": "elsewhere", "validator": ""}')
    server.files["/a.pth"] = WHOLE
    (said,) = fetch()
    assert "is another file, SHA-256 " in said
    assert server.ranges("/a.pth") == ["", "bytes=70000-", ""]


def test_another_part_than_was_asked_for(server, fetch):
    server.behaviour["/a.pth"] = ["cut:70000", "wrongpart", "whole"]
    assert "another part" in fetch()[1]
    assert server.ranges("/a.pth") == ["", "bytes=70000-", ""]


@pytest.mark.parametrize("checksum", [None, SHA])
@pytest.mark.parametrize("part", [WHOLE, OTHER])
def test_a_part_that_is_not_shorter_than_the_file(tmp_path, server, fetch, part, checksum):
    server.behaviour["/a.pth"] = ["cut:70000", "whole"]
    fails(fetch, tries=1)
    (tmp_path / "a.pth.part").write_bytes(part)
    fetch(checksum=checksum)
    is_whole = part == WHOLE and checksum is not None
    assert server.ranges("/a.pth")[1:] == [f"bytes={len(part)}-", *([] if is_whole else [""])]


def test_a_file_that_is_too_large(tmp_path, server, fetch):
    for behaviour in ("whole", "nolength"):
        server.behaviour["/a.pth"] = [behaviour]
        assert fails(fetch, most=200_000) == (
            f"a.pth could not be downloaded: {server.address}/a.pth is larger than the 200 kB that such a file may be"
        )
        assert files(tmp_path) == []
        fetch(most=len(WHOLE))
        (tmp_path / "a.pth").unlink()


def test_the_wrong_file_is_deleted(tmp_path, server, fetch):
    server.files["/a.pth"] = OTHER
    found = hashlib.sha256(OTHER).hexdigest()
    assert fails(fetch) == (
        f"a.pth could not be downloaded: what came from {server.address}/a.pth is another file, SHA-256 {found}; "
        f"published is SHA-256 {SHA.start}...; it was deleted"
    )
    assert files(tmp_path) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "asked", "reason"),
    [
        ("404", 1, "HTTP 404 Not Found from {url}"),
        ("403", 1, "HTTP 403 Forbidden from {url}"),
        ("503", 3, "HTTP 503 Service Unavailable from {url}"),
        ("hangup", 3, "Remote end closed connection without response, asking for {url}"),
        ("page", 1, "{url} answered with a web page instead of the file: a proxy or a login page may stand before it"),
        (
            "hiddenpage", 1,
            "{url} answered with a web page instead of the file: a proxy or a login page may stand before it",
        ),
        ("moved:/a.pth", 1, "{url} leads round in a circle: {url} -> {url}"),
        ("moved:ftp://x/a", 1, "{url} leads to ftp://x/a, which is not on the web"),
    ],
)  # fmt: skip
def test_what_cannot_be_had(tmp_path, server, fetch, behaviour, asked, reason):
    server.behaviour["/a.pth"] = [behaviour]
    message = fails(fetch, tries=3)
    assert message == f"a.pth could not be downloaded: {reason.format(url=f'{server.address}/a.pth')}"
    assert files(tmp_path) == []
    assert len(server.requests) == asked
    server.behaviour["/a.pth"] = ["whole"]
    fetch()


def test_a_web_page_does_not_spoil_what_has_come(server, fetch):
    server.behaviour["/a.pth"] = ["cut:70000", "page", "hiddenpage", "whole"]
    for _ in range(3):
        fails(fetch, tries=1)
    fetch()
    assert server.ranges("/a.pth") == ["", *["bytes=70000-"] * 3]


def test_redirections(server, fetch):
    server.behaviour["/old"] = ["moved:/a.pth"]
    assert fetch(f"{server.address}/old") == []


def test_redirections_in_a_circle_and_without_end(server, fetch):
    a, b = f"{server.address}/1", f"{server.address}/2"
    server.behaviour["/1"], server.behaviour["/2"] = ["moved:/2"], ["moved:/1"]
    assert fails(fetch, a).endswith(f"{a} leads round in a circle: {a} -> {b} -> {a}")
    for number in range(10, 30):
        server.behaviour[f"/{number}"] = [f"moved:/{number + 1}"]
    assert "was redirected more than 10 times, at last to" in fails(fetch, f"{server.address}/10")


@pytest.mark.parametrize("first", ["503", "429", "408", "hangup", "cut:0"])
def test_passing_trouble_is_tried_again(server, fetch, first):
    server.behaviour["/a.pth"] = [first, "whole"]
    assert len(fetch()) == 1
    assert server.ranges("/a.pth") == ["", ""]


def test_waiting_grows_and_tries_without_anything_new_end_it(server, fetch, monkeypatch):
    waited = []
    monkeypatch.setattr("luminoth.checkpoints.downloading.time.sleep", waited.append)
    server.behaviour["/a.pth"] = ["503"]
    fails(fetch, tries=4, pause=0.5)
    assert waited == [0.5, 1.0, 2.0]
    waited.clear()
    server.behaviour["/a.pth"] = ["503", "503", "cut:100000", "503", "whole"]
    fetch(tries=3, pause=0.5)
    assert waited == [0.5, 1.0, 0.5, 1.0]  # something new came between


def test_no_server(fetch):
    message = fails(fetch, "http://127.0.0.1:9/a.pth", tries=2)
    assert message.endswith("Connection refused, asking for http://127.0.0.1:9/a.pth")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "a.pth", "http://"])
def test_only_http(fetch, url):
    fails(fetch, url, tries=1)


def test_mirrors_are_asked_first_and_the_original_last(server, fetch, monkeypatch):
    monkeypatch.setenv("LUMI_MIRROR_URL", f"{server.address}/closed/, {server.address}/mirror")
    assert mirrored("https://host/models/a.pth?x=1") == [
        f"{server.address}/closed/models/a.pth?x=1", f"{server.address}/mirror/models/a.pth?x=1",
    ]  # fmt: skip
    server.files["/mirror/a.pth"] = WHOLE
    url = "http://nowhere.invalid/a.pth"
    assert fetch(*mirrored(url), url) == [
        f"HTTP 404 Not Found from {server.address}/closed/a.pth; trying {server.address}/mirror/a.pth"
    ]
    assert [path for path, _ in server.requests] == ["/closed/a.pth", "/mirror/a.pth"]


def test_a_further_mirror_goes_on_with_what_came_from_another(server, fetch):
    server.behaviour["/a.pth"] = ["cut:70000", "404"]
    server.files["/b.pth"] = WHOLE
    fetch(f"{server.address}/a.pth", f"{server.address}/b.pth")
    assert server.ranges("/b.pth") == ["bytes=70000-"]


def test_all_addresses_are_named(server, fetch):
    message = fails(fetch, f"{server.address}/x.pth", f"{server.address}/y.pth")
    assert f"from {server.address}/x.pth; HTTP 404 Not Found from {server.address}/y.pth" in message


def test_proxies_come_from_the_environment(server, fetch, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    server.files["http://nowhere.invalid/a.pth"] = WHOLE
    fetch("http://nowhere.invalid/a.pth")


def test_offline(server, fetch, monkeypatch):
    monkeypatch.setenv("LUMI_OFFLINE", "1")
    assert "LUMI_OFFLINE is set" in fails(fetch, tries=1)
    assert server.requests == []
    monkeypatch.setenv("LUMI_OFFLINE", "0")
    fetch()


def test_a_full_disk_is_foreseen(tmp_path, server, fetch, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(OutputError, match=r"no room for a download: 256 kB are to come, 1\.0 kB are free"):
        fetch()
    assert files(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_has_come(tmp_path, server, fetch):
    def full(done, total):
        if done > 70000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"a\.pth: a download cannot be written \(No space left on device\)"):
        fetch(progress=full)
    fetch()
    assert server.ranges("/a.pth")[1] != ""


def test_a_folder_that_cannot_be(tmp_path, fetch, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        download_file([f"{server.address}/a.pth"], tmp_path / "file" / "a.pth")


def stop_at(count):
    def progress(done, total):
        if done >= count:
            raise RuntimeError("stop")

    return progress


def test_two_at_once_fetch_it_once(tmp_path, server):
    begun, go_on = threading.Event(), threading.Event()

    def wait(done, total):
        begun.set()
        go_on.wait(10)

    url, path = f"{server.address}/a.pth", tmp_path / "a.pth"
    first = threading.Thread(target=download_file, args=([url], path), kwargs={"progress": wait})
    first.start()
    begun.wait(10)
    program = (
        "from pathlib import Path; from luminoth.checkpoints.downloading import download_file;"
        f"download_file([{url!r}], Path({str(path)!r}), say=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout.readline() == "a.pth: another process is downloading it; waiting for it\n"
        go_on.set()
        first.join()
        assert second.wait(10) == 0
    assert len(server.requests) == 1
    assert files(tmp_path) == ["a.pth"]
    assert path.read_bytes() == WHOLE


def test_a_lock_keeps_others_out_and_goes_with_its_owner(tmp_path):
    inside, most, order = 0, 0, []

    def work(name):
        nonlocal inside, most
        for _ in range(20):
            with held(tmp_path / "lock", lambda: None):
                inside += 1
                most = max(most, inside)
                order.append(name)
                inside -= 1

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(order)) == (1, 40)
    (tmp_path / "lock").write_text("left by one who was killed")
    with held(tmp_path / "lock", lambda: pytest.fail("nobody holds it")):
        assert files(tmp_path) == ["lock"]
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (70_000, "70.0 kB"), (175_000_000, "175 MB")]
)
def test_readable_size(count, text):
    assert readable_size(count) == text
