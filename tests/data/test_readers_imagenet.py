import re

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.readers.imagenet import class_names
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from tests.data.source_sets import CAR, Object, Picture, good_pictures, picture_bytes, write_set


@pytest.fixture
def folder(tmp_path):
    return write_set("imagenet", tmp_path / "ILSVRC", train=good_pictures(), val=good_pictures()[:1])


def append(folder, split, *ids):
    with (folder / "ImageSets" / "DET" / f"{split}.txt").open("a") as file:
        file.writelines(f"{each}\n" for each in ids)


def images(folder, split="train"):
    return list(open_reader("imagenet", folder).images(split))


def test_the_table_of_classes():
    names = class_names()
    assert len(names) == 200
    assert len(set(names.values())) == 200
    assert all(re.fullmatch(r"n\d{8}", wordnet_id) for wordnet_id in names)
    assert list(names) == sorted(names)
    assert all(name == name.strip() and "_" not in name for name in names.values())
    some = {"n02084071": "dog", "n02121808": "domestic cat", "n02879718": "bow", "n02883205": "bow tie"}
    some |= {"n03124170": "hat with a wide brim", "n03211117": "tv or monitor", "n00007846": "person"}
    assert {wordnet_id: names[wordnet_id] for wordnet_id in some} == some


def test_values(folder):
    first, second, third = images(folder)
    assert [image.image_id for image in (first, second, third)] == ["first", "second", "empty street"]
    assert [box.corners for box in first.boxes] == [(4, 5, 20, 25), (0, 0, 8, 12)]  # as they stand: not one-based
    assert [box.label for box in first.boxes] == ["car", "traffic light"]
    assert (first.stated_size, first.rescale) == ((30, 40), True)
    assert third.boxes == ()
    text = (folder / "Annotations" / "DET" / "train" / "first.xml").read_text()
    assert "<name>n02958343</name>" in text
    assert "<name>car</name>" not in text


def test_classes_are_those_that_occur_and_unknown_ids_are_kept(folder):
    reader = open_reader("imagenet", folder)
    assert reader.classes(["val"]) == ["car", "person", "traffic light"]
    pictures = [Picture("a.JPEG", picture_bytes(), [CAR, Object("n99999999", (1.0, 1.0, 5.0, 5.0))])]
    write_set("imagenet", folder, test=pictures)
    assert open_reader("imagenet", folder).classes(["val"]) == ["car", "n99999999", "person", "traffic light"]
    (image,) = images(folder, "test")
    assert [box.label for box in image.boxes] == ["car", "n99999999"]


def test_extra_pictures_have_no_annotations(folder):
    for name in ("extra0/a", "ILSVRC2013_train_extra3/b"):
        path = folder / "Data" / "DET" / "train" / f"{name}.JPEG"
        path.parent.mkdir()
        path.write_bytes(picture_bytes())
        append(folder, "train", f"{name} 17")
    *_, first, second = images(folder)
    assert (first.image_id, first.boxes, first.findings) == ("extra0/a", (), ())
    assert (second.image_id, second.path.is_file()) == ("ILSVRC2013_train_extra3/b", True)


def test_ids_may_lie_deeper(folder):
    for part, name in (("Annotations", "n02958343_1.xml"), ("Data", "n02958343_1.JPEG")):
        (folder / part / "DET" / "val" / "n02958343").mkdir()
        source = {"Annotations": "first.xml", "Data": "first.jpg"}[part]
        (folder / part / "DET" / "val" / source).rename(folder / part / "DET" / "val" / "n02958343" / name)
    (folder / "ImageSets" / "DET" / "val.txt").write_text("n02958343/n02958343_1 1\n")
    (image,) = images(folder, "val")
    assert (image.image_id, image.path.name) == ("n02958343/n02958343_1", "n02958343_1.JPEG")
    assert image.boxes[0].where == "Annotations/DET/val/n02958343/n02958343_1.xml line 5"


def test_lists_of_one_class_are_no_splits(folder):
    for name in ("train_1", "train_200", "train_pos_17", "train_neg_17"):
        (folder / "ImageSets" / "DET" / f"{name}.txt").write_text("first 1\n")
    assert open_reader("imagenet", folder).splits() == ["train", "val"]
    assert open_reader("imagenet", folder).image_count("train") == 3


def test_annotations_that_cannot_be_read(folder):
    append(folder, "train", "unknown")
    (folder / "Annotations" / "DET" / "train" / "second.xml").write_text("<annotation>")
    _, damaged, _, missing = images(folder)
    assert (damaged.kind, damaged.where) == (Kind.DAMAGED_ANNOTATION, "Annotations/DET/train/second.xml")
    assert missing == Finding(Kind.MISSING_ANNOTATION, "unknown", "Annotations/DET/train/unknown.xml")
    assert open_reader("imagenet", folder).classes(["train"]) == ["car", "traffic light"]


def test_layout_that_does_not_fit(folder):
    with pytest.raises(DataError, match=r"looked for ImageSets/DET/<split>\.txt, found DET/; the layout"):
        open_reader("imagenet", folder / "Data").splits()
    (folder / "Data").rename(folder / "data_")
    with pytest.raises(DataError, match=r"looked for Data/DET/, found Annotations/, ImageSets/, data_/;"):
        open_reader("imagenet", folder).splits()
