"""The transform as an Apache Beam pipeline: the same readers, checks and records, on as many machines as a runner has.

    Selection.walk ──> Create ──> make_outcomes ──┬─> WriteToTFRecord
    (this machine)                (workers)       └─> WriteToText ──> report  (this machine)

The annotations are read where the command runs; what is large, the pictures, is read, checked and written by the
workers. Without options the runner is Beam's local one.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from luminoth.data.parallel import CHUNK
from luminoth.data.readers.base import Reader
from luminoth.data.record_files import CLASSES_FILE, shard_names
from luminoth.data.report import SplitReport
from luminoth.data.transform.outcomes import Outcome, make_outcomes, outcome_from_json, outcome_to_json
from luminoth.data.transform.run import TransformReport, account, check_output, check_something_written
from luminoth.data.transform.selection import Filters, Selection, Wanted
from luminoth.data.transform.shards import RECORDS_A_SHARD
from luminoth.errors import DataError, OutputError

_PARTIAL = ".partial"

# where a picture stands in the annotations' order, and what is to be made of it
_Numbered = tuple[int, Wanted]


def transform_on_beam(
    reader: Reader,
    output_dir: str,
    splits: Sequence[str] = (),
    *,
    filters: Filters | None = None,
    strict: bool = False,
    shards: int | None = None,
    max_size: int | None = None,
    remote_data_dir: str = "",
    beam_options: Sequence[str] = (),
) -> TransformReport:
    """Writes what `transform` writes, by a pipeline. The order of the records is the runner's.

    Args:
        reader: the data set; its annotations are read on this machine.
        output_dir: a folder, or an address that Beam's file systems know (`gs://bucket/tf`).
        splits: which; none given means every split of the data set.
        filters: what to leave out; not the two that depend on what was written before.
        strict: raise when a picture or box had to be dropped.
        shards: record files a split; None: one for each 10,000 pictures.
        max_size: most pixels of a picture's longer side; larger ones are shrunk. None: no limit.
        remote_data_dir: what the reader's `data_dir` is to the workers (`gs://bucket/set`); by default the same.
        beam_options: Beam's and the runner's own, such as `--runner=DataflowRunner`.

    Raises:
        DataError: as for `transform`; or a filter that needs an order.
        OutputError: the output cannot be written.
    """
    filters = filters or Filters()
    for name in ("limit_examples", "class_examples"):
        if getattr(filters, name) is not None:
            option = name.replace("_", "-")
            raise DataError(f"--{option}: goes by the order in which pictures are written, which --runner beam has not")
    wanted = reader.check_splits(splits)
    selection = Selection(reader, wanted, filters)
    if "://" not in output_dir:
        check_output(Path(output_dir), wanted, selection.classes)
    workspace = posixpath.join(output_dir, _PARTIAL)
    open_picture = partial(_open, os.fspath(reader.data_dir), remote_data_dir) if remote_data_dir else Path.read_bytes
    make = partial(make_outcomes, selection.classes, max_size, read=open_picture)
    options = PipelineOptions(list(beam_options) or ["--runner=FnApiRunner"], save_main_session=False)
    try:
        _remove(workspace)
        FileSystems.mkdirs(workspace)
        reports, files = [], {}
        for split in wanted:
            report = SplitReport(split, boxes_per_class=Counter(dict.fromkeys(selection.classes, 0)))
            pictures = _account_for_the_rest(selection, split, report, strict)
            count = shards or -(-len(pictures) // RECORDS_A_SHARD)
            prefix = posixpath.join(workspace, split)
            _run_pipeline(pictures, make, prefix, min(count, len(pictures)), options)
            for outcome in _read_outcomes(prefix):
                account(outcome, report, selection.classes, strict)
            reports.append(report)
            files |= _name_files(prefix, split) if report.images_written else {}
        result = TransformReport(Path(output_dir), selection.classes, reports)
        check_something_written(result, asked=splits, selection=selection)
        _move_in(output_dir, selection.classes, reports, files)
    except OSError as error:
        raise OutputError(f"{output_dir}: cannot be written ({error})") from error
    finally:
        _remove(workspace)
    return result


def _account_for_the_rest(selection: Selection, split: str, report: SplitReport, strict: bool) -> list[_Numbered]:
    """The wanted pictures of a split; everything else goes into the report at once."""
    pictures = []
    for item in selection.walk(split):
        if isinstance(item, Wanted):
            pictures.append((len(pictures), item))
        else:
            account(item, report, selection.classes, strict)
    return pictures


def _run_pipeline(
    pictures: list[_Numbered],
    make: Callable[[list[Wanted]], list[Outcome]],
    prefix: str,
    shards: int,
    options: PipelineOptions,
) -> None:
    """Writes `<prefix>-00000-of-...tfrecords` and, of the same form, `.outcomes`."""
    with beam.Pipeline(options=options) as pipeline:
        outcomes = (
            pipeline
            | "pictures" >> beam.Create(pictures)
            | "spread" >> beam.Reshuffle()
            | "in chunks" >> beam.BatchElements(CHUNK, CHUNK)
            | "open and check" >> beam.FlatMap(_make_numbered, make)
        )
        _ = (
            outcomes
            | "records" >> beam.FlatMap(_record_of)
            | "write records" >> beam.io.WriteToTFRecord(prefix, file_name_suffix=".tfrecords", num_shards=shards)
        )
        _ = (
            outcomes
            | "without records" >> beam.Map(_to_line)
            | "write outcomes" >> beam.io.WriteToText(prefix, file_name_suffix=".outcomes")
        )


def _make_numbered(
    pictures: Sequence[_Numbered], make: Callable[[list[Wanted]], list[Outcome]]
) -> Iterable[tuple[int, Outcome]]:
    return zip((number for number, _ in pictures), make([wanted for _, wanted in pictures]), strict=True)


def _record_of(numbered: tuple[int, Outcome]) -> list[bytes]:
    record = numbered[1].record
    return [record] if record else []


def _to_line(numbered: tuple[int, Outcome]) -> str:
    return json.dumps([numbered[0], *outcome_to_json(numbered[1])])


def _open(data_dir: str, remote_data_dir: str, path: Path) -> bytes:
    """Reads a picture of the data set from where the workers see it."""
    name = Path(os.path.relpath(path, data_dir)).as_posix()
    with FileSystems.open(posixpath.join(remote_data_dir, name), "application/octet-stream") as file:
        return file.read()


# --- Before and after ------------------------------------------------------------


def _read_outcomes(prefix: str) -> list[Outcome]:
    """What the workers said of the pictures, in the annotations' order."""
    numbered = []
    for path in _match(f"{prefix}-*.outcomes"):
        with FileSystems.open(path) as file:
            numbered += [json.loads(line) for line in file.read().decode().splitlines()]
    return [outcome_from_json(values) for _, *values in sorted(numbered, key=lambda values: values[0])]


def _name_files(prefix: str, split: str) -> dict[str, str]:
    """File that was written -> the name that it has in a folder of records."""
    paths = _match(f"{prefix}-*.tfrecords")
    return dict(zip(paths, shard_names(split, len(paths)), strict=True))


def _move_in(output_dir: str, classes: list[str], reports: list[SplitReport], files: dict[str, str]) -> None:
    """Puts finished files in place: the class list first, so that records are never seen without it."""
    _write_json(posixpath.join(output_dir, CLASSES_FILE), classes)
    for report in reports:
        old = _match(posixpath.join(output_dir, f"{report.split}.tfrecords"))
        old += _match(posixpath.join(output_dir, f"{report.split}-?????-of-?????.tfrecords"))
        if old:
            FileSystems.delete(old)
        _write_json(posixpath.join(output_dir, f"{report.split}.report.json"), report.to_dict())
    FileSystems.rename(list(files), [posixpath.join(output_dir, name) for name in files.values()])


def _write_json(path: str, value: object) -> None:
    with FileSystems.create(path, "application/json") as file:
        file.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))


def _match(pattern: str) -> list[str]:
    return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)


def _remove(folder: str) -> None:
    if FileSystems.exists(folder) or _match(f"{folder}/*"):
        FileSystems.delete([folder])
