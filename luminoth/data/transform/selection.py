"""Which pictures and boxes of a data set are wanted: Luminoth's filters, applied while walking the annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from luminoth.data.readers.base import AnnotatedImage, Reader
from luminoth.data.report import Finding, SplitReport
from luminoth.data.source import unique_pictures
from luminoth.errors import DataError


@dataclass(frozen=True)
class Filters:
    """Which pictures and boxes are wanted; the default is all.

    Attributes:
        only_classes: class names; boxes of others are left out, and pictures that had only such boxes.
        only_images: image ids or file names, with or without extension.
        limit_examples: most records a split.
        class_examples: a split ends once every class has about this many boxes; pictures that add only to
            classes which have them are left out.
    """

    only_classes: tuple[str, ...] = ()
    only_images: tuple[str, ...] = ()
    limit_examples: int | None = None
    class_examples: int | None = None


@dataclass(frozen=True)
class Wanted:
    """A picture to be written, without the boxes that the filters take away."""

    image: AnnotatedImage
    boxes_left_out: int


@dataclass(frozen=True)
class LeftOut:
    """A picture that the filters take away, with its boxes."""

    boxes: int


class Selection:
    """Walks through a data set and applies the filters that need nothing but the annotations.

    Attributes:
        classes: the class list, narrowed to `only_classes`.
        class_ids: class name -> id.
        images_not_met: of `only_images`, those that have not come along yet.
        some_ids: the first few image ids, for messages.
        labels_met: the class names in the annotations, in the order of their appearance.
    """

    def __init__(self, reader: Reader, splits: Sequence[str], filters: Filters) -> None:
        only_classes = tuple(reader.class_name(given) for given in filters.only_classes)
        self._reader, self._filters = reader, replace(filters, only_classes=only_classes)
        self._leaves_out_others = bool(only_classes) or reader.only_listed_classes
        self.classes = _wanted_classes(reader, splits, only_classes)
        self.class_ids: Mapping[str, int] = {name: index for index, name in enumerate(self.classes)}
        self.images_not_met = set(filters.only_images)
        self.some_ids: list[str] = []
        self.labels_met: dict[str, None] = {}

    def walk(self, split: str) -> Iterator[Wanted | LeftOut | Finding]:
        """A split's pictures in the annotations' order; none has been opened."""
        for item in unique_pictures(self._reader, split):
            yield item if isinstance(item, Finding) else self._judge(item)

    def _judge(self, image: AnnotatedImage) -> Wanted | LeftOut:
        if len(self.some_ids) < 5:
            self.some_ids.append(image.image_id)
        self.labels_met.update(dict.fromkeys(box.label for box in image.boxes))
        if self._filters.only_images:
            names = {image.image_id, image.path.name, image.path.stem}.intersection(self._filters.only_images)
            if not names:
                return LeftOut(len(image.boxes))
            self.images_not_met -= names
        if not self._leaves_out_others:
            return Wanted(image, 0)
        kept = tuple(box for box in image.boxes if box.label in self.class_ids)
        if image.boxes and not kept:
            return LeftOut(len(image.boxes))
        return Wanted(replace(image, boxes=kept), len(image.boxes) - len(kept))

    # -- filters that look at what has been written --------------------------------------------------------

    def has_enough(self, class_ids: Sequence[int], report: SplitReport) -> bool:
        """Whether a picture with boxes of these classes would add only to classes that have enough."""
        wanted = self._filters.class_examples
        return wanted is not None and all(report.boxes_per_class[self.classes[each]] >= wanted for each in class_ids)

    def is_done(self, report: SplitReport) -> bool:
        """Whether the split has all that is wanted of it."""
        limit, wanted = self._filters.limit_examples, self._filters.class_examples
        if limit is not None and report.images_written >= limit:
            return True
        return wanted is not None and all(report.boxes_per_class[name] >= wanted for name in self.classes)


def _wanted_classes(reader: Reader, splits: Sequence[str], only_classes: Sequence[str]) -> list[str]:
    classes = reader.classes(splits)
    unknown = [name for name in only_classes if name not in classes]
    if unknown:
        there = some(classes, 30)
        yours = ", ".join(unknown)
        if len(unknown) == len(set(only_classes)):
            boxes = sum(len(item.boxes) for item in _all_images(reader, splits))
            raise DataError(f"--only-classes: 0 of {boxes} annotations matched; yours: {yours}; there are: {there}")
        raise DataError(f"--only-classes: no class {yours}; there are: {there}")
    return [name for name in classes if not only_classes or name in only_classes]


def _all_images(reader: Reader, splits: Sequence[str]) -> Iterator[AnnotatedImage]:
    for split in splits:
        yield from (item for item in reader.images(split) if isinstance(item, AnnotatedImage))


def some(names: Sequence[str], most: int) -> str:
    """The first names of a list, for messages."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
