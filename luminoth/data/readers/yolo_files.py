"""Where the parts of a YOLO data set are: what `data.yaml` says, or else the folders' names.

Files travel: `data.yaml` holds paths of the machine where it was written, or, from Roboflow, paths that lead one
folder too high. So a path that is not there is looked for within the data set, by its last parts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from luminoth.data.readers.base import ONE_SPLIT, parse_number
from luminoth.data.readers.files import files_in, holds_file, read_lines, read_start, subfolders
from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

CLASS_FILES = ("classes.txt", "obj.names")
_USUAL_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLIT_KEYS = ("train", "val", "valid", "validation", "test")
_OTHER_KEYS = frozenset({"path", "names", "nc", "download"})
_DESCRIBES = re.compile(r"^(names|nc)\s*:", re.MULTILINE)
_TEXT, _YAML = frozenset({".txt"}), frozenset({".yaml", ".yml"})


@dataclass(frozen=True)
class SplitSources:
    """Where the pictures of a split are.

    Attributes:
        places: folders of pictures, and text files that list pictures.
        absent: paths that the description names, but that are not there.
    """

    places: tuple[Path, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What `data.yaml` says.

    Attributes:
        path: the file; None when there is none.
        names: class number -> name.
        splits: split -> the paths of its pictures, as they stand there.
        perhaps: the same of keys that may be splits of the author's own (`night: images/night`), or anything else.
        root: its `path`, which they are relative to, or "".
        has_keypoints: label lines go on after the box with the points of a pose.
    """

    path: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    perhaps: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    has_keypoints: bool = False


# --- data.yaml ------------------------------------------------------------


def find_description(folder: Path, name: str = "") -> Path | None:
    """The file that describes the data set: `name`, `data.yaml`, or the only other one that names classes.

    Raises:
        DataError: there is no file `name`; several could be meant.
    """
    if name:
        if not (folder / name).is_file():
            raise DataError(f"-o data={name}: {folder / name}: there is no such file")
        return folder / name
    usual = [folder / each for each in _USUAL_NAMES if (folder / each).is_file()]
    if usual:
        return usual[0]
    others = sorted(path for path in files_in(folder, _YAML) if _DESCRIBES.search(read_start(path, 1 << 16)))
    if len(others) > 1:
        raise DataError(f"{folder}: {', '.join(path.name for path in others)}: choose one with -o data=...")
    return others[0] if others else None


def read_description(path: Path) -> Description:
    """Reads `data.yaml`; raises DataError when it is none."""
    try:
        # All values as text: `no` is a name of a class here, not false.
        content = yaml.load("\n".join(read_lines(path)), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: must be a mapping with names, train and val; found a {type(content).__name__}")
    splits = {key: _as_paths(path, key, content[key]) for key in _SPLIT_KEYS if content.get(key)}
    others = content.keys() - splits.keys() - _OTHER_KEYS
    perhaps = {key: content[key] for key in sorted(others) if isinstance(content[key], str) and content[key].strip()}
    root = content.get("path", "")
    names = _as_names(path, content.get("names"), content.get("nc"))
    return Description(path, names, splits, perhaps, root if isinstance(root, str) else "", "kpt_shape" in content)


def _as_paths(path: Path, key: str, value: Any) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: {key}: must be a path or a list of paths; found {value!r}")
    return tuple(entry for entry in entries if entry)


def _as_names(path: Path, value: Any, count: Any) -> dict[int, str]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict) and all(isinstance(name, str) for name in value.values()):
        numbers = {parse_number(key): name for key, name in value.items()}
        if all(number.is_integer() for number in numbers):
            return {int(number): name.strip() for number, name in numbers.items() if name.strip()}
    if value:
        raise DataError(f"{path}: names: must be a list of names, or a mapping such as {{0: car}}; found {value!r}")
    number = parse_number(count)
    return {each: f"class {each}" for each in range(int(number))} if 0 < number < 1e6 else {}


def read_class_file(folder: Path) -> dict[int, str]:
    """The names in `classes.txt`, one a line, from the data set's folder or beside the labels."""
    places = [folder, *(folder / name for name in ("labels", "images"))]
    places += [place for split in subfolders(folder) for place in (split, split / "labels")]
    places += subfolders(folder / "labels")
    for path in (place / name for place in places for name in CLASS_FILES):
        if path.is_file():
            return {number: line.strip() for number, line in enumerate(read_lines(path)) if line.strip()}
    return {}


# --- Paths ------------------------------------------------------------


def candidates(entry: str, data_dir: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    """Where a path of a description may lead, likeliest first.

    Args:
        entry: the path as it stands there.
        data_dir: the data set's folder.
        roots: what it may be relative to.
    """
    text = entry.strip().replace("\\", "/")
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", "..")]
    if text.startswith("../"):  # of Roboflow, whose paths are relative to a folder in the data set
        yield from (root.joinpath(*parts) for root in roots)
    yield from (root / text for root in roots)
    yield from (data_dir.joinpath(*parts[start:]) for start in range(max(1, len(parts) - 1)))


def find_splits(data_dir: Path, description: Description) -> dict[str, SplitSources]:
    """split -> where its pictures are; empty when nothing of it is there."""
    described = {}
    roots = tuple(data_dir / root for root in dict.fromkeys((description.root, "")))
    for split, entries in description.splits.items():
        found = {entry: next(filter(os.path.exists, candidates(entry, data_dir, roots)), None) for entry in entries}
        places = tuple(_folder_of_pictures(path) for path in found.values() if path is not None)
        described[split] = SplitSources(places, tuple(entry for entry, path in found.items() if path is None))
    for name, entry in description.perhaps.items():
        places = map(_folder_of_pictures, filter(os.path.isdir, candidates(entry, data_dir, roots)))
        place = next((each for each in places if holds_file(each, IMAGE_EXTENSIONS)), None)
        if place is not None and not any(place in sources.places for sources in described.values()):
            described[name] = SplitSources((place,))
    if any(sources.places for sources in described.values()):
        return described
    return find_split_folders(data_dir)


def _folder_of_pictures(place: Path) -> Path:
    """`train/` may stand for `train/images/` with the labels in `train/labels/`."""
    is_above = (place / "images").is_dir() and (place / "labels").is_dir()
    return place / "images" if is_above else place


def find_split_folders(data_dir: Path) -> dict[str, SplitSources]:
    """The splits as the folders' names tell them; `all` where there are none."""
    images, labels = data_dir / "images", data_dir / "labels"
    if images.is_dir() and labels.is_dir():
        parts = [] if holds_file(images, IMAGE_EXTENSIONS) else subfolders(images)
        parts = [part for part in parts if (labels / part.name).is_dir()]
        return {part.name: SplitSources((part,)) for part in parts} or {ONE_SPLIT: SplitSources((images,))}
    parts = [part for part in subfolders(data_dir) if (part / "images").is_dir() and (part / "labels").is_dir()]
    if parts:
        return {part.name: SplitSources((part / "images",)) for part in parts}
    has_names = any((data_dir / name).is_file() for name in CLASS_FILES)
    is_beside = has_names and holds_file(data_dir, IMAGE_EXTENSIONS)
    return {ONE_SPLIT: SplitSources((data_dir,))} if is_beside else {}


def labels_folder(pictures: Path, data_dir: Path) -> Path:
    """Where the label files of the pictures in a folder are: the last `images` of its path is `labels`."""
    base = data_dir if pictures.is_relative_to(data_dir) else Path(pictures.anchor)
    parts = list(pictures.relative_to(base).parts)
    if "images" not in parts:
        return pictures
    last = len(parts) - 1 - parts[::-1].index("images")
    labels = base.joinpath(*parts[:last], "labels", *parts[last + 1 :])
    return pictures if not labels.is_dir() and holds_file(pictures, _TEXT) else labels
