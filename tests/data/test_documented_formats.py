"""docs/datasets.md shows each format with a tree and a command: the set of the tree is made here, and the command run.

A section of a format is a series of trees, each with the command that follows it. For each tree the set is written by
the tests' own writers with the pictures that the tree names; every other file of the tree must come out of that.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from luminoth.cli.main import main
from luminoth.data.readers import READERS, reader_class, recognise_type
from luminoth.data.record_files import find_records, list_splits, read_classes
from luminoth.data.records import decode_example, read_records
from luminoth.image import IMAGE_EXTENSIONS
from tests.data.source_sets import Object, Picture, picture_bytes, write_set, write_set_without_splits
from tests.data.test_own_readers import example, install  # noqa: F401  (fixtures)

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
LABEL = "Car"  # Open Images' command names it; the other formats take any
BOX = (4.0, 5.0, 20.0, 25.0)


class Documented(NamedTuple):
    """A tree of a section and the command after it."""

    section: str
    number: int
    tree: str
    command: str


def sections():
    """`format` or title -> the text below its heading, of the part "Formats"."""
    formats = re.search(r"^## Formats\n(.*?)^## ", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[1]
    parts = re.split(r"^### (.+)\n", formats, flags=re.MULTILINE)[1:]
    return {re.sub(r"`(\w+)`.*", r"\1", title): text for title, text in zip(parts[::2], parts[1::2], strict=True)}


def documented():
    found = []
    for section, text in sections().items():
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        tree, number = None, 0
        for language, block in blocks:
            if language == "" and block.partition("\n")[0].endswith("/"):
                assert tree is None, f"{section}: a tree without a command"
                tree = block
            elif language in ("bash", "console") and tree is not None:
                (command,) = re.findall(r"^lumi .+$", block, re.MULTILINE)
                found.append(Documented(section, number, tree, command))
                tree, number = None, number + 1
    return found


DOCUMENTED = documented()


def files_of(tree):
    """The folder's name, and the files as they stand below it; notes behind two spaces are dropped."""
    root, *lines = tree.splitlines()
    assert all(line.startswith("    ") for line in lines)
    return root.rstrip("/"), [re.split(r"\s{2,}", line.strip())[0] for line in lines]


def picture(name):
    return Picture(name, picture_bytes("PNG" if name.endswith(".png") else "JPEG"), [Object(LABEL, BOX)])


def write_as_documented(section, number, folder, pictures):
    """Writes the set whose pictures these are (their paths in the tree)."""
    names = [picture(path.rpartition("/")[2]) for path in pictures]
    first, second = names[:1], names[1:]
    writers = {
        ("pascal", 0): lambda: write_set("pascal", folder, train=first, val=second),
        ("pascal", 1): lambda: drone(write_set_without_splits("pascal in images", folder, names)),
        ("coco", 0): lambda: write_set("coco", folder, train=first, val=second),
        ("coco", 1): lambda: coco_export(write_set("coco", folder, train=first, valid=second)),
        ("coco", 2): lambda: write_set_without_splits("coco in images", folder, names),
        ("csv", 0): lambda: write_set("csv", folder, train=first, val=second),
        ("csv", 1): lambda: write_set_without_splits("csv in images", folder, names),
        ("yolo", 0): lambda: write_set("yolo", folder, train=first, val=second),
        ("yolo", 1): lambda: roboflow(write_set("yolo", folder, train=first, valid=second)),
        ("yolo", 2): lambda: write_set_without_splits("yolo in images", folder, names),
        ("flat", 0): lambda: write_set("flat", folder, train=first, val=second),
        ("imagenet", 0): lambda: write_set("imagenet", folder, train=first, val=second),
        ("openimages", 0): lambda: write_set("openimages", folder, train=first, validation=second),
        ("taggerine", 0): lambda: write_set("taggerine", folder, train=first, val=second),
        ("Your own format", 0): lambda: labelled_lines(folder, names),
    }
    writers[section, number]()


def drone(folder):
    """A tool that counts from 0, and writes `annotations` in lower case."""
    for path in (folder / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<xmin>5.0<", "<xmin>4.0<").replace("<ymin>6.0<", "<ymin>5.0<"))
    (folder / "Annotations").rename(folder / "lower")
    (folder / "lower").rename(folder / "annotations")


def coco_export(folder):
    for split in ("train", "valid"):
        path = folder / "annotations" / f"instances_{split}2017.json"
        path.rename(folder / f"{split}2017" / "_annotations.coco.json")
        (folder / f"{split}2017").rename(folder / split)
    (folder / "annotations").rmdir()


def roboflow(folder):
    for split in ("train", "valid"):
        (folder / split).mkdir()
        for part in ("images", "labels"):
            (folder / part / split).rename(folder / split / part)
    for part in ("images", "labels"):
        (folder / part).rmdir()
    (folder / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnames: [{LABEL}]\n")


def labelled_lines(folder, pictures):
    (folder / "pictures").mkdir(parents=True)
    for each in pictures:
        (folder / "pictures" / each.name).write_bytes(each.encoded)
    lines = [f"{each.name}: {LABEL} {' '.join(map(str, BOX))}\n" for each in pictures]
    (folder / "train.txt").write_text("".join(lines))


def test_every_format_is_documented():
    assert {each.section for each in DOCUMENTED} == {*READERS, "Your own format"}


@pytest.mark.parametrize("each", DOCUMENTED, ids=lambda each: f"{each.section}-{each.number}")
def test_the_tree_is_a_set_and_its_command_runs(each, tmp_path, monkeypatch, capsys, request):
    if each.section == "Your own format":
        request.getfixturevalue("example")
    name, files = files_of(each.tree)
    pictures = [path for path in files if Path(path).suffix.lower() in IMAGE_EXTENSIONS]
    folder = tmp_path / name
    write_as_documented(each.section, each.number, folder, pictures)
    assert [path for path in files if not (folder / path).is_file()] == []
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == set(files), "the tree shows all files of the set"
    assert recognise_type(folder)[0] == shlex.split(each.command)[shlex.split(each.command).index("--type") + 1]

    monkeypatch.chdir(tmp_path)
    words = shlex.split(each.command)
    assert words[words.index("--data-dir") + 1] == name
    with pytest.raises(SystemExit) as stopped:
        main(words[1:])
    assert stopped.value.code == 0, capsys.readouterr()
    output = tmp_path / words[words.index("--output-dir") + 1]
    assert LABEL in read_classes(output)
    records = [
        decode_example(record) for split in list_splits(output) for record in read_records(find_records(output, split))
    ]
    assert sorted(record.filename for record in records) == sorted(Path(path).name for path in pictures)
    for record in records:
        np.testing.assert_allclose(record.boxes, [BOX], atol=1e-4)
        assert record.class_ids.tolist() == [read_classes(output).index(LABEL)]


def test_the_reader_shown_is_the_one_that_is_tested():
    text = sections()["Your own format"]
    shown = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    folder = PAGE.parent / "examples" / "labelled_lines"
    assert shown == (folder / "labelled_lines.py").read_text("utf-8")
    shown = re.search(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    assert shown in (folder / "pyproject.toml").read_text("utf-8")


def test_settings_named_in_the_text_exist():
    for section, text in sections().items():
        if section in READERS:
            known = reader_class(section).all_options()
            named = set(re.findall(r"-o\s+'?(\w+)=", text))
            assert named <= set(known), section
            assert set(known) - {"classes"} <= named, f"{section}: not all settings are documented"
