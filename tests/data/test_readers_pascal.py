import pytest

from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from tests.data.source_sets import (
    CAR,
    Object,
    Picture,
    good_pictures,
    picture_bytes,
    write_set,
    write_set_without_splits,
)


@pytest.fixture
def folder(tmp_path):
    return write_set("pascal", tmp_path / "voc", train=good_pictures(), val=good_pictures()[:1])


def annotation(folder, name):
    return folder / "Annotations" / f"{name}.xml"


def test_boxes_are_one_based_and_inclusive(folder):
    annotation(folder, "first").write_text(
        "<annotation><object><name>car</name><difficult>1</difficult><truncated>1</truncated>"
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></object>"
        "<object><name>car</name><bndbox><xmin>10</xmin><ymin>11.5</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>"
        "</object></annotation>"
    )
    image = next(open_reader("pascal", folder).images("train"))
    assert [box.corners for box in image.boxes] == [(0, 0, 1, 1), (9, 10.5, 40, 30)]
    assert [(box.is_difficult, box.is_truncated) for box in image.boxes] == [(True, True), (False, False)]
    image = next(open_reader("pascal", folder, {"one_based": "false"}).images("train"))
    assert [box.corners for box in image.boxes] == [(1, 1, 1, 1), (10, 11.5, 40, 30)]


def test_images_come_in_the_order_of_the_list(folder):
    images = list(open_reader("pascal", folder).images("train"))
    assert [image.image_id for image in images] == ["first", "second", "empty street"]
    assert [image.path.name for image in images] == ["first.jpg", "second.jpg", "empty street.jpg"]
    assert images[0].stated_size == (30, 40)
    assert [box.label for box in images[0].boxes] == ["car", "traffic light"]
    assert images[2].boxes == ()


def test_classes_come_from_the_annotations_of_all_splits(folder):
    reader = open_reader("pascal", folder)
    assert reader.classes(["val"]) == ["car", "person", "traffic light"]  # no part ("wheel") among them
    assert open_reader("pascal", folder, {"classes": "person, car"}).classes(["val"]) == ["person", "car"]


def test_lists_of_one_class_are_no_splits(folder):
    (folder / "ImageSets" / "Main" / "traffic_light_train.txt").write_text("first  1\nsecond -1\n")
    reader = open_reader("pascal", folder)
    assert reader.splits() == ["train", "val"]
    assert reader.check_splits(["val"]) == ["val"]
    with pytest.raises(DataError, match=r"no split test; there are: train, val"):
        reader.check_splits(["val", "test"])


def test_annotations_that_cannot_be_read_are_found(folder):
    annotation(folder, "first").unlink()
    annotation(folder, "second").write_text("<annotation><object>")
    first, second, third = open_reader("pascal", folder).images("train")
    assert first == Finding(Kind.MISSING_ANNOTATION, "first", "Annotations/first.xml")
    assert second.kind is Kind.DAMAGED_ANNOTATION
    assert second.where == "Annotations/second.xml"
    assert isinstance(third, AnnotatedImage)


def test_names_differing_in_case_and_accents_are_found(tmp_path):
    folder = write_set("pascal", tmp_path, train=[Picture("caf\u00e9.jpg", None, [CAR])])
    (folder / "JPEGImages" / "Cafe\u0301.JPG").write_bytes(picture_bytes())
    annotation(folder, "caf\u00e9").rename(annotation(folder, "CAF\u00c9"))
    (image,) = open_reader("pascal", folder).images("train")
    assert image.path.read_bytes() == picture_bytes()
    assert [finding.kind for finding in image.findings] == [Kind.OTHER_NAME]


def test_png_pictures_are_usual(tmp_path):
    folder = write_set("pascal", tmp_path, train=[Picture("a.png", picture_bytes("PNG"), [CAR])])
    (image,) = open_reader("pascal", folder).images("train")
    assert (image.path.name, image.findings) == ("a.png", ())


def test_sets_that_count_from_zero_are_pointed_at_once(tmp_path):
    pictures = [Picture(f"{index}.jpg", picture_bytes(), [Object("car", (-1.0, 3.0, 9.0, 9.0))]) for index in (1, 2)]
    folder = write_set("pascal", tmp_path, train=pictures)  # the fixture adds one: the files say 0
    items = list(open_reader("pascal", folder).images("train"))
    findings = [item for item in items if isinstance(item, Finding)]
    assert [finding.kind for finding in findings] == [Kind.COUNTS_FROM_ZERO]
    items = list(open_reader("pascal", folder, {"one_based": "no"}).images("train"))
    assert not [item for item in items if isinstance(item, Finding)]


def test_layout_that_does_not_fit(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"looked for .*found notes.txt, pictures/; "):
        open_reader("pascal", tmp_path).splits()
    with pytest.raises(DataError, match="there is no such folder"):
        open_reader("pascal", tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        open_reader("pascal", tmp_path / "notes.txt")


def test_options(folder):
    with pytest.raises(DataError, match=r"-o one_base: .*it knows one_based, classes; did you mean one_based\?"):
        open_reader("pascal", folder, {"one_base": "true"})
    with pytest.raises(DataError, match=r"-o one_based=maybe: must be true or false"):
        open_reader("pascal", folder, {"one_based": "maybe"})
    with pytest.raises(DataError, match=r"each class may be named once"):
        open_reader("pascal", folder, {"classes": "car,car"}).classes(["train"])
    with pytest.raises(DataError, match=r"unknown data set type 'pascall': .*did you mean pascal\?"):
        open_reader("pascall", folder)


def test_crowds_are_read(folder):
    annotation(folder, "first").write_text(
        "<annotation><object><name>car</name><crowd>1</crowd><truncated>1</truncated></object>"
        "<object><name>car</name><crowd>0</crowd></object></annotation>"
    )
    image = next(open_reader("pascal", folder).images("train"))
    assert [(box.is_crowd, box.is_truncated) for box in image.boxes] == [(True, True), (False, False)]


def test_without_lists_what_has_no_partner_is_found(tmp_path):
    folder = write_set_without_splits("pascal in images", tmp_path, good_pictures())
    (folder / "images" / "first.jpg").unlink()
    (folder / "images" / "alone.jpg").write_bytes(picture_bytes())
    (folder / "images" / "second.jpg").rename(folder / "images" / "SECOND.JPG")
    annotation(folder, "empty street").write_text("<annotation>")
    damaged, first, second, alone = open_reader("pascal", folder).images("all")
    assert (damaged.kind, damaged.image_id) == (Kind.DAMAGED_ANNOTATION, "empty street")
    assert (first.image_id, first.path.is_file()) == ("first", False)
    assert [finding.kind for finding in second.findings] == [Kind.OTHER_NAME]
    assert alone == Finding(Kind.MISSING_ANNOTATION, "alone", "images/alone.jpg")


def test_without_lists_the_file_name_in_the_annotation_counts(tmp_path):
    folder = write_set_without_splits("pascal in images", tmp_path, good_pictures()[:1])
    annotation(folder, "first").rename(annotation(folder, "0001"))
    (image,) = open_reader("pascal", folder).images("all")
    assert (image.image_id, image.path.name) == ("0001", "first.jpg")
    assert [finding.kind for finding in image.findings] == [Kind.OTHER_NAME]
