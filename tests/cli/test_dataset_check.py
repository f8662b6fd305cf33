"""`lumi dataset check` as typed: what is printed, the JSON, the exit status."""

import json

import pytest

from luminoth.cli.main import main
from luminoth.data.readers import open_reader
from luminoth.data.transform.run import transform
from tests.data.record_sets import example, write_folder
from tests.data.source_sets import Picture, damaged_pictures, good_pictures, picture_bytes, write_set
from tests.data.test_check import car, street


@pytest.fixture
def lumi(capsys, monkeypatch):
    """Runs a command; gives (exit status, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["dataset", "check", *map(str, arguments), "--workers", "1"])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


def good_set(folder):
    pictures = [street(n, *[car(x=2.0 + 16 * k, width=50.0 + k) for k in range(8)]) for n in range(6)]
    return write_set("pascal", folder, train=pictures[:4], val=pictures[4:])


def test_good_data(lumi, tmp_path):
    folder = good_set(tmp_path / "set")
    status, out, err = lumi(folder)
    assert status == 0
    assert err.startswith("Recognised pascal: ")
    assert out.splitlines() == [
        f"{folder}: 6 pictures, 48 objects of 1 classes",
        "",
        "split  pictures  without objects  unusable  objects",
        "-----  --------  ---------------  --------  -------",
        "train         4                0         0       32",
        "val           2                0         0       16",
        "",
        "class  train: objects  in pictures  val: objects  in pictures",
        "-----  --------------  -----------  ------------  -----------",
        "car                32            4            16            2",
        "",
        "Good to train",
    ]


def test_damaged_data(lumi, tmp_path):
    folder = write_set("pascal", tmp_path / "set", train=damaged_pictures(), val=good_pictures())
    status, out, _ = lumi(folder)
    assert status == 0
    lines = out.splitlines()
    assert lines[-1].startswith("Trains, with ")
    place = lines.index("  - pictures dropped: picture damaged or cut off: 3")
    assert lines[place + 1].startswith(f"      {folder}/JPEGImages/cut.jpg: ")
    assert "  - boxes dropped: inverted box: 1" in lines
    assert "      Annotations/boxes.xml line 11: [20, 5, 4, 25]" in lines
    assert lines.index("Worth a look:") < lines.index("Noted:")
    assert "  - changed: picture encoded anew: 5" in lines
    assert all(len(line) <= 100 for line in lines if str(tmp_path) not in line)


def test_many_cases_are_cut_short_and_json_has_them_all(lumi, tmp_path):
    missing = [Picture(f"gone{number}.jpg", None, []) for number in range(7)]
    folder = write_set("pascal", tmp_path / "set", train=[*good_pictures(), *missing])
    status, out, err = lumi(folder, "--json", tmp_path / "report.json")
    assert status == 0
    assert "      ... 4 more" in out.splitlines()
    assert err.endswith(f"\nWrote {tmp_path}/report.json\n")
    report = json.loads((tmp_path / "report.json").read_text())
    (found,) = [each for each in report["concerns"] if each["topic"] == "missing_image"]
    assert (found["count"], len(found["entries"]), found["severity"]) == (7, 7, "worth a look")
    assert found["entries"][0] == {
        "split": "train",
        "image_id": "gone0",
        "where": f"{folder}/JPEGImages/gone0.jpg",
        "detail": "named in Annotations/gone0.xml",
    }
    status, out, err = lumi(folder, "--json", "-")
    assert status == 0
    assert json.loads(out) == report


def test_what_breaks_training_exits_1(lumi, tmp_path):
    folder = write_folder(
        tmp_path / "tf", ["car"], train=[example("a", [(4, 5, 20, 25)], [0], encoded=picture_bytes()[:-2])]
    )
    status, out, _ = lumi(folder)
    assert status == 1
    lines = out.splitlines()
    place = lines.index("Training would break:")
    assert lines[place + 1] == "  - records whose picture TensorFlow cannot decode: 1"
    assert "      train.tfrecords record 1 (a): cut off" in lines
    assert lines[-1].startswith("Training would break: records whose picture TensorFlow cannot decode")
    status, out, _ = lumi(folder, "--json", "-")
    assert status == 1
    assert json.loads(out)["fit_for_training"] is False


def test_what_has_no_object_exits_1(lumi, tmp_path):
    folder = write_set("csv", tmp_path / "set", train=good_pictures()[2:], val=good_pictures())
    status, out, _ = lumi(folder, "--type", "csv", "--split", "train")
    assert status == 1
    assert out.splitlines()[-1] == "Training would learn nothing: there is no object in train"


def test_configuration_says_what_is_trained_on(lumi, tmp_path):
    folder = good_set(tmp_path / "set")
    (tmp_path / "config.yml").write_text("dataset: {split: val}\nmodel: {anchors: {base_size: 4096}}\n")
    status, out, _ = lumi(folder, "-c", tmp_path / "config.yml")
    assert status == 0
    lines = out.splitlines()
    assert lines[4].startswith("val ")  # what is trained on comes first
    assert any("objects too small for the configured anchors" in line for line in lines)
    transform(open_reader("pascal", folder), tmp_path / "tf")
    assert lumi(tmp_path / "tf", "-c", tmp_path / "config.yml")[1].splitlines()[1:] == lines[1:]


def test_wrong_wishes(lumi, tmp_path):
    folder = good_set(tmp_path / "set")
    status, out, err = lumi(folder, "--split", "test")
    assert (status, out) == (1, "")
    assert err.endswith("no split test; there are: train, val\n")
    assert lumi(tmp_path / "nowhere")[0] == 1
    assert lumi(folder, "-o", "one_based")[0] == 2
    assert lumi(folder, "-c", tmp_path / "none.yml")[0] == 1


def test_many_classes_and_splits_stay_short(lumi, tmp_path):
    names = [f"kind {letter * 2}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    pictures = [street(n, *[car(x=2.0 + 5 * n, label=name) for name in names[n:]]) for n in range(20)]
    parts = {f"a_long_split_name_{part}": pictures[part::4] for part in range(4)}
    _, out, _ = lumi(write_set("csv", tmp_path / "set", **parts), "--type", "csv")
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["class", "all:"]]
    assert lines[place + 2].split() == ["kind", "tt", "20", "20"]
    assert lines[place + 12] == "... 6 more ..."
    assert lines[place + 22].split() == ["kind", "aa", "1", "1"]
    assert lines[place + 23] == ""
