import os
from pathlib import Path

import pytest

from luminoth.errors import DataError
from luminoth.inference.sources import OutputNames, find_media


@pytest.fixture
def tree(tmp_path):
    for name in (
        "img10.jpg",
        "img2.JPG",
        "b.mp4",
        "notes.txt",
        ".hidden.png",
        "sub/c.Png",
        "sub/deep/d.MOV",
        ".git/e.png",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def names(files):
    return [file.relative.as_posix() for file in files]


def test_a_folder_in_natural_order(tree):
    files = find_media([tree])
    assert [(file.relative.as_posix(), file.kind) for file in files] == [
        ("b.mp4", "video"),
        ("img2.JPG", "image"),
        ("img10.jpg", "image"),
    ]
    assert files[0].path == tree / "b.mp4"


def test_deeper(tree):
    found = names(find_media([tree], recursive=True))
    assert found == ["b.mp4", "img2.JPG", "img10.jpg", "sub/c.Png", "sub/deep/d.MOV"]
    assert names(find_media([tree], recursive=True, leave_out=tree / "sub")) == ["b.mp4", "img2.JPG", "img10.jpg"]


def test_links_that_lead_back(tree):
    os.symlink(tree, tree / "sub" / "loop")
    assert len(find_media([tree], recursive=True)) == 5


def test_files_are_taken_whatever_their_ending_and_once(tree):
    files = find_media([tree / "notes.txt", tree / "img2.JPG", tree, str(tree / "b.mp4")])
    assert names(files) == ["notes.txt", "img2.JPG", "b.mp4", "img10.jpg"]
    assert files[0].kind == "image"


def test_nothing_there(tree, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder"):
        find_media([tree, tmp_path / "nowhere"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no images or videos found in .*empty, accepted endings: .*\.jpg .*\.mp4"):
        find_media([empty])
    (empty / "sub").mkdir()
    (empty / "sub/a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"add -r to search them"):
        find_media([empty])


def test_outputs_never_collide(tmp_path):
    inputs = []
    for name in ("one/a.jpg", "two/a.jpg", "two/A.JPG", "two/a-2.jpg", "out/b.png", "two/objects.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        inputs += find_media([path])
    output = OutputNames(tmp_path / "out", inputs, reserved=["objects.json"])
    given = [output.path_for(file, file.path.suffix).name for file in inputs]
    # b.png is an input in the output folder itself: it must not be overwritten.
    assert given == ["a.jpg", "a-2.jpg", "A-3.JPG", "a-2-2.jpg", "b-2.png", "objects-2.json"]


def test_outputs_keep_the_folders_below_the_given_one(tree):
    file = find_media([tree], recursive=True)[-1]
    assert OutputNames(Path("out"), [file]).path_for(file, ".mp4") == Path("out/sub/deep/d.mp4")
