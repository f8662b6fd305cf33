import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.report import Finding, Kind
from luminoth.data.transform.run import transform
from luminoth.errors import DataError
from tests.data.source_sets import good_pictures, picture_bytes, write_set


def write(folder, files):
    """Writes text files, and for names of pictures (with any value) a picture."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png"):
            path.write_bytes(picture_bytes())
        else:
            path.write_text(text, "utf-8")
    return folder


def read(folder, split="train", **options):
    return list(open_reader("yolo", folder, options).images(split))


def ids(folder, split="train"):
    return [image.image_id for image in read(folder, split)]


def one_picture(folder, labels, description="train: images/train\nnames: [car, bus]\n"):
    files = {"images/train/a.jpg": "", "labels/train/a.txt": labels, "data.yaml": description}
    return write(folder, files)


# --- Label files ------------------------------------------------------------


def test_boxes_are_centres_and_sizes(tmp_path):
    (image,) = read(one_picture(tmp_path, "1 0.5 0.25 0.2 0.1\n\n0\t0.5  0.5 1 1"))
    assert image.relative
    assert [box.label for box in image.boxes] == ["bus", "car"]
    assert image.boxes[0].corners == pytest.approx((0.4, 0.2, 0.6, 0.3))
    assert image.boxes[1].corners == (0, 0, 1, 1)
    assert [box.where for box in image.boxes] == ["labels/train/a.txt line 1", "labels/train/a.txt line 3"]


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ("0.1 0.2 0.5 0.3 0.4 0.9", (0.1, 0.2, 0.5, 0.9)),  # a triangle
        ("0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5", (0.1, 0.1, 0.9, 0.9)),  # an oriented box
        ("nan 0.2 0.5 0.3 0.4 0.9", (math.nan,) * 4),
    ],
)
def test_outlines_become_their_boxes(tmp_path, points, box):
    (image,) = read(one_picture(tmp_path, f"0 {points}\n"))
    assert image.boxes[0].corners == pytest.approx(box, nan_ok=True)


@pytest.mark.parametrize("line", ["0", "0 0.5 0.5 0.5", "0 0.1 0.1 0.2 0.2 0.9", "0 1 2 3 4 5 6 7", "car"])
def test_lines_that_are_no_box_are_found(tmp_path, line):
    finding, image = read(one_picture(tmp_path, f"1 0.5 0.5 0.1 0.1\n{line}\n"))
    assert (finding.kind, finding.where) == (Kind.UNREADABLE_BOX, "labels/train/a.txt line 2")
    assert finding.detail == f"{len(line.split())} columns: {line}"
    assert len(image.boxes) == 1
    report = transform(open_reader("yolo", tmp_path), tmp_path / "tf").splits[0]
    assert (report.boxes_found, report.boxes_written, report.boxes_dropped) == (2, 1, 1)


def test_words_in_place_of_numbers_and_unknown_classes(tmp_path):
    (image,) = read(
        one_picture(tmp_path, "0 x 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n1.0 0.5 0.5 0.1 0.1\nvan 0 0 1 1\n-1 0 0 1 1")
    )
    assert [box.label for box in image.boxes] == ["car", "class 7", "bus", "class van", "class -1"]
    assert math.isnan(image.boxes[0].corners[0])
    findings = transform(open_reader("yolo", tmp_path), tmp_path / "tf").splits[0].by_kind()
    assert [finding.where for finding in findings[Kind.NOT_A_NUMBER]] == ["labels/train/a.txt line 1"]
    assert [finding.detail for finding in findings[Kind.UNKNOWN_CLASS]] == ["'class 7'", "'class van'", "'class -1'"]


def test_points_of_poses_are_left_out(tmp_path):
    description = "train: images/train\nnames: [person]\nkpt_shape: [2, 3]\n"
    (image,) = read(one_picture(tmp_path, "0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.9 0.9 1\n", description))
    assert image.boxes[0].corners == pytest.approx((0.4, 0.4, 0.6, 0.6))


def test_pictures_without_labels_are_negatives(tmp_path):
    folder = one_picture(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    write(folder, {"images/train/b.jpg": "", "images/train/c.png": "", "labels/train/c.txt": "\n"})
    images = read(folder)
    assert [(image.image_id, len(image.boxes)) for image in images] == [("a.jpg", 1), ("b.jpg", 0), ("c.png", 0)]
    assert all(image.findings == () for image in images)


def test_a_split_without_any_label_file_is_not_annotated(tmp_path):
    folder = one_picture(tmp_path, "", "train: images/train\ntest: images/test\nnames: [car]\n")
    write(folder, {"images/test/a.jpg": ""})
    assert read(folder, "test") == [Finding(Kind.MISSING_ANNOTATION, "a.jpg", "labels/test/a.txt")]


def test_labels_without_a_picture_are_missing_pictures(tmp_path):
    folder = one_picture(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    write(folder, {"labels/train/deep/b.txt": "0 0.5 0.5 0.1 0.1\n", "labels/train/classes.txt": "car\nbus\n"})
    _, missing = read(folder)
    assert missing.path == folder / "images" / "train" / "deep" / "b.jpg"
    assert (missing.image_id, missing.where, len(missing.boxes)) == ("deep/b.jpg", "labels/train/deep/b.txt", 1)
    report = transform(open_reader("yolo", folder), folder / "tf").splits[0]
    assert [finding.image_id for finding in report.by_kind()[Kind.MISSING_IMAGE]] == ["deep/b.jpg"]


def test_names_that_differ_only_in_case(tmp_path):
    files = {f"images/train/{name}": "" for name in ("A.jpg", "a.jpg", "B.JPG")}
    labels = {"labels/train/A.txt": "0 0.5 0.5 0.1 0.1\n", "labels/train/b.txt": "0 0.5 0.5 0.1 0.1\n"}
    folder = write(tmp_path, {**files, **labels, "data.yaml": "train: images/train\nnames: [car]\n"})
    images = {image.image_id: image for image in read(folder)}
    assert {name: len(image.boxes) for name, image in images.items()} == {"A.jpg": 1, "B.JPG": 1, "a.jpg": 0}
    assert [finding.kind for finding in images["B.JPG"].findings] == [Kind.OTHER_NAME]


def test_label_files_named_after_the_whole_file(tmp_path):
    folder = one_picture(tmp_path, "")
    (folder / "labels" / "train" / "a.txt").rename(folder / "labels" / "train" / "a.jpg.txt")
    (folder / "labels" / "train" / "a.jpg.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (image,) = read(folder)
    assert (len(image.boxes), image.findings) == (1, ())


def test_label_files_that_are_no_text(tmp_path):
    folder = one_picture(tmp_path, "")
    (folder / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    (finding,) = read(folder)
    assert (finding.kind, finding.where) == (Kind.DAMAGED_ANNOTATION, "labels/train/a.txt")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30), max_size=5))
def test_every_line_is_a_box_or_a_finding(tmp_path_factory, lines):
    folder = one_picture(tmp_path_factory.mktemp("yolo"), "\n".join(lines))
    *findings, image = read(folder)
    written = [line for line in "\n".join(lines).splitlines() if line.strip()]
    assert isinstance(image, AnnotatedImage)
    assert all(finding.kind is Kind.UNREADABLE_BOX for finding in findings)
    assert len(image.boxes) + len(findings) == len(written)


# --- data.yaml ------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [car, bus]", ["car", "bus"]),
        ("names:\n  0: car\n  1: bus", ["car", "bus"]),
        ("names:\n  5: bus\n  0: car", ["car", "bus"]),
        ("names: ['no', no, 3]", ["no", "3"]),
        ("nc: 2", ["class 0", "class 1"]),
    ],
)
def test_names(tmp_path, names, expected):
    folder = one_picture(tmp_path, "", f"train: images/train\n{names}\n")
    assert open_reader("yolo", folder).classes(["train"]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [", r"data\.yaml: cannot be read as YAML"),
        ("- car", r"data\.yaml: must be a mapping with names, train and val; found a list"),
        ("names: car", r"data\.yaml: names: must be a list of names, or a mapping .*; found 'car'"),
        ("names: [[car]]", r"data\.yaml: names: must be a list of names"),
        ("names: {car: 0}", r"data\.yaml: names: must be a list of names"),
        ("train: {a: b}", r"data\.yaml: train: must be a path or a list of paths"),
    ],
)
def test_descriptions_that_cannot_be_read(tmp_path, text, message):
    folder = one_picture(tmp_path, "", text)
    with pytest.raises(DataError, match=message):
        open_reader("yolo", folder).splits()


def test_without_any_name(tmp_path):
    folder = one_picture(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    (folder / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"no names of classes; .*-o classes=car,person"):
        open_reader("yolo", folder).classes(["train"])
    reader = open_reader("yolo", folder, {"classes": "bus,car"})
    assert reader.classes(["train"]) == ["bus", "car"]
    assert next(reader.images("train")).boxes[0].label == "bus"
    write(folder, {"labels/classes.txt": "car\n\nvan\n"})
    assert open_reader("yolo", folder).classes(["train"]) == ["car", "van"]


def test_class_lists_do_not_rename_what_is_named(tmp_path):
    reader = open_reader("yolo", one_picture(tmp_path, "0 0.5 0.5 0.1 0.1\n"), {"classes": "bus,car"})
    assert reader.classes(["train"]) == ["bus", "car"]
    assert next(reader.images("train")).boxes[0].label == "car"


def test_other_descriptions_are_found_or_chosen(tmp_path):
    folder = one_picture(tmp_path, "")
    (folder / "data.yaml").rename(folder / "coco8.yaml")
    (folder / "config.yml").write_text("train:\n  run_name: a\n")  # one of ours, not a description
    assert open_reader("yolo", folder).classes(["train"]) == ["car", "bus"]
    (folder / "other.yaml").write_text("train: images/train\nnames: [van]\n")
    with pytest.raises(DataError, match=r"coco8\.yaml, other\.yaml: choose one with -o data="):
        open_reader("yolo", folder).splits()
    assert open_reader("yolo", folder, {"data": "other.yaml"}).classes(["train"]) == ["van"]
    with pytest.raises(DataError, match=r"-o data=nowhere\.yaml: .*there is no such file"):
        open_reader("yolo", folder, {"data": "nowhere.yaml"}).splits()


# --- Where pictures and labels are ------------------------------------------------------------

LABEL = "0 0.5 0.5 0.1 0.1\n"


@pytest.mark.parametrize(
    ("description", "files"),
    [
        ("path: /somewhere/else/set\ntrain: images/train", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("path: ../datasets/set\ntrain: images/train", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("path: .\ntrain: ./images/train/", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("path: inner\ntrain: images/train", ["inner/images/train/a.jpg", "inner/labels/train/a.txt"]),
        ("train: /content/set/images/train", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("train: C:\\\\sets\\\\set\\\\images\\\\train", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("train: ../train/images", ["train/images/a.jpg", "train/labels/a.txt"]),
        ("train: train", ["train/images/a.jpg", "train/labels/a.txt"]),
        ("train: train", ["train/a.jpg", "train/a.txt"]),
        ("train: images", ["images/a.jpg", "labels/a.txt"]),
        ("train: images/train", ["images/train/a.jpg", "images/train/a.txt"]),
        ("train: .", ["images/a.jpg", "labels/a.txt"]),
        ("train: list.txt", ["images/a.jpg", "labels/a.txt", "list.txt=./images/a.jpg"]),
        ("train: lists/list.txt", ["images/a.jpg", "labels/a.txt", "lists/list.txt=/home/other/images/a.jpg\n\n"]),
        ("path: inner\ntrain: list.txt", ["inner/images/a.jpg", "inner/labels/a.txt", "inner/list.txt=images/a.jpg"]),
        ("val: elsewhere", ["train/images/a.jpg", "train/labels/a.txt"]),  # nothing of it there: folders decide
        ("", ["images/train/a.jpg", "labels/train/a.txt"]),
    ],
)
def test_pictures_and_their_labels_are_found(tmp_path, description, files):
    named = dict(entry.partition("=")[::2] for entry in files)
    texts = {name: text or LABEL for name, text in named.items()}
    folder = write(tmp_path / "set", {**texts, "data.yaml": f"{description}\nnames: [car]\n"})
    (image,) = read(folder)
    assert image.path.samefile(folder / next(name for name in files if name.endswith("a.jpg")))
    assert len(image.boxes) == 1
    assert image.findings == ()


def test_pictures_outside_of_the_folder(tmp_path):
    write(tmp_path / "elsewhere" / "images", {"images/a.jpg": "", "labels/a.txt": LABEL})
    description = f"path: {tmp_path / 'elsewhere' / 'images'}\ntrain: images\nnames: [car]\n"
    (image,) = read(write(tmp_path / "set", {"data.yaml": description}))
    assert (image.image_id, len(image.boxes)) == ("a.jpg", 1)


def test_a_folder_called_images_above_the_set_does_not_count(tmp_path):
    folder = one_picture(tmp_path / "images" / "set", LABEL)
    (image,) = read(folder)
    assert len(image.boxes) == 1


def test_lists_of_folders(tmp_path):
    parts = {f"images/{part}/a.jpg": "" for part in "xy"} | {f"labels/{part}/a.txt": LABEL for part in "xy"}
    folder = write(tmp_path, {**parts, "data.yaml": "train: [images/x, images/y, images/z]\nnames: [car]\n"})
    absent, *images = read(folder)
    assert absent == Finding(Kind.MISSING_SPLIT, "", "data.yaml train: images/z")
    assert [image.image_id for image in images] == ["images/x/a.jpg", "images/y/a.jpg"]
    assert [len(image.boxes) for image in images] == [1, 1]


def test_lists_of_pictures(tmp_path):
    lines = "images/a.jpg\nimages/b.jpg\nimages/missing.jpg\nimages/a.jpg\n"
    files = {"images/a.jpg": "", "images/B.JPG": "", "images/c.jpg": "", "labels/a.txt": LABEL, "list.txt": lines}
    folder = write(tmp_path, {**files, "data.yaml": "train: list.txt\nnames: [car]\n"})
    assert ids(folder) == ["images/a.jpg", "images/B.JPG", "images/missing.jpg", "images/a.jpg"]
    assert [finding.kind for finding in read(folder)[1].findings] == [Kind.OTHER_NAME]
    assert open_reader("yolo", folder).image_count("train") == 4
    report = transform(open_reader("yolo", folder), tmp_path / "tf").splits[0]
    assert (report.images_found, report.images_written) == (4, 2)
    assert set(report.by_kind()) == {Kind.MISSING_IMAGE, Kind.DUPLICATE_ID, Kind.OTHER_NAME}


def test_splits_that_are_described_but_not_there(tmp_path):
    folder = one_picture(tmp_path, LABEL, "train: images/train\nval: ../valid/images\ntest:\nnames: [car]\n")
    assert open_reader("yolo", folder).splits() == ["train", "val"]
    assert read(folder, "val") == [Finding(Kind.MISSING_SPLIT, "", "data.yaml val: ../valid/images")]
    report = transform(open_reader("yolo", folder), tmp_path / "tf")
    assert [(split.images_written, len(split.findings)) for split in report.splits] == [(1, 0), (0, 1)]
    with pytest.raises(
        DataError, match=r"data\.yaml names \.\./valid/images for val, which is not there; there are: train"
    ):
        open_reader("yolo", folder).check_splits(["train", "val"])


def test_splits_of_the_authors_own(tmp_path):
    files = {f"images/{split}/{split}.jpg": "" for split in ("train", "night")}
    text = "train: images/train\nnight: images/night\nsame: images/train\nlicense: MIT\nroot: images\nnames: [car]\n"
    labels = {f"labels/{split}/{split}.txt": "0 0.5 0.5 1 1" for split in ("train", "night")}
    write(tmp_path, {**files, **labels, "data.yaml": text})
    assert open_reader("yolo", tmp_path).splits() == ["train", "night"]
    assert ids(tmp_path, "night") == ["night.jpg"]


def test_texts_beside_pictures_are_labels_only_when_they_look_so(tmp_path):
    texts = {
        "a.txt": LABEL,
        "b.txt": "",
        "README.txt": "About these pictures.\n",
        "classes.txt": "car\n",
        "c.txt": LABEL,
    }
    folder = write(tmp_path, {"a.jpg": "", "b.jpg": "", **texts})
    images = read(folder, "all")
    assert [(image.image_id, len(image.boxes)) for image in images] == [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 1)]
    assert not images[2].path.exists()


def test_counts(tmp_path):
    folder = write_set("yolo", tmp_path, train=good_pictures(), val=good_pictures()[:1])
    reader = open_reader("yolo", folder)
    assert [reader.image_count(split) for split in reader.splits()] == [3, 1]


def test_layout_that_does_not_fit(tmp_path):
    write(tmp_path, {"a.jpg": "", "a.txt": LABEL})
    with pytest.raises(
        DataError, match=r"looked for data\.yaml, images/ and labels/, .*found a\.jpg, a\.txt; the layout"
    ):
        open_reader("yolo", tmp_path).splits()
