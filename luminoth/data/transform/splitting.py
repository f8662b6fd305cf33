"""`--split-ratio`: a data set without splits, or with others than wanted, seen as if it had them.

parse_ratios("0.8/0.2")                 {"train": 0.8, "val": 0.2}
split_reader(reader, ratios, seed)      a Reader with the splits train and val

No two pictures that are the same or look alike (`similarity.py`) end in different splits, and each class is spread
over them as all pictures are (`stratification.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from luminoth.data.parallel import map_chunks
from luminoth.data.readers.base import AnnotatedImage, Reader
from luminoth.data.readers.fetch import fetch_pictures
from luminoth.data.report import Finding, Kind
from luminoth.data.similarity import Fingerprint, fingerprint, group_pictures, members
from luminoth.data.source import unique_pictures
from luminoth.data.transform.stratification import stratify
from luminoth.errors import DataError, ImageError

_NAMES = {2: ("train", "val"), 3: ("train", "val", "test")}
_NAME = re.compile(r"\w[\w.+-]*")
_ROUNDING = 0.01  # 0.33/0.33/0.33 is meant well
_FORM = "--split-ratio must be like 0.8/0.2 (train, val), 0.8/0.1/0.1 (train, val, test) or train=0.7/dev=0.3"


def parse_ratios(text: str) -> dict[str, float]:
    """Reads `0.8/0.2`, `0.8/0.1/0.1` or `train=0.7/dev=0.3`: split -> its share of the pictures.

    Shares of 0 are left out, and the others are made to add up to 1 exactly.

    Raises:
        DataError: it is none of these, or the shares do not add up to 1.
    """
    parts = [part.strip() for part in text.split("/")]
    named = [part.rpartition("=") for part in parts]
    names = [name.strip() for name, equals, _ in named if equals]
    if names and len(names) < len(parts):
        raise DataError(f"--split-ratio {text}: name all splits or none; {_FORM}")
    if not names and len(parts) not in _NAMES:
        raise DataError(f"--split-ratio {text}: {len(parts)} shares without names; {_FORM}")
    names = names or list(_NAMES[len(parts)])
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise DataError(f"--split-ratio {text}: splits must have different names, of letters and digits; {_FORM}")
    try:
        shares = [float(share) for _, _, share in named]
    except ValueError as error:
        raise DataError(f"--split-ratio {text}: a share is no number; {_FORM}") from error
    return _check_ratios(dict(zip(names, shares, strict=True)), text)


def _check_ratios(ratios: Mapping[str, float], text: str) -> dict[str, float]:
    total = sum(ratios.values())
    if not all(0 <= share <= 1 for share in ratios.values()) or abs(total - 1) > _ROUNDING:  # NaN is not within 0 to 1
        raise DataError(f"--split-ratio {text}: the shares must be from 0 to 1 and add up to 1, not {total:g}; {_FORM}")
    return {name: share / total for name, share in ratios.items() if share > 0}


# called with what is done, the pictures done and (when known) all there are
ProgressCallback = Callable[[str, int, int | None], None]


def split_reader(
    reader: Reader,
    ratios: Mapping[str, float],
    seed: int,
    *,
    splits: Sequence[str] = (),
    only_classes: Sequence[str] = (),
    workers: int = 1,
    on_progress: ProgressCallback | None = None,
) -> SplitReader:
    """Divides the pictures of a data set anew. Every picture is opened once, to compare it with the others.

    Args:
        reader: the data set.
        ratios: split -> its share, from `parse_ratios`.
        seed: another one gives another division; the number of processes does not.
        splits: of `reader`, whose pictures are divided; none given means all.
        only_classes: the filter of the transform that follows: pictures that show other classes only are left out of
            the comparison and of the shares. (They stay in the first split, where the transform leaves them out.)
        workers: processes that open pictures.
        on_progress: told after each picture.

    Raises:
        DataError: there are too few pictures, or all look alike; a split that was asked for is not there.
    """
    sources = reader.check_splits(splits)
    survey = _Survey(reader, sources, only_classes)
    total = _total_count(reader, sources)
    looks: list[Fingerprint | None] = []
    for look in map_chunks(_look_at, survey.pictures(_pool(reader, sources)), workers=workers):
        looks.append(look)
        if on_progress is not None:
            on_progress("comparing pictures", len(looks), total)
    groups = group_pictures(looks).similar
    is_readable = np.asarray([look is not None for look in looks], bool)
    split_of_picture = _divide(groups, survey.labels, is_readable, list(ratios.values()), np.random.default_rng(seed))
    return SplitReader(reader, ratios, seed, sources, survey.places(split_of_picture), groups)


class SplitReader(Reader):
    """A reader's pictures with another division into splits; made by `split_reader`.

    What has no picture (a duplicate, an annotation that cannot be read) is reported in the first split.

    Attributes:
        reader: the data set as it is.
        kept_together: the sizes of the groups of pictures that are the same or look alike, largest first.
    """

    layout = "splits made by --split-ratio"

    def __init__(
        self,
        reader: Reader,
        ratios: Mapping[str, float],
        seed: int,
        sources: Sequence[str],
        split_of_item: np.ndarray,
        groups: np.ndarray,
    ) -> None:
        """See `split_reader`. `split_of_item`: of everything that `reader` yields of the splits `sources`, in order."""
        self.reader, self.data_dir = reader, reader.data_dir
        self.only_listed_classes = reader.only_listed_classes
        # An interrupted transform goes on only when these are the same.
        self.settings = {
            **reader.settings,
            "divided": f"{type(reader).__qualname__} {list(sources)} {dict(ratios)} seed {seed}",
        }
        self.kept_together = sorted((len(group) for group in members(groups)), reverse=True)
        self._names, self._sources, self._split_of_item = list(ratios), list(sources), split_of_item

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        return None  # it is no layout of its own

    def splits(self) -> list[str]:
        return list(self._names)

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        return self.reader.annotated_classes(self._sources)

    def classes(self, splits: Sequence[str]) -> list[str]:
        return self.reader.classes(self._sources)

    def class_name(self, given: str) -> str:
        return self.reader.class_name(given)

    def image_count(self, split: str) -> int:
        return int((self._split_of_item == self._names.index(split)).sum())

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        number = self._names.index(split)
        for place, item in enumerate(_pool(self.reader, self._sources)):
            if place == len(self._split_of_item):
                raise DataError(f"{self.data_dir}: the annotations have changed while they were read; start again")
            if self._split_of_item[place] == number:
                yield item


class _Survey:
    """What is kept of the annotations while the pictures are opened: their classes, and what is no picture."""

    def __init__(self, reader: Reader, sources: Sequence[str], only_classes: Sequence[str]) -> None:
        only = {reader.class_name(given) for given in only_classes}
        names = [name for name in reader.classes(sources) if not only or name in only]
        self.labels: list[tuple[int, ...]] = []
        self._class_ids = {name: index for index, name in enumerate(names)}
        self._leaves_out_others = bool(only) or reader.only_listed_classes
        self._is_picture = bytearray()

    def pictures(self, items: Iterator[AnnotatedImage | Finding]) -> Iterator[AnnotatedImage]:
        """Passes the pictures on, without their boxes."""
        for item in items:
            is_picture = isinstance(item, AnnotatedImage) and not self._is_left_out(item)
            self._is_picture.append(is_picture)
            if is_picture:
                labels = {self._class_ids[box.label] for box in item.boxes if box.label in self._class_ids}
                self.labels.append(tuple(sorted(labels)))
                yield replace(item, boxes=(), findings=())

    def _is_left_out(self, image: AnnotatedImage) -> bool:
        return self._leaves_out_others and image.shows_only_others(self._class_ids)

    def places(self, split_of_picture: np.ndarray) -> np.ndarray:
        """The splits of all items; of what is no picture the first."""
        is_picture = np.frombuffer(self._is_picture, bool)
        places = np.zeros(len(is_picture), np.uint8)
        places[is_picture] = split_of_picture
        return places


def _divide(
    groups: np.ndarray,
    labels: Sequence[Sequence[int]],
    is_readable: np.ndarray,
    shares: Sequence[float],
    rng: np.random.Generator,
) -> np.ndarray:
    """The split of each picture. Those that cannot be read will be dropped: they must not take the places of others."""
    readable, unreadable = np.flatnonzero(is_readable), np.flatnonzero(~is_readable)
    if len(readable) < len(shares):
        raise DataError(
            f"--split-ratio: {len(shares)} splits cannot be made of {len(readable)} pictures"
            + (f"; {len(unreadable)} more cannot be read: see `lumi dataset check`" if len(unreadable) else "")
        )
    split_of_picture = np.zeros(len(groups), np.int64)
    split_of_picture[readable] = stratify(groups[readable], [labels[each] for each in readable], shares, rng)
    if len(unreadable) >= len(shares):
        of_unreadable = [labels[each] for each in unreadable]
        split_of_picture[unreadable] = stratify(groups[unreadable], of_unreadable, shares, rng)
    return split_of_picture


def _pool(reader: Reader, sources: Sequence[str]) -> Iterator[AnnotatedImage | Finding]:
    """All that a reader says of several splits, as of one.

    A picture that several splits list is reported as listed twice; one that only shares its id with another has the
    split's name put before it.
    """
    path_of: dict[str, Path] = {}
    for split in sources:
        for item in unique_pictures(reader, split):
            if isinstance(item, AnnotatedImage) and len(sources) > 1:
                if path_of.get(item.image_id) == item.path:
                    detail = f"in {split} again; the first one is kept"
                    item = Finding(Kind.DUPLICATE_ID, item.image_id, item.where, detail, len(item.boxes))
                else:
                    item = _renamed(item, split, path_of)
                    path_of[item.image_id] = item.path
            yield item


def _renamed(image: AnnotatedImage, split: str, taken: Mapping[str, Path]) -> AnnotatedImage:
    image_id = image.image_id
    while image_id in taken:
        image_id = f"{split}/{image_id}"
    return image if image_id == image.image_id else replace(image, image_id=image_id)


def _total_count(reader: Reader, splits: Sequence[str]) -> int | None:
    counts = [reader.image_count(split) for split in splits]
    return None if None in counts else sum(counts)


def _look_at(images: Sequence[AnnotatedImage]) -> list[Fingerprint | None]:
    """The pictures' fingerprints; None for those that are missing or damaged, which the transform will report."""
    fetch_pictures(images)
    looks: list[Fingerprint | None] = []
    for image in images:
        look = None
        with suppress(OSError, ImageError):
            look = fingerprint(image.path.read_bytes())
        looks.append(look)
    return looks
