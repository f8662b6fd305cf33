"""`lumi dataset transform` as typed: what is printed, the exit status, and what is left on disk."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from luminoth.data.record_files import count_records, find_records, list_splits
from luminoth.image import encode_png
from tests.data.source_sets import damaged_pictures, good_pictures, write_set


@pytest.fixture
def folder(tmp_path):
    return write_set("pascal", tmp_path / "set", train=good_pictures(), val=good_pictures()[:1])


def transform(folder, output, *more, format="pascal"):
    return ("dataset", "transform", "--type", format, "--data-dir", folder, "--output-dir", output, *more)


def test_transform_says_what_it_wrote_and_what_comes_next(lumi, folder, tmp_path):
    status, out, _ = lumi(*transform(folder, tmp_path / "tf", "--split", "train", "--split", "val"))
    assert status == 0
    assert out.splitlines() == [
        f"train: 3 of 3 pictures, 1 of them without objects, 3 boxes -> {tmp_path}/tf/train.tfrecords",
        "  boxes: car 1, person 1, traffic light 1",
        f"val: 1 of 1 pictures, 2 boxes -> {tmp_path}/tf/val.tfrecords",
        "  boxes: car 1, traffic light 1",
        "  no box of: person",
        f"3 classes, in {tmp_path}/tf/classes.json",
        f"  lumi train -c config.yml -o dataset.dir={tmp_path}/tf -o dataset.split=train",
    ]


@pytest.mark.parametrize("format", ["coco", "csv"])
def test_transform_of_other_formats(lumi, format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=good_pictures())
    arguments = ("dataset", "transform", "--type", format, "--data-dir", folder, "--output", tmp_path / "tf")
    status, _, _ = lumi(*arguments, "--only-classes", "car,person")
    assert status == 0
    assert count_records([tmp_path / "tf" / "train.tfrecords"]) == 3


def test_damage_is_one_line_a_kind(lumi, tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=damaged_pictures())
    status, out, _ = lumi(*transform(folder, tmp_path / "tf"))
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("train: 12 of 17 pictures, 1 of them without objects, 12 boxes -> ")
    pictures = folder / "JPEGImages"
    assert f"  pictures dropped: picture missing: 1 ({pictures}/missing.jpg)" in lines
    damaged = ", ".join(str(pictures / f"{name}.jpg") for name in ("cut", "noend", "nothing"))
    assert f"  pictures dropped: picture damaged or cut off: 3 ({damaged})" in lines
    assert "  boxes dropped: inverted box: 1 (Annotations/boxes.xml line 11)" in lines
    assert f"  all of them: {tmp_path}/tf/train.report.json" in lines


def fails(lumi, tmp_path, *arguments, status=1):
    """Runs a command that must fail, in one line, leaving the folder as it was; gives the line."""
    before = sorted(tmp_path.rglob("*"))
    code, out, err = lumi(*arguments)
    assert code == status
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before
    (line,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert err.splitlines()[-1] == line
    return line


def test_missing_folder(lumi, tmp_path):
    line = fails(lumi, tmp_path, *transform(tmp_path / "nowhere", tmp_path / "tf"))
    assert "nowhere: there is no such folder; --data-dir must be the folder with ImageSets/Main/<split>.txt" in line


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("pascal", "looked for ImageSets/Main/<split>.txt or Annotations/*.xml, found notes.txt; the layout must be"),
        ("coco", "looked for annotations/instances_<split>.json and */_annotations.coco.json, found notes.txt"),
        ("csv", "looked for <split>.csv beside a folder <split>/, found notes.txt; the layout must be <split>.csv"),
    ],
)
def test_layout_that_does_not_fit(lumi, tmp_path, format, message):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("")
    assert message in fails(lumi, tmp_path, *transform(tmp_path / "set", tmp_path / "tf", format=format))


def test_wrong_usage_exits_2(lumi, folder, tmp_path):
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", format="voc"), status=2)
    assert "'voc' is not one of auto, pascal, coco, csv, yolo" in line
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", "-o", "one_based"), status=2)
    assert "-o one_based: must be key=value" in line
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", "--only-classes", ","), status=2)
    assert "needs at least one name" in line
    fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", "--limit-examples", "0"), status=2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--split", "test"), "no split test; there are: train, val"),
        (("-o", "one_base=true"), "did you mean one_based?"),
        (
            ("--only-classes", "lorry"),
            "0 of 5 annotations matched; yours: lorry; there are: car, person, traffic light",
        ),
        (("--only-images", "third"), "0 of 4 pictures matched; not there: third; there are: first, second"),
    ],
)
def test_wrong_wishes_exit_1(lumi, folder, tmp_path, more, message):
    assert message in fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", *more))


def test_the_layout_is_recognised_and_said(lumi, tmp_path):
    folder = write_set("coco", tmp_path / "set", train=good_pictures())
    status, out, err = lumi("dataset", "transform", "--data-dir", folder, "--output-dir", tmp_path / "tf")
    assert status == 0
    assert out.startswith("train: 3 of 3 pictures")
    assert err.splitlines()[0] == "Recognised coco: annotations/instances_train2017.json"


def test_shards_in_two_processes(lumi, tmp_path):
    pictures = [replace(good_pictures()[0], name=f"{index}.jpg") for index in range(40)]
    folder = write_set("csv", tmp_path / "set", train=pictures)
    status, out, _ = lumi(*transform(folder, tmp_path / "tf", "--shards", 2, "--workers", 2, format="csv"))
    assert status == 0
    first = tmp_path / "tf" / "train-00000-of-00002.tfrecords"
    assert out.splitlines()[0] == f"train: 40 of 40 pictures, 80 boxes -> 2 shards, {first} ..."
    assert count_records(find_records(tmp_path / "tf", "train")) == 40


def test_one_split_is_divided_on_request(lumi, tmp_path):
    def street(index):
        pixels = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
        encoded = encode_png(np.kron(pixels, np.ones((5, 5, 1), np.uint8)))
        return replace(good_pictures()[0], name=f"{index}.png", encoded=encoded)

    folder = write_set("csv", tmp_path / "set", all=[street(index) for index in range(20)])
    status, _, err = lumi(*transform(folder, tmp_path / "tf", format="csv"))
    assert status == 0
    assert "It is one split; --split-ratio 0.8/0.2 makes train and val of it." in err
    status, _, _ = lumi(*transform(folder, tmp_path / "cut", "--split-ratio", "0.75/0.25", format="csv"))
    assert status == 0
    assert list_splits(tmp_path / "cut") == ["train", "val"]
    assert [count_records(find_records(tmp_path / "cut", split)) for split in ("train", "val")] == [15, 5]
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "no", "--split-ratio", "0.8/0.8", format="csv"))
    assert "--split-ratio 0.8/0.8: the shares must be from 0 to 1 and add up to 1, not 1.6" in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--seed", "3"), "--seed is of no use without --split-ratio"),
        (("--beam-options", "--runner=X"), "--beam-options is of no use with --runner local"),
        (("--runner", "beam", "--workers", "3"), "--workers is of no use with --runner beam"),
    ],
)
def test_options_that_nothing_would_heed(lumi, folder, tmp_path, more, message):
    assert message in fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", *more), status=2)


def test_beam(lumi, folder, tmp_path):
    pytest.importorskip("apache_beam")
    status, out, _ = lumi(*transform(folder, tmp_path / "tf", "--runner", "beam", "--split", "train"))
    assert status == 0
    assert out.startswith("train: 3 of 3 pictures")
    assert count_records(find_records(tmp_path / "tf", "train")) == 3


def test_without_beam(lumi, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "luminoth.data.transform.beam", raising=False)
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", "--runner", "beam"))
    assert 'Apache Beam is not installed; in the source tree: pip install ".[beam]"' in line


def test_strict_names_the_first_fault(lumi, tmp_path):
    folder = write_set("csv", tmp_path / "set", train=damaged_pictures())
    line = fails(lumi, tmp_path, *transform(folder, tmp_path / "tf", "--strict", format="csv"))
    assert "missing.jpg: picture missing" in line


def test_help_is_light_and_names_the_types():
    heavy = ("tensorflow", "keras", "numpy", "PIL", "flask", "av", "google")
    program = (
        "import sys\nfrom luminoth.cli.main import main\n"
        "try: main(['dataset', 'transform', '--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "[auto|pascal|coco|csv|yolo|" in out
    assert out.splitlines()[-1] == "[]"
