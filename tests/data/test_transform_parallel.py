"""What a transform writes does not depend on the number of processes, nor on whether it was interrupted."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.transform.run import Filters, transform
from luminoth.errors import DataError, OutputError
from tests.data.source_sets import CAR, Object, Picture, damaged_pictures, picture_bytes, write_set

MANY = 150  # pictures: more than the processes are sent at once, and more than one flush of the journal
SETTINGS = {
    "plain": {},
    "shards": {"shards": 3},
    "filters": {"filters": Filters(only_classes=("car", "bus"), class_examples=40), "max_size": 32},
    "limit": {"filters": Filters(limit_examples=100)},
}


def content(folder):
    """file name -> bytes of everything a run wrote."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pictures():
    """Good ones with damaged ones in between."""
    damaged = damaged_pictures()
    streets = []
    for index in range(MANY):
        labels = ["car"] * (index % 3) + ["bus"] * (index % 7 == 0)
        objects = [Object(label, (float(index % 20), 5.0, 30.0, 25.0)) for label in labels]
        streets.append(Picture(f"{index:03d}.jpg", picture_bytes(), objects))
    return [picture for index, street in enumerate(streets) for picture in (street, *damaged[index : index + 1])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set("csv", tmp_path_factory.mktemp("many") / "set", train=pictures(), val=[pictures()[3]])


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    """name of `SETTINGS` -> what an uninterrupted run in one process writes."""
    found = {}
    for name, settings in SETTINGS.items():
        output = tmp_path_factory.mktemp("whole") / "tf"
        transform(open_reader("csv", folder), output, **settings)
        found[name] = content(output)
    return found


@pytest.mark.parametrize("name", ["filters", "shards"])
def test_processes_do_not_change_what_is_written(folder, expected, name, tmp_path):
    transform(open_reader("csv", folder), tmp_path / "tf", workers=2, **SETTINGS[name])
    assert content(tmp_path / "tf") == expected[name]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_run_goes_on(folder, expected, name, error, tmp_path):
    """Interrupted again and again at random, it ends with the same files as a run that was not."""
    draw = random.Random(f"{name} {error.__name__}")
    interruptions, left = 0, draw.randint(1, 60)

    def stop(split, done, total):
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    while True:
        try:
            report = transform(open_reader("csv", folder), tmp_path / "tf", on_progress=stop, **SETTINGS[name])
            break
        except error:
            assert os.listdir(tmp_path / "tf") == [".partial"]  # nothing in view
            interruptions += 1
            left = 80 * interruptions
    assert interruptions >= 1
    assert report.resumed > 0
    assert content(tmp_path / "tf") == expected[name]


def test_a_run_that_was_killed_goes_on(folder, expected, tmp_path):
    """Not even told, in the middle of a write, with processes of its own."""
    program = (
        "import sys, time\n"
        "from luminoth.data.readers import open_reader\n"
        "from luminoth.data.transform.run import transform\n"
        "def tell(split, done, total):\n"
        "    print(done, flush=True)\n"
        "    time.sleep(0.01)\n"
        "if __name__ == '__main__':\n"
        f"    transform(open_reader('csv', {str(folder)!r}), sys.argv[1], workers=2, shards=3, on_progress=tell)\n"
    )
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path / "tf"], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if int(line) >= 100:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    part = tmp_path / "tf" / ".partial" / "train.part-00001"
    with part.open("ab") as file:
        file.write(b"half a rec")
    with (tmp_path / "tf" / ".partial" / "train.journal").open("ab") as file:
        file.write(b"[123, 4,")
    deadline = time.monotonic() + 10  # its processes end when they find it gone; until then they hold nothing of ours
    while True:
        try:
            report = transform(open_reader("csv", folder), tmp_path / "tf", shards=3)
            break
        except OutputError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert report.resumed >= 64
    assert content(tmp_path / "tf") == expected["shards"]


def interrupt(folder, output, after=MANY // 2, **settings):
    def stop(split, done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transform(open_reader("csv", folder), output, on_progress=stop, **settings)


def test_another_run_does_not_go_on_from_it(folder, expected, tmp_path):
    interrupt(folder, tmp_path / "tf")
    report = transform(open_reader("csv", folder), tmp_path / "tf", shards=3)
    assert report.resumed == 0
    assert content(tmp_path / "tf") == expected["shards"]


def test_annotations_that_changed_are_read_anew(tmp_path):
    folder = write_set("csv", tmp_path / "set", train=pictures())
    interrupt(folder, tmp_path / "tf")
    lines = (folder / "train.csv").read_text(encoding="utf-8").splitlines()
    number = next(index for index, line in enumerate(lines) if line.startswith("010.jpg,10"))
    lines[number] = lines[number].replace("010.jpg,10.0", "010.jpg,11.0")
    (folder / "train.csv").write_text("\n".join(lines), encoding="utf-8")
    report = transform(open_reader("csv", folder), tmp_path / "tf")
    assert report.resumed == 0
    transform(open_reader("csv", folder), tmp_path / "anew")
    assert content(tmp_path / "tf") == content(tmp_path / "anew")


def test_two_runs_do_not_write_to_one_folder(folder, tmp_path):
    def start_another(split, done, total):
        transform(open_reader("csv", folder), tmp_path / "tf")

    with pytest.raises(OutputError, match="tf: another run is writing there; wait for it or stop it"):
        transform(open_reader("csv", folder), tmp_path / "tf", on_progress=start_another)


def test_an_error_of_the_data_leaves_nothing(tmp_path):
    folder = write_set("csv", tmp_path / "set", train=[*pictures(), Picture("gone.jpg", None, [CAR])])
    (folder / "train" / "missing.jpg").write_bytes(picture_bytes())
    with pytest.raises(DataError, match="leave --strict out"):
        transform(open_reader("csv", folder), tmp_path / "deep" / "tf", strict=True, workers=2)
    assert os.listdir(tmp_path) == ["set"]
