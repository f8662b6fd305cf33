"""From a data set to record files: in parallel, in shards, resumable, and with nothing half-written in view.

    Selection.walk ──> make_outcomes ─────────────> SplitStore, report
    (this process)     (worker processes, in order)  (this process)

What is written follows from the data set and the arguments alone, whatever the number of processes, and wherever a run
was interrupted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from luminoth import __version__
from luminoth.data.parallel import map_chunks
from luminoth.data.readers.base import Reader
from luminoth.data.record_files import (
    CLASSES_FILE,
    list_splits,
    read_classes,
    record_paths,
    write_classes,
    write_json,
)
from luminoth.data.report import Effect, Finding, SplitReport
from luminoth.data.transform.journal import SplitStore
from luminoth.data.transform.outcomes import Outcome, fingerprint, make_outcomes
from luminoth.data.transform.selection import Filters, LeftOut, Selection, Wanted, some
from luminoth.data.transform.workspace import Workspace
from luminoth.errors import DataError


@dataclass(frozen=True)
class TransformReport:
    """What a run wrote.

    Attributes:
        output_dir: where.
        classes: the class list.
        splits: one report a split, also of those for which nothing was written.
        resumed: how many pictures an interrupted run had done already.
    """

    output_dir: Path
    classes: list[str]
    splits: list[SplitReport] = field(default_factory=list)
    resumed: int = 0

    def record_files(self, split: str) -> list[Path]:
        """Where the records of a split are."""
        return record_paths(self.output_dir, split)


# called with the split, the pictures done and (when known) all there are
ProgressCallback = Callable[[str, int, int | None], None]


def transform(
    reader: Reader,
    output_dir: str | os.PathLike,
    splits: Sequence[str] = (),
    *,
    filters: Filters | None = None,
    strict: bool = False,
    workers: int = 1,
    shards: int | None = None,
    max_size: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> TransformReport:
    """Writes a split's records (`<split>.tfrecords` or shards), `<split>.report.json` and `classes.json`.

    All files are written in a folder beside `output_dir` and moved in when everything is done. After an interruption
    (Ctrl-C, a lost machine, a full disk) that folder stays, and the same call goes on from it.

    Args:
        reader: the data set.
        output_dir: made when it is not there; files of the same splits are replaced.
        splits: which; none given means every split of the data set.
        filters: what to leave out.
        strict: raise at the first picture or box that would have to be dropped.
        workers: processes that open pictures.
        shards: record files a split; None: a new one at 10,000 records or a gigabyte.
        max_size: most pixels of a picture's longer side; larger ones are shrunk. None: no limit.
        on_progress: told after each picture.

    Raises:
        DataError: no record came out, in all or of a split that was asked for; a split, class or picture
            that was asked for is not there; `strict` and something had to be dropped. Nothing is left then.
        OutputError: `output_dir` cannot be written, or another run is writing there.
        WorkerError: a worker process ended by itself.
    """
    filters = filters or Filters()
    wanted = reader.check_splits(splits)
    selection = Selection(reader, wanted, filters)
    output_dir = Path(output_dir)
    check_output(output_dir, wanted, selection.classes)
    settings = {
        "luminoth": __version__,
        "reader": f"{type(reader).__module__}.{type(reader).__qualname__}",
        "data_dir": str(reader.data_dir.absolute()),
        "options": {name: str(value) for name, value in reader.settings.items()},
        "splits": wanted,
        "classes": selection.classes,
        "filters": asdict(filters),
        "strict": strict,
        "shards": shards,
        "max_size": max_size,
    }
    with Workspace(output_dir, settings) as workspace:
        run = _Run(workspace.folder, strict, workers, shards, max_size, on_progress)
        try:
            reports = [run.write_split(split, reader, selection) for split in wanted]
        except _AnnotationsChangedError:
            workspace.clear()
            run = _Run(workspace.folder, strict, workers, shards, max_size, on_progress)
            reports = [run.write_split(split, reader, selection) for split in wanted]
        report = TransformReport(output_dir, selection.classes, reports, run.replayed)
        check_something_written(report, asked=splits, selection=selection)
        write_classes(workspace.folder, selection.classes)
        for split_report in reports:
            write_json(workspace.folder / f"{split_report.split}.report.json", split_report.to_dict())
        move_in(workspace.folder, output_dir, wanted, run.files)
    return report


class _AnnotationsChangedError(Exception):
    """What an interrupted run did does not fit the annotations as they are now."""


class _Run:
    """One run over the splits, with what they share.

    Attributes:
        replayed: pictures that an interrupted run had done.
        files: part file -> the name that it has in a folder of records.
    """

    def __init__(
        self,
        folder: Path,
        strict: bool,
        workers: int,
        shards: int | None,
        max_size: int | None,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._folder, self._strict, self._workers = folder, strict, workers
        self._shards, self._max_size = shards, max_size
        self._on_progress = on_progress or (lambda split, done, total: None)
        self.replayed = 0
        self.files: dict[Path, str] = {}

    def write_split(self, split: str, reader: Reader, selection: Selection) -> SplitReport:
        """Writes one split's part files."""
        report = SplitReport(split, boxes_per_class=Counter(dict.fromkeys(selection.classes, 0)))
        total = reader.image_count(split)
        work = partial(make_outcomes, selection.classes, self._max_size)
        store = SplitStore(self._folder, split, self._shards)
        try:
            with closing(selection.walk(split)) as items:
                results = map_chunks(work, items, workers=self._workers)
                with closing(results):
                    for result in chain(_replayed(store, items), results):
                        self._account(result, report, selection, store)
                        self._on_progress(split, report.images_found, total)
                        if selection.is_done(report):
                            report.stopped_early = True
                            break
        finally:
            files = store.close()
        self.replayed += store.replayed
        self.files |= files
        return report

    def _account(
        self, result: Outcome | LeftOut | Finding, report: SplitReport, selection: Selection, store: SplitStore
    ) -> None:
        if isinstance(result, Outcome) and selection.has_enough(result.known_ids, report):
            store.keep(result, is_wanted=False)
            report.leave_out(result.boxes)
            return
        if isinstance(result, Outcome):
            store.keep(result, is_wanted=True)
        account(result, report, selection.classes, self._strict)


def account(result: Outcome | LeftOut | Finding, report: SplitReport, classes: Sequence[str], strict: bool) -> None:
    """Counts what became of a picture.

    Raises:
        DataError: `strict`, and a picture or a box had to be dropped.
    """
    findings = [result] if isinstance(result, Finding) else getattr(result, "findings", ())
    for finding in findings if strict else ():
        if finding.kind.effect in (Effect.PICTURE_DROPPED, Effect.BOX_DROPPED):
            raise DataError(f"{finding}; leave --strict out to go on without it")
    if isinstance(result, Finding):
        report.note(result)
    elif isinstance(result, LeftOut):
        report.leave_out(result.boxes)
    else:
        written = result.written_ids
        names = None if written is None else [classes[class_id] for class_id in written]
        report.count(result.boxes, result.boxes_left_out, names, result.findings)


def _replayed(store: SplitStore, items: Iterator[Wanted | LeftOut | Finding]) -> Iterator[Outcome | LeftOut | Finding]:
    """What an interrupted run did, in the place of the pictures that `items` gives; the rest stays in `items`."""
    for outcome in store.replay():
        for item in items:
            if isinstance(item, Wanted):
                break
            yield item
        else:
            raise _AnnotationsChangedError
        if fingerprint(item) != outcome.fingerprint:
            raise _AnnotationsChangedError
        yield outcome


# --- Before and after ------------------------------------------------------------


def check_output(output_dir: Path, splits: Sequence[str], classes: list[str]) -> None:
    """Refuses an output folder whose other records have another class list; one `classes.json` serves all.

    Raises:
        DataError: it has, or `output_dir` is a file.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise DataError(f"{output_dir}: is a file; --output-dir must be a folder")
    others = [split for split in list_splits(output_dir) if split not in splits] if output_dir.is_dir() else []
    if others and (output_dir / CLASSES_FILE).is_file():
        there = read_classes(output_dir)
        if there != classes:
            raise DataError(
                f"{output_dir}: holds records of {', '.join(others)} with the classes {some(there, 30)}, "
                f"but these are {some(classes, 30)}; write all splits in one call, "
                "or choose another --output-dir"
            )


def check_something_written(report: TransformReport, asked: Sequence[str], selection: Selection) -> None:
    """Refuses a result that nobody can have meant.

    Raises:
        DataError: no record at all, or of a split that was asked for; pictures that were asked for are not there; no
            box is of the class list.
    """
    empty = [split for split in report.splits if split.images_written == 0]
    if selection.images_not_met and not any(split.stopped_early for split in report.splits):
        names = sorted(selection.images_not_met)
        found = sum(split.images_found for split in report.splits)
        matched = sum(split.images_found - split.images_left_out for split in report.splits)
        raise DataError(
            f"--only-images: {matched} of {found} pictures matched; not there: {some(names, 10)}; "
            f"there are: {some(selection.some_ids, 5)}{' ...' if found > len(selection.some_ids) else ''}"
        )
    if len(empty) == len(report.splits) or any(split.split in asked for split in empty):
        raise DataError("; ".join(_why_empty(split) for split in empty) + "; nothing was written")
    _check_some_box_matched(report, selection)


def _check_some_box_matched(report: TransformReport, selection: Selection) -> None:
    """Annotations of which none is of the class list are a mistake in the list, not a set of empty pictures."""
    found = sum(split.boxes_found for split in report.splits)
    if found == 0 or any(split.boxes_written or split.stopped_early for split in report.splits):
        return
    if not selection.labels_met.keys() & set(report.classes):
        raise DataError(
            f"0 of {found} annotations matched; yours: {some(report.classes, 30)}; "
            f"there are: {some(list(selection.labels_met), 30)}; nothing was written"
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


def move_in(folder: Path, output_dir: Path, splits: Sequence[str], files: Mapping[Path, str]) -> None:
    """Puts finished files in place: the class list first, so that records are never seen without it.

    Args:
        folder: where `classes.json` and the reports are.
        output_dir: where everything goes; what is there of the same splits is replaced.
        splits: those that were written.
        files: record file -> its name in `output_dir`.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    os.replace(folder / CLASSES_FILE, output_dir / CLASSES_FILE)
    for split in splits:
        for path in record_paths(output_dir, split):  # of an earlier run, perhaps in other shards
            path.unlink()
        os.replace(folder / f"{split}.report.json", output_dir / f"{split}.report.json")
    for path, name in files.items():
        os.replace(path, output_dir / name)
