import pytest

from luminoth.data.readers import open_reader
from luminoth.data.report import Kind
from luminoth.errors import DataError
from tests.data.source_sets import good_pictures, picture_bytes, write_set, write_set_without_splits


@pytest.fixture
def folder(tmp_path):
    return write_set("csv", tmp_path / "csv", train=good_pictures(), val=good_pictures()[:1])


def one_picture(folder, text, name="a.jpg"):
    (folder / "train").mkdir(parents=True)
    (folder / "train" / name).write_bytes(picture_bytes())
    (folder / "train.csv").write_text(text)
    return folder


def images(folder, **options):
    return list(open_reader("csv", folder, options).images("train"))


def test_values(folder):
    found = images(folder)
    assert [image.image_id for image in found] == ["first.jpg", "second.jpg", "empty street.jpg"]
    assert [box.corners for box in found[0].boxes] == [(4, 5, 20, 25), (0, 0, 8, 12)]
    assert [box.label for box in found[0].boxes] == ["car", "traffic light"]
    assert [box.where for box in found[0].boxes] == ["train.csv line 2", "train.csv line 3"]
    assert found[2].boxes == ()
    reader = open_reader("csv", folder)
    assert reader.splits() == ["train", "val"]
    assert reader.classes(["val"]) == ["car", "person", "traffic light"]


def test_lines_of_a_picture_need_not_stand_together_and_ids_need_no_extension(tmp_path):
    text = "image_id,xmin,ymin,xmax,ymax,label\na,1,2,3,4,car\nb,1,2,3,4,car\na.jpg,5,6,7,8,bus\n"
    found = images(one_picture(tmp_path / "set", text))
    assert [image.image_id for image in found] == ["a", "b"]
    assert [box.corners for box in found[0].boxes] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert found[0].path.name == "a.jpg"
    assert not found[1].path.exists()


def test_without_headers(tmp_path):
    folder = one_picture(tmp_path / "set", "a.jpg,1,2,3,4,car\n")
    assert images(folder, headers="false")[0].boxes[0].corners == (1, 2, 3, 4)
    with pytest.raises(DataError, match=r"no column image_id, xmin.*found: a\.jpg, 1, 2.*-o headers=false"):
        images(folder)


def test_columns_by_name_and_other_delimiters(tmp_path):
    folder = one_picture(tmp_path / "set", "file;w;h;class;x0;y0;x1;y1\na.jpg;40;30;car;1;2;3;4\n")
    columns = "image_id,width,height,label,xmin,ymin,xmax,ymax"
    (image,) = images(folder, columns=columns, delimiter=";")
    assert (image.boxes[0].corners, image.boxes[0].label) == ((1, 2, 3, 4), "car")
    with pytest.raises(DataError, match="must be one character"):
        images(folder, delimiter="ab")


def test_quotes_blank_lines_and_byte_order_mark(tmp_path):
    text = '\ufeffimage_id,xmin,ymin,xmax,ymax,label\r\n\r\n"a.jpg",1,2,3,4,"car, parked"\r\n'
    (image,) = images(one_picture(tmp_path / "set", text))
    assert image.boxes[0].label == "car, parked"
    assert image.boxes[0].where == "train.csv line 3"


def test_short_lines_give_boxes_that_are_no_numbers(tmp_path):
    found = images(one_picture(tmp_path / "set", "image_id,xmin,ymin,xmax,ymax,label\na.jpg,1,2\n,1,2,3,4,car\n"))
    finding, image = found
    assert finding.kind is Kind.ORPHAN_BOX
    assert finding.where == "train.csv line 3"
    assert str(image.boxes[0].corners) == "(1.0, 2.0, nan, nan)"
    assert image.boxes[0].label == ""


def test_pictures_without_a_line_are_kept_as_empty(tmp_path):
    folder = one_picture(tmp_path / "set", "image_id,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3,4,car\n")
    (folder / "train" / "z.png").write_bytes(picture_bytes("PNG"))
    kept = images(folder)[1]
    assert (kept.image_id, kept.boxes, [finding.kind for finding in kept.findings]) == ("z.png", (), [Kind.UNLISTED])
    assert len(images(folder, unlisted="skip")) == 1
    with pytest.raises(DataError, match="must be one of keep, skip"):
        images(folder, unlisted="drop")


def test_layout_that_does_not_fit(tmp_path):
    (tmp_path / "train.csv").write_text("")
    with pytest.raises(DataError, match=r"looked for <split>\.csv beside a folder <split>/, found train\.csv;"):
        open_reader("csv", tmp_path).splits()


def test_files_that_are_no_text(tmp_path):
    folder = one_picture(tmp_path / "set", "")
    (folder / "train.csv").write_bytes("image_id,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        images(folder)
    (folder / "train.csv").write_text("")
    with pytest.raises(DataError, match="found: nothing"):
        images(folder)


def test_flags_are_read_when_there_are_columns(tmp_path):
    header = "image_id,xmin,ymin,xmax,ymax,label,is_truncated,is_crowd,is_difficult"
    lines = [
        "a.jpg,1,2,3,4,car,1,0,",
        "a.jpg,1,2,3,4,car,FALSE,true,yes",
        "a.jpg,1,2,3,4,car",
        "a.jpg,1,2,3,4,car,0,x,2",
    ]
    (image,) = images(one_picture(tmp_path / "set", "\n".join([header, *lines])))
    flags = [(box.is_crowd, box.is_difficult, box.is_truncated) for box in image.boxes]
    assert flags == [(False, False, True), (True, True, False), (False, False, False), (False, False, False)]
    assert [(finding.kind, finding.where, finding.detail) for finding in image.findings] == [
        (Kind.UNREADABLE_FLAG, "train.csv line 5", "is_crowd 'x'"),
        (Kind.UNREADABLE_FLAG, "train.csv line 5", "is_difficult '2'"),
    ]


def test_flags_may_be_named_in_columns(tmp_path):
    folder = one_picture(tmp_path / "set", "a.jpg,1,1,2,3,4,car\n")
    (image,) = images(folder, headers="false", columns="image_id,is_difficult,xmin,ymin,xmax,ymax,label")
    assert image.boxes[0].is_difficult
    assert image.boxes[0].corners == (1, 2, 3, 4)


def test_without_splits_pictures_without_a_line_are_kept(tmp_path):
    write_set_without_splits("csv beside", tmp_path, good_pictures())
    (tmp_path / "z.png").write_bytes(picture_bytes("PNG"))
    found = list(open_reader("csv", tmp_path).images("all"))
    assert [image.image_id for image in found] == ["first.jpg", "second.jpg", "empty street.jpg", "z.png"]
    assert found[0].where == "labels.csv line 2"
    assert found[3].where == "labels.csv"


def test_a_folder_of_the_files_name_makes_it_a_split(tmp_path):
    write_set("csv", tmp_path, train=good_pictures())
    (tmp_path / "notes.csv").write_text("a,b\n")
    assert open_reader("csv", tmp_path).splits() == ["train"]
