import csv
import io
import json
import os
import resource
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.errors import OutputError
from luminoth.inference.results import (
    CocoResults,
    Csv,
    JsonDocument,
    JsonLines,
    ResultFile,
    ResultStream,
    format_name,
)
from luminoth.inference.resume import read_earlier

CAR = {"bbox": [1, 2, 3, 5], "label": "car", "prob": 0.5}
BUS = {"bbox": [0, 0, 9, 9], "label": "bus, red", "prob": 0.25}
RECORDS = [
    {"file": "ä.jpg", "objects": [CAR, BUS]},
    {"file": "b.jpg", "objects": []},
    {"file": "v/000139.mp4", "frame": 0, "time": 0.0, "objects": [CAR]},
    {"file": "v/000139.mp4", "frame": 1, "time": 0.04, "objects": []},
]
FORMATS = {"jsonl": JsonLines, "json": JsonDocument, "csv": Csv}


def write(path, written, records=RECORDS, error=None, keep=None):
    with ResultFile(path, written, keep) as results:
        for record in records:
            results.write(record)
        if error is not None:
            raise error


def records_in(path, name):
    """What another program reads: each format by a reader that knows nothing of ours."""
    text = path.read_text(encoding="utf-8")
    if name == "json":
        return json.loads(text)
    if name == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    found = []
    for row in csv.DictReader(io.StringIO(text)):
        place = {"file": row["file"]}
        if row["frame"]:
            place |= {"frame": int(row["frame"]), "time": float(row["time"])}
        if not found or {**found[-1], "objects": None} != {**place, "objects": None}:
            found.append({**place, "objects": []})
        if row["label"]:
            bbox = [int(row[key]) for key in ("x_min", "y_min", "x_max", "y_max")]
            found[-1]["objects"].append({"bbox": bbox, "label": row["label"], "prob": float(row["prob"])})
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(tmp_path, name):
    path = tmp_path / "new" / f"objects.{name}"
    write(path, FORMATS[name]())
    assert records_in(path, name) == RECORDS
    assert os.listdir(path.parent) == [path.name]
    written = []
    with ResultStream(written.append, FORMATS[name]()) as results:
        for record in RECORDS:
            results.write(record)
    assert "".join(written).encode() == path.read_bytes()
    assert format_name(path) == name


def test_as_text(tmp_path):
    write(tmp_path / "a.csv", Csv(), RECORDS[1:3])
    assert (tmp_path / "a.csv").read_text() == (
        "file,frame,time,label,prob,x_min,y_min,x_max,y_max\n"
        "b.jpg,,,,,,,,\n"
        "v/000139.mp4,0,0.0,car,0.5,1,2,3,5\n"
    )  # fmt: skip
    write(tmp_path / "a.json", JsonDocument(), RECORDS[1:3])
    assert (tmp_path / "a.json").read_text() == (
        '[\n{"file": "b.jpg", "objects": []},\n'
        '{"file": "v/000139.mp4", "frame": 0, "time": 0.0, '
        '"objects": [{"bbox": [1, 2, 3, 5], "label": "car", "prob": 0.5}]}\n]\n'
    )
    tracked = {"file": "a.jpg", "objects": [{**CAR, "track": 7}]}
    write(tmp_path / "b.csv", Csv(["track"]), [tracked])
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "a.jpg,,,car,0.5,7,1,2,3,5"


def test_coco(tmp_path):
    path = tmp_path / "coco.json"
    write(path, CocoResults(["bus, red", "car"]), [*RECORDS, {"file": "x/000000000139.jpg", "objects": [CAR]}])
    entries = json.loads(path.read_text())
    assert [(each["image_id"], each["category_id"], each["bbox"], each["score"]) for each in entries] == [
        ("ä", 2, [1, 2, 2, 3], 0.5),
        ("ä", 1, [0, 0, 9, 9], 0.25),
        ("000139_000000", 2, [1, 2, 2, 3], 0.5),
        (139, 2, [1, 2, 2, 3], 0.5),
    ]
    assert (entries[0]["file_name"], entries[1]["category_name"]) == ("ä.jpg", "bus, red")


@pytest.mark.parametrize("written", [JsonDocument(), CocoResults(["car"])])
def test_nothing_found_is_a_document_too(tmp_path, written):
    write(tmp_path / "a.json", written, [])
    assert json.loads((tmp_path / "a.json").read_text()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_whole_after_each_record(tmp_path, name):
    """So a process that is killed leaves a file that can be read."""
    path = tmp_path / f"a.{name}"
    with ResultFile(path, FORMATS[name]()) as results:
        for count, record in enumerate(RECORDS, start=1):
            results.write(record)
            assert records_in(path, name) == RECORDS[:count]


def test_an_earlier_file_stays_until_there_is_something_new(tmp_path):
    path = tmp_path / "objects.json"
    path.write_text("before")
    with pytest.raises(ValueError, match="mine"):
        write(path, JsonDocument(), [], ValueError("mine"))
    assert path.read_text() == "before"
    with pytest.raises(ValueError, match="mine"):
        write(path, JsonDocument(), RECORDS[:1], ValueError("mine"))
    assert records_in(path, "json") == RECORDS[:1]
    with pytest.raises(ValueError, match="mine"):
        write(tmp_path / "new.json", JsonDocument(), [], ValueError("mine"))
    assert os.listdir(tmp_path) == ["objects.json"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest.jsonl").symlink_to("runs/1.jsonl")
    write(tmp_path / "latest.jsonl", JsonLines())
    assert (tmp_path / "latest.jsonl").is_symlink()
    assert records_in(tmp_path / "runs" / "1.jsonl", "jsonl") == RECORDS


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """So are devices: `-f /dev/stdout`, and `-f /dev/null` by someone who may replace that."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, JsonDocument())
    reader.join(timeout=10)
    assert json.loads(read[0]) == RECORDS
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        ResultFile(tmp_path, JsonLines())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/objects\.json: cannot be written"):
        ResultFile(tmp_path / "file" / "objects.json", JsonLines())


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_what_was_whole(tmp_path, name):
    path, many = tmp_path / f"a.{name}", RECORDS * 100
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4001, before[1]))  # as a full disk, it takes a part of a record
    try:
        with pytest.raises(OutputError, match=rf"a\.{name}: cannot be written \(File too large\)"):
            write(path, FORMATS[name](), many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size > 3500
    found = records_in(path, name)
    assert found == many[: len(found)]


# --- Resuming ------------------------------------------------------------------------------------------------


def go_on(path, name, earlier):
    """What a run does that finds `earlier`."""
    left = [record for record in RECORDS if record["file"] not in earlier.files]
    write(path, FORMATS[name](), left, keep=(earlier.keep_bytes, earlier.has_records))


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_resumed_anywhere_it_becomes_what_it_would_have_been(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("resume") / f"a.{name}"
    write(path, FORMATS[name](), RECORDS)
    whole = path.read_bytes()
    cut = data.draw(st.integers(len(whole.splitlines(keepends=True)[0]), len(whole)))
    path.write_bytes(whole[:cut])
    earlier = read_earlier(path, name)
    if earlier is not None:
        go_on(path, name, earlier)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_last_video_is_done_again_unless_it_is_whole(tmp_path, name):
    path = tmp_path / f"a.{name}"
    assert read_earlier(path, name) is None
    write(path, FORMATS[name](), RECORDS)
    earlier = read_earlier(path, name)
    assert earlier.files == {"ä.jpg", "b.jpg"}
    if name != "csv":  # where it is always done again: rows may be missing
        assert (earlier.unfinished, earlier.last_frame) == ("v/000139.mp4", 1)
        earlier = earlier.with_unfinished()
        assert (earlier.files, earlier.unfinished) == ({"ä.jpg", "b.jpg", "v/000139.mp4"}, None)
    whole = path.read_bytes()
    go_on(path, name, earlier)
    assert path.read_bytes() == whole
    write(path, FORMATS[name](), [*RECORDS, RECORDS[0]])  # something came behind the video, so it was whole
    assert read_earlier(path, name).files == {"ä.jpg", "b.jpg", "v/000139.mp4"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("json", '{"file": "a.jpg"}\n'),
        ("json", '[\n  {\n    "file": "a.jpg"\n  }\n]\n'),
        ("json", '[{"file": "a.jpg", "objects": []}]'),
        ("jsonl", "my notes\n"),
        ("jsonl", '{"file": "a.jpg", "objects": []}\nmy notes\n{"file": "a.jpg", "objects": []}\n'),
        ("csv", "name,label\na,b\n"),
    ],
)
def test_a_file_of_another_form_is_not_touched(tmp_path, name, content):
    path = tmp_path / "a"
    path.write_text(content)
    with pytest.raises(OutputError, match=r"a: line [12] is not what `lumi predict` writes, so nothing can be resumed"):
        read_earlier(path, name)
    assert path.read_text() == content
