"""Small folders of records for the tests, written without a data set in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luminoth.data.example_proto import SequenceExample
from luminoth.data.record_files import find_records, write_classes
from luminoth.data.records import RecordWriter, decode_example, encode_example, read_records
from luminoth.types import Example
from tests.data.source_sets import picture_bytes

PICTURE = picture_bytes()  # 40 wide, 30 high


def example(
    image_id: str,
    boxes=(),
    class_ids=(),
    *,
    crowd=(),
    difficult=(),
    truncated=(),
    filename: str = "",
    size: tuple[int, int] = (30, 40),
    encoded: bytes = PICTURE,
) -> Example:
    """An example; `crowd`, `difficult` and `truncated` are the numbers of the boxes that are."""
    count = np.arange(len(boxes))
    return Example(
        image_id=image_id,
        encoded=encoded,
        image_size=size,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        class_ids=np.asarray(class_ids, np.int32),
        is_crowd=np.isin(count, crowd),
        is_difficult=np.isin(count, difficult),
        is_truncated=np.isin(count, truncated),
        filename=filename or f"{image_id}.jpg",
    )


def luminoth_record(filename: str, objects=(), encoded: bytes = PICTURE, size: tuple[int, int] = (30, 40)) -> bytes:
    """A record as Luminoth 0.2 wrote it: objects are (label, xmin, ymin, xmax, ymax) in pixels."""
    record = SequenceExample()
    for name, value in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        record.context.feature[name].int64_list.value.append(value)
    record.context.feature["filename"].bytes_list.value.append(filename.encode())
    record.context.feature["image_raw"].bytes_list.value.append(encoded)
    for position, name in enumerate(("label", "xmin", "ymin", "xmax", "ymax")):
        steps = record.feature_lists.feature_list[name]
        for values in objects:
            steps.feature.add().int64_list.value.append(values[position])
    return record.SerializeToString()


def write_folder(folder: Path, classes: Sequence[str], **splits: Sequence[Example | bytes]) -> Path:
    """Writes a folder of records: examples, or what is serialised already."""
    for split, records in splits.items():
        with RecordWriter(folder / f"{split}.tfrecords") as writer:
            for record in records:
                writer.write(record if isinstance(record, bytes) else encode_example(record, classes))
    write_classes(folder, classes)
    return folder


def read_folder(folder: Path, split: str) -> list[Example]:
    return [decode_example(record) for record in read_records(find_records(folder, split))]
