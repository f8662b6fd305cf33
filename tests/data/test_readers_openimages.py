import pytest

from luminoth.data.readers import fetch
from luminoth.data.readers.checks import make_example
from luminoth.data.readers.openimages import OpenImagesReader
from luminoth.data.report import Kind
from luminoth.data.transform.run import transform
from luminoth.data.transform.selection import Filters
from luminoth.errors import DataError
from luminoth.web import RequestError
from tests.data.source_sets import picture_bytes

CLASSES = "/m/0k4j,Car\n/m/01g317,Person\n/m/015qff,Traffic light\n"
HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def line(image_id, label="/m/0k4j", sides="0.125,0.5,0.25,0.75", truncated=0, group=0):
    """`sides` are XMin,XMax,YMin,YMax."""
    return f"{image_id},xclick,{label},1,{sides},0,{truncated},{group},0,0\n"


def label(image_id, confidence, label="/m/0k4j"):
    return f"{image_id},verification,{label},{confidence}\n"


@pytest.fixture
def write(tmp_path):
    """Writes a set of boxes, and of labels if there are any; returns its folder."""

    def run(*boxes, labels=(), classes=CLASSES):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "class-descriptions-boxable.csv").write_text(classes, "utf-8")
        (tmp_path / "train" / "train-annotations-bbox.csv").write_text(HEADER + "".join(boxes), "utf-8")
        if labels:
            text = "ImageID,Source,LabelName,Confidence\n" + "".join(labels)
            (tmp_path / "train" / "train-annotations-human-imagelabels-boxable.csv").write_text(text, "utf-8")
        return tmp_path

    return run


def walk(folder, **options):
    return list(OpenImagesReader(folder, options).images("train"))


def said(items):
    """(image id, kind, line) of findings; (image id, number of boxes) of pictures."""
    return [
        (item.image_id, item.kind, int(item.where.rpartition(" ")[2]))
        if hasattr(item, "kind")
        else (item.image_id, len(item.boxes))
        for item in items
    ]


def test_values(write):
    folder = write(
        line("00a1", truncated=1),
        line("00a1", "/m/015qff", "0,1,0.5,1", truncated=-1),
        line("00b2", "/m/01g317"),
    )
    first, second = walk(folder)
    assert (first.image_id, second.image_id, first.relative) == ("00a1", "00b2", True)
    assert [box.corners for box in first.boxes] == [(0.125, 0.25, 0.5, 0.75), (0, 0.5, 1, 1)]
    assert [box.label for box in first.boxes] == ["Car", "Traffic light"]
    assert [box.is_truncated for box in first.boxes] == [True, False]
    assert [box.where for box in first.boxes] == [f"train/train-annotations-bbox.csv line {n}" for n in (2, 3)]
    assert second.where == "train/train-annotations-bbox.csv line 4"
    (folder / "train" / "00a1.jpg").write_bytes(picture_bytes())  # 40 x 30 (width x height)
    example = make_example(first, {"Car": 0, "Traffic light": 1}).example
    assert example.boxes.tolist() == [[5, 7.5, 20, 22.5], [0, 15, 40, 30]]
    assert example.is_truncated.tolist() == [True, False]


def test_columns_are_found_by_name(write):
    folder = write()
    path = folder / "train" / "train-annotations-bbox.csv"
    path.write_text(
        "XClick1X,IsGroupOf,YMax,YMin,XMax,XMin,LabelName,ImageID,IsTruncated\r\n\r\n"
        '0.3, 0, 0.75, 0.25, 0.5, 0.125, /m/0k4j, "00a1", 0\r\n'
    )
    (image,) = walk(folder)
    assert (image.image_id, image.boxes[0].corners, image.boxes[0].label) == ("00a1", (0.125, 0.25, 0.5, 0.75), "Car")
    assert image.boxes[0].where.endswith("line 3")
    path.write_text("ImageID,LabelName,XMin,XMax,YMin\n")
    with pytest.raises(DataError, match=r"bbox\.csv: no column YMax, IsTruncated, IsGroupOf; .*is: ImageID, LabelName"):
        walk(folder)
    path.write_text("")
    with pytest.raises(DataError, match="is: missing"):
        walk(folder)


# --- Classes ------------------------------------------------------------


@pytest.mark.parametrize("first_line", ["", "LabelName,DisplayName\n"])
def test_classes_are_all_of_the_descriptions(write, first_line):
    reader = OpenImagesReader(write(classes=first_line + CLASSES + '/m/0x,"Table, low"\n'))
    assert reader.classes(["train"]) == ["Car", "Person", "Traffic light", "Table, low"]
    assert not reader.only_listed_classes


def test_classes_by_id_and_by_name(write):
    reader = OpenImagesReader(write(), {"classes": "Traffic light,/m/0k4j"})
    assert reader.classes(["train"]) == ["Traffic light", "Car"]
    assert reader.only_listed_classes
    assert [reader.class_name(given) for given in ("/m/01g317", "Person", "lorry")] == ["Person", "Person", "lorry"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("car", r"no class car among the 3 of class-desc.*, neither as a name nor as an id; did you mean Car\?"),
        ("/m/0k4J", r"did you mean /m/0k4j"),
        ("Trafic lights", r"did you mean Traffic light\?"),
        ("zebra", r"nor as an id$"),
    ],
)
def test_unknown_classes(write, given, message):
    with pytest.raises(DataError, match=message):
        OpenImagesReader(write(), {"classes": given})


def test_descriptions_that_are_none(write):
    with pytest.raises(DataError, match=r"boxable\.csv line 2: must be a class's id and its name"):
        OpenImagesReader(write(classes="/m/0k4j,Car\nPerson\n"))
    with pytest.raises(DataError, match="names no class"):
        OpenImagesReader(write(classes="LabelName,DisplayName\n"))


def test_box_of_a_class_that_is_not_described(write):
    folder = write(line("a", "/m/zzz"), line("a", ""))
    (folder / "train" / "a.jpg").write_bytes(picture_bytes())
    findings = make_example(walk(folder)[0], {"Car": 0}).findings
    assert [(finding.kind, finding.detail) for finding in findings] == [
        (Kind.UNKNOWN_CLASS, "'/m/zzz'"),
        (Kind.UNKNOWN_CLASS, "no class is named"),
    ]


# --- Groups ------------------------------------------------------------


def test_group_boxes_are_left_out_and_reported(write):
    folder = write(line("a", group=1), line("a"), line("b", group=1))
    for name in ("a.jpg", "b.jpg"):
        (folder / "train" / name).write_bytes(picture_bytes())
    some, only = (make_example(image, {"Car": 0}) for image in walk(folder))
    assert len(some.example.boxes) == 1
    assert not some.example.is_crowd.any()
    (finding,) = some.findings
    assert (finding.kind, finding.where) == (Kind.GROUP, "train/train-annotations-bbox.csv line 2")
    assert only.example is None  # it shows cars: no negative
    assert [finding.kind for finding in only.findings] == [Kind.ONLY_GROUPS]


def test_group_boxes_as_crowd(write):
    folder = write(line("a", group=1), line("a"))
    (folder / "train" / "a.jpg").write_bytes(picture_bytes())
    (image,) = walk(folder, keep_groups="crowd")
    checked = make_example(image, {"Car": 0})
    assert checked.example.is_crowd.tolist() == [True, False]
    assert checked.findings == []


# --- Negatives ------------------------------------------------------------


def test_labels_tell_negatives_from_pictures_without_their_boxes(write):
    labels = [
        label("a", 0), label("a", 0, "/m/01g317"),
        label("b", 1),
        label("c", 0), label("c", 1, "/m/01g317"), label("c", 1),
        label("e", 0),
        label("f", "", "/m/zz"),
    ]  # fmt: skip
    folder = write(line("b"), line("b"), line("d"), labels=labels)
    items = walk(folder)
    assert said(items) == [("a", 0), ("b", 2), ("c", Kind.UNBOXED, 6), ("d", 1), ("e", 0), ("f", Kind.UNBOXED, 9)]
    assert items[0].where == "train/train-annotations-human-imagelabels-boxable.csv line 2"
    assert [items[2].detail, items[5].detail] == ["Person, Car", "/m/zz"]
    assert said(walk(folder, negatives="skip")) == [("b", 2), ("d", 1)]


def test_without_labels_there_are_only_pictures_with_boxes(write):
    assert said(walk(write(line("b"), line("d")))) == [("b", 1), ("d", 1)]


# --- Files that are not sorted ------------------------------------------------------------


def test_order_is_of_no_account_when_lines_stand_together(write):
    assert said(walk(write(line("c"), line("a"), line("a"), line("b")))) == [("c", 1), ("a", 2), ("b", 1)]


def test_lines_that_stand_apart_are_reported_one_by_one(write):
    folder = write(line("a"), line("c"), line("b"), line("a"), line("a"), line("d"), line("b"))
    items = walk(folder)
    assert said(items) == [
        ("a", 1), ("c", 1), ("b", 1), ("a", Kind.SCATTERED, 5), ("a", Kind.SCATTERED, 6), ("d", 1),
        ("b", Kind.SCATTERED, 8),
    ]  # fmt: skip
    assert "a has boxes further up too" in items[3].detail
    assert "tail -n +2 train-annotations-bbox.csv | LC_ALL=C sort" in items[3].detail


@pytest.mark.parametrize(
    ("boxes", "labels", "where"),
    [
        ([line("b"), line("a")], [label("a", 1), label("b", 1)], r"bbox\.csv line 3: a comes after b"),
        ([line("a"), line("b")], [label("b", 1), label("a", 1)], r"boxable\.csv line 3: a comes after b"),
        ([line("a"), line(""), line("a")], [label("a", 1)], r"bbox\.csv line 4: a comes after a"),
    ],
)
def test_negatives_need_sorted_files(write, boxes, labels, where):
    folder = write(*boxes, labels=labels)
    with pytest.raises(DataError, match=where + r".*LC_ALL=C sort.*-o negatives=skip"):
        walk(folder)
    assert len(walk(folder, negatives="skip")) == len(boxes)


# --- Damage ------------------------------------------------------------


def test_short_lines_and_lines_without_a_picture(write):
    folder = write("a,xclick,/m/0k4j,1,0.1,0.2\n", line("a", sides="x,0.5,0.25,"), line(""), line("b"))
    short, orphan, _ = sorted(walk(folder), key=lambda item: item.where)
    assert (orphan.kind, orphan.where) == (Kind.ORPHAN_BOX, "train/train-annotations-bbox.csv line 4")
    assert [str(box.corners) for box in short.boxes] == ["(0.1, nan, 0.2, nan)", "(nan, 0.25, 0.5, nan)"]
    assert said(walk(folder))[0] == ("a", 2)


def test_text_that_is_not_utf8(write):
    folder = write(line("a"))
    path = folder / "train" / "train-annotations-bbox.csv"
    path.write_bytes(path.read_bytes() + line("größe").encode("latin-1"))
    with pytest.raises(DataError, match=r"train-annotations-bbox\.csv: is not UTF-8 text"):
        walk(folder)


# --- Pictures ------------------------------------------------------------


def test_pictures_have_an_address(write):
    folder = write(line("00a1"), line("Straße 1"), line("../../etc/x"))
    first, second, outside = walk(folder)
    assert (first.path, first.url) == (
        folder / "train" / "00a1.jpg",
        "https://s3.amazonaws.com/open-images-dataset/train/00a1.jpg",
    )
    assert second.url.endswith("/train/Stra%C3%9Fe%201.jpg")
    assert outside.url == ""  # it would be written outside the data set
    (image, *_) = walk(folder, images_url="http://mirror/{id}?of={split}")
    assert image.url == "http://mirror/00a1?of=train"
    for wrong in ("file:///pictures/{id}.jpg", "http://mirror/train.jpg", "mirror/{id}"):
        with pytest.raises(DataError, match=r"-o images_url=.* must be an http or https address with \{id\}"):
            walk(folder, images_url=wrong)


def test_only_absent_pictures_are_fetched_to_where_they_belong(write, monkeypatch):
    fetched = []
    monkeypatch.setattr(fetch, "_download", lambda url, path, timeout: fetched.append((url, path)))
    folder = write(line("a"), line("b"), line("c"))
    (folder / "train" / "b.jpg").write_bytes(picture_bytes())
    images = walk(folder, images_url="http://mirror/{split}/{id}")
    assert fetched == []  # the walk itself asks for nothing
    assert fetch.fetch_pictures(images[:2]) == {}
    assert fetched == [("http://mirror/train/a", folder / "train" / "a.jpg")]


def test_a_transform_fetches_what_the_filters_leave(write, monkeypatch, tmp_path_factory):
    def download(url, path, timeout):
        if path.stem == "c":
            raise RequestError(f"HTTP 404 Not Found from {url}")
        path.write_bytes(picture_bytes())

    monkeypatch.setattr(fetch, "_download", download)
    folder = write(line("a"), line("b", "/m/01g317"), line("c"))
    reader = OpenImagesReader(folder, {"images_url": "http://mirror/{id}"})
    report = transform(reader, tmp_path_factory.mktemp("tf"), filters=Filters(only_classes=("Car",))).splits[0]
    assert (report.images_found, report.images_written, report.images_left_out) == (3, 1, 1)
    (finding,) = report.findings
    assert finding.kind is Kind.MISSING_IMAGE
    assert finding.detail == "could not be downloaded: HTTP 404 Not Found from http://mirror/c"
    assert sorted(path.name for path in (folder / "train").glob("*.jpg")) == ["a.jpg"]


def test_local_pictures_by_other_names(write):
    folder = write(line("a"), line("b"), line("c"), line("d"))
    for name in ("a.jpg", "b.PNG", "c.jpeg"):
        (folder / "train" / name).write_bytes(b"")
    found = walk(folder, download="false")
    assert [image.path.name for image in found] == ["a.jpg", "b.PNG", "c.jpeg", "d.jpg"]
    assert [[finding.where for finding in image.findings] for image in found] == [[], ["train/b.PNG"], [], []]
    assert {image.url for image in found} == {""}


# --- Layout ------------------------------------------------------------


def test_files_in_the_root_with_the_names_of_the_downloads(tmp_path):
    (tmp_path / "oidv6-class-descriptions-boxable.csv").write_text("LabelName,DisplayName\n" + CLASSES)
    (tmp_path / "oidv6-train-annotations-bbox.csv").write_text(HEADER + line("b"))
    (tmp_path / "train-annotations-human-imagelabels-boxable.csv").write_text(
        "ImageID,Source,LabelName,Confidence\n" + label("a", 0)
    )
    (tmp_path / "validation-annotations-bbox.csv").write_text(HEADER + line("c"))
    assert OpenImagesReader.recognise(tmp_path) == (
        "oidv6-class-descriptions-boxable.csv and boxes of train, validation"
    )
    reader = OpenImagesReader(tmp_path)
    assert reader.splits() == ["train", "validation"]
    assert said(reader.images("train")) == [("a", 0), ("b", 1)]
    (image,) = reader.images("validation")
    assert image.path == tmp_path / "validation" / "c.jpg"
    assert image.boxes[0].where == "validation-annotations-bbox.csv line 2"


def test_layout_that_does_not_fit(tmp_path):
    (tmp_path / "train").mkdir()
    assert OpenImagesReader.recognise(tmp_path) is None
    with pytest.raises(DataError, match=r"looked for <split>/<split>-annotations-bbox\.csv .*found train/;"):
        OpenImagesReader(tmp_path)
    (tmp_path / "train" / "train-annotations-bbox.csv").write_text(HEADER)
    assert OpenImagesReader.recognise(tmp_path) is None
    with pytest.raises(DataError, match=r"looked for class-descriptions-boxable\.csv, found train/;"):
        OpenImagesReader(tmp_path)


def test_pictures_are_counted_by_the_first_lines(write, monkeypatch):
    lines = [line(f"{number // 4:04d}") for number in range(400)]
    folder = write(*lines)
    assert OpenImagesReader(folder).image_count("train") == 100
    monkeypatch.setattr("luminoth.data.readers.openimages._SAMPLE_BYTES", 2000)
    assert OpenImagesReader(folder).image_count("train") == pytest.approx(100, rel=0.15)
