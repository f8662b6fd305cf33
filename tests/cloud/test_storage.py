"""Files of a bucket on this machine, through TensorFlow's own client of gs://."""

import json
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from luminoth.config import load_config
from luminoth.data import record_files
from luminoth.data.record_files import count_records, find_records, list_splits, read_classes
from luminoth.data.source import open_source
from luminoth.errors import ConfigError, DataError
from luminoth.storage import (
    copies,
    copies_told,
    download,
    exists,
    is_address,
    join,
    list_names,
    name_of,
    parent_of,
    read_bytes,
    remove,
    stat,
    upload,
    with_addresses,
)
from tests.training.conftest import dataset  # noqa: F401


@pytest.fixture
def bucket(gcs_bucket, monkeypatch, tmp_path):
    """A bucket's folder; nothing is copied from it yet."""
    monkeypatch.setattr(record_files, "local_root", lambda: tmp_path / "copies")
    return gcs_bucket


def test_addresses():
    assert is_address("gs://b/x")
    assert not any(map(is_address, ["b/x", "./gs:/b", Path("gs://b"), None, "s3://b/x"]))
    assert join("gs://b/x/", "y", "z") == "gs://b/x/y/z"
    assert (name_of("gs://b/x/y/"), parent_of("gs://b/x/y/")) == ("y", "gs://b/x")


def test_single_files(bucket, tmp_path):
    (tmp_path / "file").write_bytes(b"content" * 1000)
    address = f"gs://{bucket.name}/a/b.bin"
    assert not exists(address)
    with pytest.raises(FileNotFoundError) as error:
        read_bytes(address)
    assert error.value.filename == address
    upload(tmp_path / "file", address)
    assert (bucket / "a/b.bin").read_bytes() == read_bytes(address) == b"content" * 1000
    assert stat(address).size == 7000
    assert list_names(f"gs://{bucket.name}") == ["a/"]
    assert list_names(f"gs://{bucket.name}/a") == ["b.bin"]
    remove(address)
    remove(address)
    assert (exists(address), list_names(f"gs://{bucket.name}/a")) == (False, [])


def test_a_refusal_says_what_to_do(bucket, gcs, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    address = f"gs://{bucket.name}/x"
    for failing, call in {
        r"POST .*name=x": lambda: upload(tmp_path / "file", address),
        r"GET /storage/.*/o/x": lambda: exists(address),
    }.items():
        gcs.failures = [(failing, 403)] * 3
        with pytest.raises(PermissionError, match="gcloud auth application-default login") as error:
            call()
        assert error.value.filename == address
    gcs.failures = []
    assert not exists(address)


def test_nothing_is_asked_offline(bucket, gcs, monkeypatch):
    monkeypatch.setenv("LUMI_OFFLINE", "1")
    with pytest.raises(OSError, match="LUMI_OFFLINE is set"):
        read_bytes(f"gs://{bucket.name}/x")
    assert not gcs.requests


def test_copies_are_whole_or_absent_and_are_told_of(bucket, gcs, tmp_path):
    for name, size in {"a": 3_000_000, "b": 10, "empty": 0}.items():
        (bucket / name).write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    told = []

    @contextmanager
    def on_copy(what, size):
        told.append((what, size))
        yield told.append

    with copies_told(on_copy):
        download({f"gs://{bucket.name}/{name}": tmp_path / "to" / name for name in ("a", "b", "empty")}, "three")
    assert told[0] == ("three", 3_000_010)
    assert sum(told[1:]) == 3_000_010
    for name in ("a", "b", "empty"):
        assert (tmp_path / "to" / name).read_bytes() == (bucket / name).read_bytes()
        assert (tmp_path / "to" / name).stat().st_mtime_ns == stat(f"gs://{bucket.name}/{name}").modified

    gcs.failures = [(f"GET /{bucket.name}/a", 403)] * 3
    with pytest.raises(PermissionError):
        download({f"gs://{bucket.name}/a": tmp_path / "other"}, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_what_does_not_fit_on_the_disk_is_not_begun(bucket, gcs, tmp_path, monkeypatch):
    (bucket / "a").write_bytes(b"x" * 1000)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 100))
    with pytest.raises(OSError, match=r"0\.0 GB are to be copied to .* set TMPDIR"):
        download({f"gs://{bucket.name}/a": tmp_path / "a"}, "a")
    assert gcs.asked(f"GET /{bucket.name}/a") == []


def test_copies_are_left_for_nobody_but_those_that_are_kept(tmp_path, monkeypatch):
    for name in ("records/a/train.tfrecords", "runs/1/first/state.json", "runs/2/second/state.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    copies._remove_all_but(tmp_path, [tmp_path / "runs/2/second"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["state.json"]
    copies._remove_all_but(tmp_path, [])
    assert not tmp_path.exists()


def test_what_is_asked_to_stop_leaves_nothing(bucket, tmp_path):
    (bucket / "a").write_bytes(b"x" * 100)
    stop = threading.Event()
    stop.set()
    copies._download_one(f"gs://{bucket.name}/a", tmp_path / "a", stat(f"gs://{bucket.name}/a"), print, stop)
    assert list(tmp_path.iterdir()) == []


def test_other_schemes_are_refused():
    for key in ("train.job_dir", "dataset.dir"):
        for place in ("s3://b/jobs", "gs:/b/jobs", "gs:///jobs", "file:/jobs"):
            with pytest.raises(ConfigError, match=f"{key} is '{place}'; accepted: a folder, or an address"):
                load_config([], [f"{key}={place}"])
        for place in ("jobs", "/jobs", "C:/jobs", "gs://b", "a:b"):
            load_config([], [f"{key}='{place}'"])


def test_options_that_write_name_files(lumi):
    status, _, err = lumi("eval", "--checkpoint", "toytown", "--report", "gs://my-bucket/reports/")
    assert (status, "--report gs://my-bucket/reports/: names no file" in err) == (2, True)
    status, _, err = lumi("dataset", "show", "tf", "-d", "gs://my-bucket/sheets")
    assert (status, "gs://my-bucket/sheets is in a bucket; accepted: a path on this machine" in err) == (2, True)


def test_records_are_copied_once(bucket, gcs, dataset):  # noqa: F811
    for name in ("train.tfrecords", "classes.json"):
        shutil.copy(dataset / name, bucket)
    (bucket / "tf").mkdir()
    for index in range(2):
        shutil.copy(dataset / "train.tfrecords", bucket / "tf" / f"val-0000{index}-of-00002.tfrecords")
    address = f"gs://{bucket.name}"
    (file,) = find_records(address, "train")
    assert with_addresses(f"Error: {file}: cut off") == f"Error: {address}/train.tfrecords: cut off"
    assert Path(file).read_bytes() == (dataset / "train.tfrecords").read_bytes()
    assert find_records(f"{address}/", "train") == [file]
    assert len(gcs.asked(rf"GET /{bucket.name}/train\.tfrecords")) == 1
    assert [Path(file).name[:9] for file in find_records(f"{address}/tf", "val")] == ["val-00000", "val-00001"]
    assert read_classes(address) == read_classes(dataset)
    assert (list_splits(address), list_splits(f"{address}/tf")) == (["train"], ["val"])
    source = open_source(address)
    assert (source.image_count("train"), count_records([file])) == (6, 6)


def test_records_that_are_not_there(bucket, gcs, dataset):  # noqa: F811
    address = f"gs://{bucket.name}/tf"
    with pytest.raises(DataError, match=f"{address}: there is nothing at this address"):
        find_records(address, "train")
    with pytest.raises(DataError, match=f"{address}/classes.json: there is no such file"):
        read_classes(address)
    (bucket / "tf").mkdir()
    shutil.copy(dataset / "train.tfrecords", bucket / "tf" / "val-00000-of-00002.tfrecords")
    with pytest.raises(DataError, match=r"missing or too many: val-00001-of-00002\.tfrecords"):
        find_records(address, "val")
    with pytest.raises(DataError, match="there are records of: val"):
        find_records(address, "train")
    gcs.failures = [(r"GET /storage", 403)] * 3
    with pytest.raises(DataError, match=f"{address}.*Cloud Storage refuses"):
        find_records(address, "val")


def test_a_sheet_of_records_in_a_bucket(bucket, dataset, lumi, tmp_path):  # noqa: F811
    for name in ("train.tfrecords", "classes.json"):
        shutil.copy(dataset / name, bucket)
    status, out, _ = lumi("dataset", "show", f"gs://{bucket.name}", "-d", tmp_path / "sheets")
    assert (status, out) == (0, f"{tmp_path}/sheets/{bucket.name}-train.png\n")
    (bucket / "voc").mkdir()
    (bucket / "voc" / "a.xml").write_text("")
    status, _, err = lumi("dataset", "stats", f"gs://{bucket.name}/voc")
    assert (status, "only records are read from a bucket" in err) == (1, True)


def test_an_evaluation_reads_and_writes_files_in_a_bucket(bucket, dataset, lumi):  # noqa: F811
    for name in ("train.tfrecords", "classes.json"):
        shutil.copy(dataset / name, bucket)
    address = f"gs://{bucket.name}"
    found = [{"image_id": "picture-0", "category_id": 1, "bbox": [2.0, 3.0, 14.0, 10.0], "score": 0.5}]
    (bucket / "theirs.json").write_text(json.dumps(found))
    files = ("--report", f"{address}/out/report.html", "--detections", f"{address}/out/again.json")
    data = ("-o", f"dataset.dir={address}", "--split", "train")
    status, _, err = lumi("eval", "--from-detections", f"{address}/theirs.json", *data, *files)
    assert (status, f"Evaluating {address}/theirs.json on train: 6 images" in err) == (0, True)
    assert f"Wrote 1 detections to {address}/out/again.json" in err
    assert json.loads((bucket / "out" / "again.json").read_text()) == found
    report = (bucket / "out" / "report.html").read_text()
    assert f"{address}/theirs.json" in report
    assert "lumi-input" not in report


def test_configuration_files(bucket):
    (bucket / "config.yml").write_bytes(b"\xef\xbb\xbftrain: {batch_size: 3}\n")
    address = f"gs://{bucket.name}/config.yml"
    assert load_config([address]).train.batch_size == 3
    with pytest.raises(ConfigError, match=f"{address}x: there is no such configuration file"):
        load_config([f"{address}x"])
    (bucket / "config.yml").write_text("train: {batch_sizes: 3}\n")
    with pytest.raises(ConfigError, match=rf"{address}:1: train\.batch_sizes"):
        load_config([address])
