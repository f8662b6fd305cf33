"""What every reader gives: pictures with their boxes as the annotations state them, unchecked.

Reader.images(split) -> AnnotatedImage | Finding, ...    (this file, and one subclass a format)
checks.make_example(image) -> Example + [Finding, ...]   (the rules for bad input)
report.SplitReport                                       (what was written, dropped, changed)
"""

from __future__ import annotations

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from luminoth.data.report import Finding
from luminoth.errors import DataError

# The split of a data set that is not divided into any.
ONE_SPLIT = "all"

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class AnnotatedBox:
    """One object as the annotation states it; nothing is checked yet.

    Attributes:
        corners: (x_min, y_min, x_max, y_max), continuous; NaN for what is not a number.
        label: the class's name.
        where: file and line (or object), for messages.
        is_group: around several objects at once, and to be left out for it (OpenImages).
    """

    corners: tuple[float, float, float, float]
    label: str
    where: str
    is_crowd: bool = False
    is_difficult: bool = False
    is_truncated: bool = False
    is_group: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """One picture as the annotation states it; the picture itself has not been opened.

    Attributes:
        image_id: what the annotation calls it; must be unique within its split.
        path: where the picture is, or, when it was not found, where it should be.
        boxes: its objects; none makes it a negative, which is kept.
        where: annotation file (and line), for messages.
        stated_size: (height, width) that the annotation claims, if it does.
        relative: the boxes' unit is the picture's width and height, not pixels.
        rescale: where the picture's size is not the stated one, the boxes are stretched with it (ImageNet);
            without it they are taken as they are.
        url: where to fetch the picture from when `path` is not there; it is then kept at `path`.
        findings: what the reader noticed that does not keep the picture from being used.
    """

    image_id: str
    path: Path
    boxes: tuple[AnnotatedBox, ...]
    where: str
    stated_size: tuple[int, int] | None = None
    relative: bool = False
    rescale: bool = False
    url: str = ""
    findings: tuple[Finding, ...] = ()

    def shows_only_others(self, class_names: Container[str]) -> bool:
        """Whether it has objects, but none of these classes."""
        return bool(self.boxes) and not any(box.label in class_names for box in self.boxes)


@dataclass(frozen=True)
class Option:
    """A setting of a reader (`-o key=value`).

    Attributes:
        default: used when it is not given; its type says how text is read (a tuple is a list split at commas).
        help: one line.
        choices: the accepted values, when only some are.
    """

    default: bool | int | str | tuple[str, ...] | None
    help: str
    choices: tuple[str, ...] = ()


class Reader(ABC):
    """A data set on disk. Subclasses state their layout and options, and walk through the annotations.

    Attributes:
        layout: the files the format consists of, for messages and help.
        options: the settings a subclass knows, besides `classes`.
        data_dir: the data set's folder.
        settings: option -> value.
        only_listed_classes: pictures none of whose objects is of the class list are left out, as with
            `--only-classes`, instead of kept as negatives.
    """

    layout: ClassVar[str]
    options: ClassVar[Mapping[str, Option]] = {}
    only_listed_classes: bool = False

    def __init__(self, data_dir: str | os.PathLike, options: Mapping[str, object] | None = None) -> None:
        self.data_dir = Path(data_dir)
        if not self.data_dir.is_dir():
            what = "is not a folder" if self.data_dir.exists() else "there is no such folder"
            raise DataError(f"{self.data_dir}: {what}; --data-dir must be the folder with {self.layout}")
        self.settings = _resolve_options(self.all_options(), options or {})

    @classmethod
    def all_options(cls) -> dict[str, Option]:
        """The reader's own options and those that all readers know."""
        common = {"classes": Option((), "the class names, in order (default: those in the annotations)")}
        return {**cls.options, **common}

    @classmethod
    @abstractmethod
    def recognise(cls, folder: Path) -> str | None:
        """What of this layout a folder holds, in a few words (`--type auto` says them), or None if it is another's.

        Looks at names, not into large files: the folder may hold a million pictures.
        """

    @abstractmethod
    def splits(self) -> list[str]:
        """The splits the folder holds; raises DataError when the layout does not fit."""

    @abstractmethod
    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The class names in the annotations, in the format's own order, or else sorted."""

    @abstractmethod
    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        """Walks through a split, in the annotations' order, opening no picture.

        A `Finding` in place of a picture says why there is none; raises DataError when the split's own
        files cannot be read.
        """

    def image_count(self, split: str) -> int | None:
        """About how many pictures `images` will give, when that is cheap to know."""
        return None

    def classes(self, splits: Sequence[str]) -> list[str]:
        """The class list that serves all `splits`: option `classes`, or what the annotations name."""
        names = list(self.settings["classes"] or self.annotated_classes(splits))
        if not names:
            raise DataError(
                f"{self.data_dir}: no annotation of {', '.join(splits)} names a class; "
                "if all pictures are meant to be empty, name the classes: -o classes=car,person"
            )
        if len(set(names)) != len(names):
            raise DataError(f"-o classes={','.join(names)}: each class may be named once")
        return names

    def class_name(self, given: str) -> str:
        """The name of a class as a person may give it (`--only-classes`): some formats have ids beside names."""
        return given

    def check_splits(self, asked: Sequence[str]) -> list[str]:
        """`asked`, or every split when none was asked for; raises DataError for one that is not there."""
        there = self.splits()
        missing = [split for split in asked if split not in there]
        if missing:
            raise DataError(
                f"{self.data_dir}: no split {', '.join(missing)}; there are: {', '.join(there)} "
                f"(looked for {self.layout})"
            )
        return list(dict.fromkeys(asked)) or there

    def layout_error(self, looked_for: str) -> DataError:
        """The error of a folder that is laid out otherwise: what was looked for, and what is there."""
        return DataError(
            f"{self.data_dir}: looked for {looked_for}, found {describe_folder(self.data_dir)}; "
            f"the layout must be {self.layout}"
        )

    def relative_name(self, path: Path) -> str:
        """The path within the data set, for messages."""
        return path.relative_to(self.data_dir).as_posix() if path.is_relative_to(self.data_dir) else str(path)


def describe_folder(folder: Path, most: int = 8) -> str:
    """What a folder holds, in a few words, for messages."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def parse_number(text: object) -> float:
    """A coordinate as a float; NaN when it is missing or not a number (`checks.py` reports it then)."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def parse_flag(value: object) -> bool | None:
    """A flag as formats write it: 0, 1, true, false, also as text; absent is False, None stands for anything else."""
    if value is None or isinstance(value, (bool, int, float)):
        return bool(value)
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in (*_FALSE, "") else None


def _resolve_options(known: Mapping[str, Option], given: Mapping[str, object]) -> dict[str, object]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataError(f"-o {name}: this reader has no such option; it knows {', '.join(known)}{hint}")
    return {name: _parse_option(name, option, given.get(name, option.default)) for name, option in known.items()}


def _parse_option(name: str, option: Option, value: object) -> object:
    if option.choices and value not in option.choices:
        raise DataError(f"-o {name}={value}: must be one of {', '.join(option.choices)}")
    if not isinstance(value, str):
        return value
    if isinstance(option.default, bool):
        if value.lower() not in _TRUE + _FALSE:
            raise DataError(f"-o {name}={value}: must be true or false")
        return value.lower() in _TRUE
    if isinstance(option.default, tuple):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value
