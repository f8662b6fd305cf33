import json
import resource
import signal

import pytest

from luminoth.errors import OutputError
from luminoth.training.watching.metrics_log import MetricsLog
from luminoth.training.watching.whole_appends import WholeAppends


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write(folder, from_step, *steps):
    with MetricsLog(folder, from_step) as log:
        for step in steps:
            log.write("train", step, step / 4, {"total_loss": 1.0 / 3, "rate": None, "norm": float("nan")})


def test_each_point_is_a_line(tmp_path):
    write(tmp_path / "run", 0, 10)
    with MetricsLog(tmp_path / "run", 10) as log:
        log.write("val", 10, 2.5, {"AP": 0.5})
    first, second = lines_of(tmp_path / "run")
    assert list(first) == ["kind", "step", "epoch", "time", "total_loss", "rate", "norm"]
    assert (first["kind"], first["step"], first["epoch"]) == ("train", 10, 2.5)
    assert (first["total_loss"], first["rate"], first["norm"]) == (0.3333333, None, None)
    assert first["time"].endswith("+00:00")
    assert {name: second[name] for name in ("kind", "step", "AP")} == {"kind": "val", "step": 10, "AP": 0.5}


def test_a_line_is_on_the_disk_at_once(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write("train", 1, 0.1, {})
        assert [line["step"] for line in lines_of(tmp_path)] == [1]


def test_a_resumed_run_has_each_step_once(tmp_path):
    write(tmp_path, 0, 10, 20, 30, 40)
    write(tmp_path, 20, 30, 40)  # the newest checkpoint was that of step 20
    assert [line["step"] for line in lines_of(tmp_path)] == [10, 20, 30, 40]
    write(tmp_path, 40, 50)
    assert [line["step"] for line in lines_of(tmp_path)] == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("rest", ['{"kind": "train", "st', '{"kind": "train", "step": 15}', "\n", "null\n"])
def test_half_a_line_of_a_killed_run_is_dropped(tmp_path, rest):
    write(tmp_path, 0, 10)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    write(tmp_path, 20, 30)
    assert [line["step"] for line in lines_of(tmp_path)] == [10, 30]


def test_nothing_is_written_without_a_folder():
    with MetricsLog(None, 0) as log:
        log.write("train", 1, 0.1, {"total_loss": 1.0})


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/metrics.jsonl: cannot be written \(.*\)"):
        MetricsLog(tmp_path / "file", 0)


def test_what_does_not_fit_on_the_disk_is_taken_back(tmp_path):
    """A limit of this process on the size of files stands for the disk."""
    path = tmp_path / "file"
    file = WholeAppends(path)
    file.append(b"whole\n")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        with pytest.raises(OSError, match="too large"):
            file.append(b"half of it\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"whole\n"
    file.append(b"again\n")
    file.close()
    assert path.read_bytes() == b"whole\nagain\n"
