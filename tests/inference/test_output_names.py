import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.errors import OutputError
from luminoth.inference.output_names import OutputNames, as_file_name, make_folder, picture_ending


def test_outputs_never_collide():
    inputs = ["a.jpg", "a.jpg", "A.JPG", "a-2.jpg", "b.png", "objects.json"]
    # b.png is an input in the output folder itself: it must not be overwritten.
    output = OutputNames(Path("out"), lambda path: path == Path("out/b.png"), reserved=("objects.json",))
    names = [output.path_for(PurePosixPath(name), PurePosixPath(name).suffix) for name in inputs]
    assert [name.as_posix() for name in names] == [
        *("out/a.jpg", "out/a-2.jpg", "out/A-3.JPG", "out/a-2-2.jpg", "out/b-2.png", "out/objects-2.json")
    ]


@given(st.lists(st.sampled_from(["a.jpg", "A.jpg", "a-2.jpg", "a-2-2.jpg", "s/a.jpg", "a.png", "a.bmp", "../a.jpg"])))
def test_any_names(inputs):
    given_names, again = OutputNames(Path("out")), OutputNames(Path("out"))
    paths = [given_names.path_for(PurePosixPath(name), picture_ending(PurePosixPath(name))) for name in inputs]
    assert len({str(path).casefold() for path in paths}) == len(inputs)
    assert all(path.is_relative_to("out") and ".." not in path.parts for path in paths)
    assert paths == [again.path_for(PurePosixPath(name), picture_ending(PurePosixPath(name))) for name in inputs]


def test_folders_below_the_given_one_are_kept():
    assert OutputNames(Path("out")).path_for(PurePosixPath("sub/deep/d.MOV"), ".mp4") == Path("out/sub/deep/d.mp4")


def test_endings_of_drawn_pictures():
    endings = [picture_ending(PurePosixPath(f"a{suffix}")) for suffix in (".JPG", ".png", ".heic", ".tif", "")]
    assert endings == [".JPG", ".png", ".jpg", ".png", ".png"]


def test_names_for_every_system():
    assert [as_file_name(name) for name in ("stop sign", "n/a", 'a:"b"', "..", "é")] == [
        *("stop sign", "n_a", "a_b_", "_", "é")
    ]


@pytest.fixture
def without_rights():
    """Takes root's rights away for a moment: root may write everywhere."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no users here")
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_folder_that_cannot_be_written_to(tmp_path, without_rights):
    with pytest.raises(OutputError, match=r"/: cannot be written to \(Permission denied\); name another folder"):
        make_folder(Path("/"))
    with pytest.raises(OutputError, match=r"/new: cannot be written to \(Permission denied\)"):
        make_folder(Path("/new"))


def test_a_folder_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out: cannot be written to"):
        make_folder(tmp_path / "file" / "out")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
