import io
import os
import tracemalloc
from pathlib import Path

import pytest

from luminoth.errors import DataError
from luminoth.inference.sources import MediaList


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in (
        "img10.jpg",
        "img2.JPG",
        "b.mp4",
        "photo.dat",
        ".hidden.png",
        "sub/c.Png",
        "sub/deep/d.MOV",
        ".git/e.png",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return Path("in")


def names(files):
    return [file.relative.as_posix() for file in files]


def sources(*arguments, **options):
    return [file.source for file in MediaList(arguments, **options)]


def test_a_folder_in_natural_order(tree):
    files = MediaList([tree])
    assert [(file.relative.as_posix(), file.kind) for file in files] == [
        ("b.mp4", "video"),
        ("img2.JPG", "image"),
        ("img10.jpg", "image"),
    ]
    assert next(iter(files)).source == "in/b.mp4"
    assert (len(files), files.images, files.videos, files.live) == (3, 2, 1, 0)
    assert names(files) == names(files)  # as often as one likes


def test_deeper(tree):
    found = names(MediaList([tree], recursive=True))
    assert found == ["b.mp4", "img2.JPG", "img10.jpg", "sub/c.Png", "sub/deep/d.MOV"]
    assert names(MediaList([tree], recursive=True, leave_out=[tree / "sub"])) == ["b.mp4", "img2.JPG", "img10.jpg"]


def test_links_that_lead_back(tree):
    os.symlink(tree.resolve(), tree / "sub" / "loop")
    assert len(MediaList([tree], recursive=True)) == 5
    os.symlink("img2.JPG", tree / "latest.jpg")
    os.symlink("sub/c.Png", tree / "other.png")
    assert names(MediaList([tree])) == ["b.mp4", "img2.JPG", "img10.jpg", "other.png"]
    assert len(MediaList([tree], recursive=True)) == 5


def test_files_are_taken_whatever_their_ending_and_once(tree):
    files = MediaList([tree / "photo.dat", tree / "img2.JPG", tree, str(tree / "b.mp4"), tree])
    assert names(files) == ["photo.dat", "img2.JPG", "b.mp4", "img10.jpg"]
    assert [(file.kind, file.has_known_ending) for file in files][:2] == [("image", False), ("image", True)]
    assert files.problems == []


def test_patterns(tree):
    assert sources("in/*.jpg") == ["in/img2.JPG", "in/img10.jpg"]  # the ending in any case
    assert sources("in/img?.[J]PG") == ["in/img2.JPG"]
    assert sources("in/*") == ["in/b.mp4", "in/img2.JPG", "in/img10.jpg", "in/sub/c.Png"]  # folders, as of a shell
    assert sources("in/**/*.png") == ["in/sub/c.Png"]
    assert names(MediaList(["in/**"])) == ["b.mp4", "img2.JPG", "img10.jpg", "sub/c.Png", "sub/deep/d.MOV"]
    assert sources("in/img2.JPG", "in/*.jpg") == ["in/img2.JPG", "in/img10.jpg"]
    Path("a[1].jpg").write_bytes(b"x")
    assert sources("a[1].jpg") == ["a[1].jpg"]  # a file of that very name
    with pytest.raises(DataError, match=r"in/\*\.gif: no image or video has a name like this, accepted endings"):
        MediaList(["in/*.gif"])


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_lists_of_paths(tree, separator):
    listed = separator.join(["in/img2.JPG", "", "sub/c.Png", "in/*.mp4", "missing é.jpg", "https://x.org/a.png", ""])
    Path("in/list.TXT").write_bytes(b"\xef\xbb\xbf" * (separator != "\0") + listed.encode())
    files = MediaList(["in/list.TXT"])
    # A path that is not there counts from the folder of the list; one that is nowhere is a bad file among others.
    expected = ["in/img2.JPG", "in/sub/c.Png", "in/b.mp4", "missing é.jpg", "https://x.org/a.png"]
    assert [file.source for file in files] == expected
    files = MediaList(["-", "in/img10.jpg"], standard_input=io.StringIO("in/img2.JPG\nin/b.mp4\n"))
    assert [file.source for file in files] == ["in/img2.JPG", "in/b.mp4", "in/img10.jpg"]
    assert len(files) == 3
    Path("empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.txt: is empty; accepted are paths"):
        MediaList(["empty.txt"])
    with pytest.raises(DataError, match="standard input: is empty"):
        MediaList(["-"], standard_input=io.StringIO(""))


@pytest.mark.parametrize(
    ("argument", "kind", "name", "relative"),
    [
        ("https://x.org/a/b%20c.jpg?size=2", "image", "https://x.org/a/b%20c.jpg?size=2", "b c.jpg"),
        ("http://me:secret@x.org:8000/a.mp4", "video", "http://x.org:8000/a.mp4", "a.mp4"),
        ("https://x.org", "image", "https://x.org", "x.org"),
        ("gs://bucket/a/b.PNG", "image", "gs://bucket/a/b.PNG", "b.PNG"),
        ("rtsp://me:secret@10.0.0.7:554/stream1", "live", "rtsp://10.0.0.7:554/stream1", "10-0-0-7-stream1"),
        ("http://10.0.0.7/video.mjpg", "live", "http://10.0.0.7/video.mjpg", "10-0-0-7-video-mjpg"),
        ("camera:0", "live", "camera:0", "camera-0"),
        ("camera:/dev/video2", "live", "camera:/dev/video2", "camera-dev-video2"),
    ],
)
def test_addresses_cameras_and_streams(argument, kind, name, relative):
    (file,) = MediaList([argument, argument])
    assert (file.source, file.kind, file.name, file.relative.as_posix()) == (argument, kind, name, relative)
    assert file.is_address == (kind != "live")  # what is fetched
    assert file.needs_network == ("://" in argument)


def test_nothing_there(tree):
    with pytest.raises(DataError, match=r"^nowhere: there is no such file or folder \(and 1 more such arguments\)$"):
        MediaList(["nowhere", "elsewhere"])
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"no images or videos found in empty, accepted endings: .*\.jpg .*\.mp4"):
        MediaList(["empty"])
    Path("empty/sub").mkdir()
    Path("empty/sub/a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"add -r to search them"):
        MediaList(["empty"])
    files = MediaList([tree, "nowhere", "empty"])
    assert len(files) == 3
    assert [problem[:20] for problem in files.problems] == ["nowhere: there is no", "no images or videos "]


def test_what_is_an_input(tree):
    files = MediaList([tree, "in/photo.dat"])
    assert [files.holds(f"in/{name}") for name in ("b.mp4", "photo.dat", "sub/c.Png", ".hidden.png", "new.png")] == [
        *(True, True, False, False, False)
    ]


def test_a_large_folder_is_not_held(tmp_path, monkeypatch):
    """Names and what they are sorted by take 260 bytes a file while a folder is walked; objects would take 500."""
    count = 5_000

    def walk(parent, followlinks):
        yield str(parent), [], [f"IMG_{number:06}.jpg" for number in range(count)]

    monkeypatch.setattr(os, "walk", walk)
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    tracemalloc.start()
    try:
        files = MediaList([tmp_path])
        assert sum(1 for _ in files) == len(files) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400 * count
