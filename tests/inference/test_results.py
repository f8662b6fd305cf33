import json
import os
import threading

import pytest

from luminoth.errors import OutputError
from luminoth.inference.results import ResultFile, ResultStream

RECORD = {"file": "a.jpg", "objects": [{"bbox": [1, 2, 3, 4], "label": "façade", "prob": 0.5}]}


def write(path, error=None):
    with ResultFile(path) as results:
        results.write(RECORD)
        assert not path.is_file() or path.read_text() == "before"
        if error is not None:
            raise error
        results.write({"file": "b.jpg", "objects": []})


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "objects.json"
    write(path)
    assert lines(path.read_text()) == [RECORD, {"file": "b.jpg", "objects": []}]
    assert os.listdir(path.parent) == ["objects.json"]


def test_ctrl_c_keeps_what_is_done(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "objects.json", KeyboardInterrupt())
    assert lines((tmp_path / "objects.json").read_text()) == [RECORD]


def test_an_error_leaves_the_earlier_file(tmp_path):
    (tmp_path / "objects.json").write_text("before")
    with pytest.raises(ValueError, match="mine"):
        write(tmp_path / "objects.json", ValueError("mine"))
    assert (tmp_path / "objects.json").read_text() == "before"
    assert os.listdir(tmp_path) == ["objects.json"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest.json").symlink_to("runs/1.json")
    write(tmp_path / "latest.json")
    assert (tmp_path / "latest.json").is_symlink()
    assert len(lines((tmp_path / "runs" / "1.json").read_text())) == 2


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """So are devices: `-f /dev/stdout`, and `-f /dev/null` by someone who may replace that."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join(timeout=10)
    assert len(lines(read[0])) == 2
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        ResultFile(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/objects\.json: cannot be written"):
        ResultFile(tmp_path / "file" / "objects.json")


def test_a_stream_gets_each_line_at_once():
    written = []
    with ResultStream(written.append) as results:
        results.write(RECORD)
        assert lines(written[0]) == [RECORD]
        assert written[0].isascii()
