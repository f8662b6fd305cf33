"""What Luminoth relies on in a bucket, seen through TensorFlow's own client of gs:// and through Google's."""

import gc
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import tensorflow as tf
from google.api_core import exceptions as api_errors
from google.cloud import storage

from tests.cloud.fake_gcs import DONE_BUT_LOST, LOST, Slow, fake_gcs

gfile = tf.io.gfile


@pytest.fixture
def url(gcs_bucket):
    return f"gs://{gcs_bucket.name}"


def write(path, content):
    with gfile.GFile(path, "wb") as file:
        file.write(content)


def read(path):
    with gfile.GFile(path, "rb") as file:
        return file.read()


def contents(folder):
    """Every file of a folder -> what is in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ask(gcs, method, path, body=b"", headers=None, length=None):
    """(status, headers, content) of a request of one's own; with `length`, the connection breaks after the body."""
    connection = http.client.HTTPConnection(urlsplit(gcs.environment["STORAGE_EMULATOR_HOST"]).netloc)
    try:
        headers = {"Content-Length": str(length or len(body)), **(headers or {})}
        connection.request(method, path, body, headers)
        if length is not None:
            return None
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


# --- Files -----------------------------------------------------------------


def test_files_are_the_files_of_a_folder(gcs_bucket, url):
    write(f"{url}/run/a.txt", b"one")
    (gcs_bucket / "run/b é.txt").write_bytes(b"two")
    assert contents(gcs_bucket) == {"run/a.txt": b"one", "run/b é.txt": b"two"}
    assert read(f"{url}/run/b é.txt") == b"two"
    with gfile.GFile(f"{url}/run/a.txt", "a") as file:
        file.write("+two")
    assert read(f"{url}/run/a.txt") == b"one+two"
    with gfile.GFile(f"{url}/run/a.txt", "rb") as file:
        assert (file.size(), file.seek(2), file.read(3), file.seek(-1, 2), file.read(9)) == (
            7,
            None,
            b"e+t",
            None,
            b"o",
        )
    write(f"{url}/empty", b"")
    assert (read(f"{url}/empty"), gfile.stat(f"{url}/empty").length) == (b"", 0)
    with pytest.raises(tf.errors.NotFoundError):
        read(f"{url}/none")


def test_an_object_appears_whole_when_its_upload_ends(gcs, gcs_bucket, url):
    file = gfile.GFile(f"{url}/a", "w")
    file.write("one")
    assert contents(gcs_bucket) == {}
    file.flush()
    file.write(" two")
    assert contents(gcs_bucket) == {"a": b"one"}
    file.close()
    assert contents(gcs_bucket) == {"a": b"one two"}

    _, headers, _ = ask(gcs, "POST", f"/upload/storage/v1/b/{gcs_bucket.name}/o?uploadType=resumable&name=b")
    session = headers["Location"]
    ask(gcs, "PUT", session, b"12345", {"Content-Range": "bytes 0-9/10"}, length=10)
    received = None
    while received is None:  # until the server has seen that the connection broke
        status, headers, _ = ask(gcs, "PUT", session, headers={"Content-Range": "bytes */10"})
        received = headers["Range"] if status == 308 else "all"
    assert received == "bytes=0-4"
    assert "b" not in contents(gcs_bucket)
    status, _, answer = ask(gcs, "PUT", session, b"67890", {"Content-Range": "bytes 5-9/10"})
    assert (status, json.loads(answer)["size"], contents(gcs_bucket)["b"]) == (200, "10", b"1234567890")


def test_a_reader_of_what_is_overwritten_sees_the_old_or_the_new(gcs_bucket, url):
    size, seen, is_done = 300_000, set(), threading.Event()
    write(f"{url}/a", b"0" * size)

    def read_on():
        while not is_done.is_set():
            seen.add((gcs_bucket / "a").read_bytes())
            seen.add(read(f"{url}/a"))

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read_on)
        for digit in b"123456789":
            write(f"{url}/a", bytes([digit]) * size)
        is_done.set()
        reading.result()
    assert {len(content) for content in seen} == {size}
    assert all(len(set(content)) == 1 for content in seen)
    assert len(seen) > 1


def test_state_is_length_and_time_of_the_latest_writing(gcs, gcs_bucket, url):
    before = time.time()
    write(f"{url}/a", b"12345")
    first = gfile.stat(f"{url}/a")
    assert (first.length, first.is_directory) == (5, False)
    assert before - 0.001 < first.mtime_nsec / 1e9 < time.time() + 0.001
    write(f"{url}/a", b"123")
    second = gfile.stat(f"{url}/a")
    assert second.length == 3
    assert second.mtime_nsec > first.mtime_nsec
    (gcs_bucket / "a").write_bytes(b"1")  # as another process does; without GCS_STAT_CACHE_MAX_AGE=0 it is not seen
    assert gfile.stat(f"{url}/a").length == 1
    _, _, answer = ask(gcs, "GET", f"/storage/v1/b/{gcs_bucket.name}/o/a")
    assert json.loads(answer)["size"] == "1"
    assert int(json.loads(answer)["generation"]) > second.mtime_nsec // 1000


# --- Folders ---------------------------------------------------------------


@pytest.mark.parametrize("largest_page", [1000, 2])
def test_folders_are_what_names_have_in_common(gcs, gcs_bucket, url, largest_page):
    gcs.largest_page = largest_page
    try:
        for name in ("a/1", "a/2", "a/b/3", "a.txt", "c/4"):
            write(f"{url}/{name}", b"x")
        (gcs_bucket / "left").mkdir()  # from outside, and empty: no object
        assert sorted(gfile.listdir(url)) == ["a.txt", "a/", "c/"]
        assert sorted(gfile.listdir(f"{url}/a")) == ["1", "2", "b/"]
        assert sorted(gfile.glob(f"{url}/a/*")) == [f"{url}/a/1", f"{url}/a/2", f"{url}/a/b"]
        assert [gfile.exists(f"{url}/{name}") for name in ("a", "a/", "a/b", "a/1", "left", "d")] == [1, 1, 1, 1, 0, 0]
        assert [gfile.isdir(f"{url}/{name}") for name in ("", "a", "a/1", "left")] == [True, True, False, False]
        assert (gfile.exists(url), gfile.exists("gs://no-such-bucket")) == (True, False)
        gfile.rmtree(f"{url}/a")
    finally:
        gcs.largest_page = 1000
    assert contents(gcs_bucket) == {"a.txt": b"x", "c/4": b"x"}
    assert not (gcs_bucket / "a").exists()
    assert not gfile.exists(f"{url}/a")
    with pytest.raises(tf.errors.NotFoundError):
        gfile.listdir(f"{url}/a")
    gfile.remove(f"{url}/c/4")
    assert not gfile.exists(f"{url}/c/4")
    with pytest.raises(tf.errors.NotFoundError):
        gfile.remove(f"{url}/c/4")
    for name in ("/a", "../a", "a//b"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"fake: .* is no path"):
            gfile.exists(f"{url}/{name}")


def test_a_folder_that_was_made_is_an_object_until_it_is_removed(gcs, gcs_bucket, url):
    gfile.makedirs(f"{url}/m/n")
    assert gfile.listdir(url) == ["m/"]
    names = [each.name for each in storage.Client().list_blobs(gcs_bucket.name)]
    assert names == ["m/", "m/n/"]
    write(f"{url}/m/n/a", b"x")
    gfile.remove(f"{url}/m/n/a")
    assert (gcs_bucket / "m/n").is_dir()
    gfile.rmtree(f"{url}/m")
    assert list(gcs_bucket.iterdir()) == []


def test_renaming_is_copying_and_removing(gcs, gcs_bucket, url):
    write(f"{url}/d/a", b"x")
    gfile.makedirs(f"{url}/d/e")
    gfile.rename(f"{url}/d", f"{url}/f")
    assert contents(gcs_bucket) == {"f/a": b"x"}
    assert (gcs_bucket / "f/e").is_dir()
    gcs.failures = [("DELETE .*/o/f/a", 403)]
    with pytest.raises(tf.errors.PermissionDeniedError):
        gfile.rename(f"{url}/f/a", f"{url}/g")
    assert contents(gcs_bucket) == {"f/a": b"x", "g": b"x"}


def test_copies_go_up_down_and_across(gcs_bucket, url, tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    gfile.copy(str(tmp_path / "a"), f"{url}/a")
    gfile.copy(f"{url}/a", f"{url}/b")
    gfile.copy(f"{url}/b", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"x" * 3_000_000
    with pytest.raises(tf.errors.AlreadyExistsError):
        gfile.copy(str(tmp_path / "a"), f"{url}/b")


# --- What goes wrong -------------------------------------------------------


@pytest.mark.parametrize("step", ["POST", "PUT"])
def test_a_refused_upload_raises_and_leaves_nothing(gcs, gcs_bucket, url, step, tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    gcs.failures = [(f"{step} .*name=a", 403)] * 3  # once, and twice more while TensorFlow frees the file
    with pytest.raises(tf.errors.PermissionDeniedError, match="on purpose"):
        gfile.copy(str(tmp_path / "a"), f"{url}/a")
    assert (contents(gcs_bucket), gcs.failures) == ({}, ())


def test_what_was_refused_once_may_appear_when_the_file_is_freed(gcs, gcs_bucket, url):
    gcs.failures = [("PUT .*name=a", 403)]
    file = gfile.GFile(f"{url}/a", "w")
    file.write("x")
    with pytest.raises(tf.errors.PermissionDeniedError):
        file.close()
    assert contents(gcs_bucket) == {}
    del file
    gc.collect()
    assert contents(gcs_bucket) == {"a": b"x"}


@pytest.mark.parametrize("failure", [503, LOST, DONE_BUT_LOST])
def test_a_passing_failure_is_overcome(gcs, gcs_bucket, url, failure):
    gcs.failures = [("PUT .*name=a", failure), ("GET .*/a$", failure)]
    write(f"{url}/a", b"12345")
    assert contents(gcs_bucket) == {"a": b"12345"}
    assert read(f"{url}/a") == b"12345"
    assert gcs.failures == ()
    assert len(gcs.asked("POST .*name=a")) == 1  # it is one upload, taken up again


def test_a_lasting_failure_ends_as_aborted(gcs, gcs_bucket, url):
    gcs.failures = [("GET .*/o/a", 503)] * 3
    with pytest.raises(tf.errors.AbortedError, match=r"All 2 retry attempts failed.* 503"):
        gfile.stat(f"{url}/a")
    assert len(gcs.asked("GET .*/o/a")) == 3


def test_tensorflow_swallows_refusals_when_it_looks_for_folders(gcs, gcs_bucket, url):
    write(f"{url}/d/a", b"x")
    refused = ("GET .*/o", 403)
    gcs.failures = [refused]
    with pytest.raises(tf.errors.PermissionDeniedError):
        gfile.exists(f"{url}/d")
    gcs.failures = [refused]
    assert gfile.isdir(f"{url}/d") is False
    gcs.failures = [refused]
    with pytest.raises(tf.errors.NotFoundError, match="Could not find directory"):
        gfile.listdir(f"{url}/d")


def test_requests_are_seen_and_held_up_as_they_come(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    with fake_gcs(tmp_path) as gcs:
        for name, value in gcs.environment.items():
            monkeypatch.setenv(name, value)
        write("gs://bucket/a", b"x")
        gcs.failures = [("GET", Slow(0.2))]
        gcs.on_request = lambda method, path: LOST if len(gcs.requests) == 4 else None
        start = time.monotonic()
        assert read("gs://bucket/a") == b"x"
        assert time.monotonic() - start > 0.2
    assert [method for method, _ in gcs.requests] == ["POST", "PUT", "GET", "GET", "GET"]
    assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


# --- Other clients ---------------------------------------------------------


def test_tensorflow_reads_records_and_writes_summaries(gcs_bucket, url):
    with tf.io.TFRecordWriter(f"{url}/a.tfrecords") as writer:
        for number in range(50):
            writer.write(str(number).encode())
    records = tf.data.TFRecordDataset([f"{url}/a.tfrecords"] * 2, num_parallel_reads=2)
    assert sorted(int(each) for each in records.as_numpy_iterator()) == sorted([*range(50)] * 2)
    with tf.summary.create_file_writer(f"{url}/board").as_default():
        tf.summary.scalar("loss", 0.5, step=7)
        tf.summary.flush()
    (events,) = gfile.glob(f"{url}/board/*")
    assert [each.step for each in tf.compat.v1.train.summary_iterator(events)] == [0, 7]


def test_google_client_shares_the_buckets(gcs, gcs_bucket, url):
    client = storage.Client()
    assert client.lookup_bucket("no-such-bucket") is None
    bucket = client.lookup_bucket(gcs_bucket.name)
    with pytest.raises(api_errors.Conflict):
        client.create_bucket(gcs_bucket.name)
    client.create_bucket(f"{gcs_bucket.name}-2")
    assert gfile.exists(f"gs://{gcs_bucket.name}-2")
    blob = bucket.blob("run/config.yml")
    assert not blob.exists()
    blob.upload_from_string(b"--\r\n\r\ntrain: {}\n\x00\xff\r\n", if_generation_match=0)
    assert read(f"{url}/run/config.yml") == b"--\r\n\r\ntrain: {}\n\x00\xff\r\n"
    with pytest.raises(api_errors.PreconditionFailed):
        blob.upload_from_string(b"other", if_generation_match=0)
    large = bytes(range(250)) * 4_000
    with bucket.blob("large").open("wb", chunk_size=1 << 18) as file:  # a resumable upload of four chunks
        file.write(large)
    assert read(f"{url}/large") == large
    write(f"{url}/run/of-tensorflow", b"x")
    assert bucket.get_blob("run/of-tensorflow").download_as_bytes() == b"x"
    assert bucket.get_blob("large").download_as_bytes(start=2, end=4) == b"\x02\x03\x04"
    assert [each.name for each in client.list_blobs(bucket, prefix="run/")] == ["run/config.yml", "run/of-tensorflow"]
    blob.delete()
    assert bucket.get_blob("run/config.yml") is None
