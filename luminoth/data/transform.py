"""From a reader to record files: filters, counts, and a promise that nothing half-written is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from luminoth.data.readers.base import AnnotatedImage, Reader
from luminoth.data.readers.checks import Checked, make_example
from luminoth.data.report import Effect, Finding, Kind, SplitReport
from luminoth.data.tfrecord import (
    CLASSES_FILE,
    RecordWriter,
    encode_example,
    list_splits,
    read_classes,
    write_classes,
    write_json,
)
from luminoth.errors import DataError, OutputError

_WORKERS = min(8, os.cpu_count() or 1)
_PICTURES_AHEAD = 32  # not a multiple of the workers: the report must not depend on the machine


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
class TransformReport:
    """What a run wrote.

    Attributes:
        output_dir: where.
        classes: the class list.
        splits: one report a split, also of those for which nothing was written.
    """

    output_dir: Path
    classes: list[str]
    splits: list[SplitReport] = field(default_factory=list)

    def records_file(self, split: str) -> Path:
        """Where the records of a split are."""
        return self.output_dir / f"{split}.tfrecords"


# called with the split, the pictures done and (when known) all there are
ProgressCallback = Callable[[str, int, int | None], None]


def transform(
    reader: Reader,
    output_dir: str | os.PathLike,
    splits: Sequence[str] = (),
    *,
    filters: Filters | None = None,
    strict: bool = False,
    on_progress: ProgressCallback | None = None,
) -> TransformReport:
    """Writes `<split>.tfrecords`, `<split>.report.json` and `classes.json`.

    All files are written in a folder beside `output_dir` and moved in when everything is done.

    Args:
        reader: the data set.
        output_dir: made when it is not there; files of the same names are replaced.
        splits: which; none given means every split of the data set.
        filters: what to leave out.
        strict: raise at the first picture or box that would have to be dropped.
        on_progress: told after each picture.

    Raises:
        DataError: no record came out, in all or of a split that was asked for; a split, class or picture
            that was asked for is not there; `strict` and something had to be dropped. Nothing is left then.
    """
    filters = filters or Filters()
    wanted = reader.check_splits(splits)
    classes = _wanted_classes(reader, wanted, filters)
    output_dir = Path(output_dir)
    _check_output(output_dir, wanted, classes)
    report = TransformReport(output_dir, classes)
    run = _Run(reader, classes, filters, strict, on_progress)
    with _folder_beside(output_dir) as beside:
        for split in wanted:
            split_report = run.write_split(split, beside)
            report.splits.append(split_report)
        _check_something_written(report, asked=splits, run=run)
        write_classes(beside, classes)
        for split_report in report.splits:
            write_json(beside / f"{split_report.split}.report.json", split_report.to_dict())
        _move_in(beside, output_dir, report)
    return report


class _Run:
    """One run over the splits, with what they share."""

    def __init__(
        self,
        reader: Reader,
        classes: list[str],
        filters: Filters,
        strict: bool,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._reader, self._filters, self._strict = reader, filters, strict
        self._classes, self._class_ids = classes, {name: index for index, name in enumerate(classes)}
        self._on_progress = on_progress
        self.image_names_not_met = set(filters.only_images)
        self.some_ids: list[str] = []
        self.labels_met: dict[str, None] = {}

    def write_split(self, split: str, folder: Path) -> SplitReport:
        """Writes one split's records into `folder`; no file when there are none."""
        report = SplitReport(split, boxes_per_class=Counter(dict.fromkeys(self._classes, 0)))
        path = folder / f"{split}.tfrecords"
        total = self._reader.image_count(split)
        with RecordWriter(path) as writer, closing(self._checked_images(split, report)) as images:
            for image, checked in images:
                if self._has_enough(image, report):  # counts have grown since it was sent to a worker
                    self._leave_out(image, report)
                else:
                    self._write(image, checked, writer, report)
                if self._on_progress is not None:
                    self._on_progress(split, report.images_found, total)
                if self._is_done(report):
                    report.stopped_early = True
                    break
        if report.images_written == 0:
            path.unlink()
        return report

    def _write(self, image: AnnotatedImage, checked: Checked, writer: RecordWriter, report: SplitReport) -> None:
        report.images_found += 1
        report.boxes_found += len(image.boxes)
        for finding in checked.findings:
            self._note(finding, report)
        example = checked.example
        if example is None:
            report.boxes_left_out += len(image.boxes)
            return
        writer.write(encode_example(example, self._classes))
        report.images_written += 1
        report.images_empty += len(example.boxes) == 0
        report.boxes_written += len(example.boxes)
        report.boxes_per_class.update(self._classes[class_id] for class_id in example.class_ids)

    def _leave_out(self, image: AnnotatedImage, report: SplitReport) -> None:
        report.images_found += 1
        report.images_left_out += 1
        report.boxes_found += len(image.boxes)
        report.boxes_left_out += len(image.boxes)

    def _note(self, finding: Finding, report: SplitReport) -> None:
        if self._strict and finding.kind.effect in (Effect.PICTURE_DROPPED, Effect.BOX_DROPPED):
            raise DataError(f"{finding}; leave --strict out to go on without it")
        report.findings.append(finding)

    # -- which pictures ------------------------------------------------------------------------------------

    def _checked_images(self, split: str, report: SplitReport) -> Iterator[tuple[AnnotatedImage, Checked]]:
        """The wanted pictures in order, decoded by several threads, a bounded number ahead."""
        waiting: deque[tuple[AnnotatedImage, Future[Checked]]] = deque()
        with ThreadPoolExecutor(_WORKERS) as workers:
            try:
                for image in self._wanted_images(split, report):
                    waiting.append((image, workers.submit(make_example, image, self._class_ids)))
                    if len(waiting) >= _PICTURES_AHEAD:
                        first, checked = waiting.popleft()
                        yield first, checked.result()
                while waiting:
                    first, checked = waiting.popleft()
                    yield first, checked.result()
            finally:
                for _, checked in waiting:
                    checked.cancel()

    def _wanted_images(self, split: str, report: SplitReport) -> Iterator[AnnotatedImage]:
        """Walks through the annotations; what the filters leave out is counted in `report` on the way."""
        seen: set[str] = set()
        for item in self._reader.images(split):
            if isinstance(item, Finding):
                report.images_found += item.kind.effect is Effect.PICTURE_DROPPED
                report.boxes_found += item.kind.effect is Effect.BOX_DROPPED
                self._note(item, report)
                continue
            if item.image_id in seen:
                report.images_found += 1
                report.boxes_found += len(item.boxes)
                report.boxes_left_out += len(item.boxes)
                finding = Finding(Kind.DUPLICATE_ID, item.image_id, item.where, "the first one is kept")
                self._note(finding, report)
                continue
            seen.add(item.image_id)
            image = self._narrowed(item, report)
            if image is not None:
                yield image

    def _narrowed(self, image: AnnotatedImage, report: SplitReport) -> AnnotatedImage | None:
        """The picture with the boxes of the wanted classes, or None when it is not wanted."""
        if len(self.some_ids) < 5:
            self.some_ids.append(image.image_id)
        self.labels_met.update(dict.fromkeys(box.label for box in image.boxes))
        if self._filters.only_images:
            names = {image.image_id, image.path.name, image.path.stem}.intersection(self._filters.only_images)
            if not names:
                self._leave_out(image, report)
                return None
            self.image_names_not_met -= names
        if not self._filters.only_classes:
            return image
        kept = tuple(box for box in image.boxes if box.label in self._class_ids)
        if image.boxes and not kept:
            self._leave_out(image, report)
            return None
        report.boxes_found += len(image.boxes) - len(kept)
        report.boxes_left_out += len(image.boxes) - len(kept)
        return replace(image, boxes=kept)

    def _has_enough(self, image: AnnotatedImage, report: SplitReport) -> bool:
        wanted = self._filters.class_examples
        if wanted is None:
            return False
        known = [box.label for box in image.boxes if box.label in self._class_ids]
        return all(report.boxes_per_class[label] >= wanted for label in known)

    def _is_done(self, report: SplitReport) -> bool:
        filters = self._filters
        if filters.limit_examples is not None and report.images_written >= filters.limit_examples:
            return True
        wanted = filters.class_examples
        return wanted is not None and all(report.boxes_per_class[name] >= wanted for name in self._classes)


# --- Before and after ------------------------------------------------------------


def _wanted_classes(reader: Reader, splits: Sequence[str], filters: Filters) -> list[str]:
    classes = reader.classes(splits)
    unknown = [name for name in filters.only_classes if name not in classes]
    if unknown:
        there = _some(classes, 30)
        yours = ", ".join(unknown)
        if len(unknown) == len(set(filters.only_classes)):
            boxes = sum(len(item.boxes) for item in _all_images(reader, splits))
            raise DataError(f"--only-classes: 0 of {boxes} annotations matched; yours: {yours}; there are: {there}")
        raise DataError(f"--only-classes: no class {yours}; there are: {there}")
    return [name for name in classes if not filters.only_classes or name in filters.only_classes]


def _all_images(reader: Reader, splits: Sequence[str]) -> Iterator[AnnotatedImage]:
    for split in splits:
        yield from (item for item in reader.images(split) if isinstance(item, AnnotatedImage))


def _check_output(output_dir: Path, splits: Sequence[str], classes: list[str]) -> None:
    """Records of other splits that are already there must not be given another class list."""
    if output_dir.exists() and not output_dir.is_dir():
        raise DataError(f"{output_dir}: is a file; --output-dir must be a folder")
    for split in splits:
        if any(output_dir.glob(f"{split}-?????-of-?????.tfrecords")):
            raise DataError(
                f"{output_dir}: holds shards of {split} ({split}-00000-of-...); delete them or choose another folder"
            )
    others = [split for split in list_splits(output_dir) if split not in splits] if output_dir.is_dir() else []
    if others and (output_dir / CLASSES_FILE).is_file():
        there = read_classes(output_dir)
        if there != classes:
            raise DataError(
                f"{output_dir}: holds records of {', '.join(others)} with the classes {_some(there, 30)}, "
                f"but these are {_some(classes, 30)}; write all splits in one call, "
                "or choose another --output-dir"
            )


def _check_something_written(report: TransformReport, asked: Sequence[str], run: _Run) -> None:
    empty = [split for split in report.splits if split.images_written == 0]
    if run.image_names_not_met and not any(split.stopped_early for split in report.splits):
        names = sorted(run.image_names_not_met)
        found = sum(split.images_found for split in report.splits)
        matched = sum(split.images_found - split.images_left_out for split in report.splits)
        raise DataError(
            f"--only-images: {matched} of {found} pictures matched; not there: {_some(names, 10)}; "
            f"there are: {_some(run.some_ids, 5)}{' ...' if found > len(run.some_ids) else ''}"
        )
    if len(empty) == len(report.splits) or any(split.split in asked for split in empty):
        raise DataError("; ".join(_why_empty(split) for split in empty) + "; nothing was written")
    _check_some_box_matched(report, run)


def _check_some_box_matched(report: TransformReport, run: _Run) -> None:
    """Annotations of which none is of the class list are a mistake in the list, not a set of empty pictures."""
    found = sum(split.boxes_found for split in report.splits)
    if found == 0 or any(split.boxes_written or split.stopped_early for split in report.splits):
        return
    if not run.labels_met.keys() & set(report.classes):
        raise DataError(
            f"0 of {found} annotations matched; yours: {_some(report.classes, 30)}; "
            f"there are: {_some(list(run.labels_met), 30)}; nothing was written"
        )
    reasons = [
        finding for split in report.splits for finding in split.findings if finding.kind.effect is Effect.BOX_DROPPED
    ]
    first = f"; the first: {reasons[0]}" if reasons else ""
    raise DataError(f"none of {found} boxes could be used{first}; nothing was written")


def _why_empty(report: SplitReport) -> str:
    if report.images_found == 0:
        return f"{report.split}: no record: the annotations list no picture"
    reasons = [
        f"{findings[0].kind.label} ({len(findings)}, the first: {findings[0].where})"
        for kind, findings in report.by_kind().items()
        if kind.effect is Effect.PICTURE_DROPPED
    ]
    if report.images_left_out:
        reasons.append(f"left out by the filters ({report.images_left_out})")
    return f"{report.split}: no record of {report.images_found} pictures: {', '.join(reasons)}"


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the same file system as `target`, deleted at the end with whatever is left in it.

    After an error, folders that were made on the way to `target` are gone too.
    """
    parent = target.absolute().parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=parent))
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{target}: cannot be written ({reason}); choose another folder") from error
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            with suppress(OSError):
                empty.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _move_in(beside: Path, output_dir: Path, report: TransformReport) -> None:
    """Puts the finished files in place, class list first: records are never seen without it."""
    output_dir.mkdir(parents=True, exist_ok=True)
    os.replace(beside / CLASSES_FILE, output_dir / CLASSES_FILE)
    for split in report.splits:
        name = f"{split.split}.tfrecords"
        if split.images_written:
            os.replace(beside / name, output_dir / name)
        else:
            (output_dir / name).unlink(missing_ok=True)  # of an earlier run; it would not fit the report
        os.replace(beside / f"{split.split}.report.json", output_dir / f"{split.split}.report.json")
