"""Evaluates a checkpoint on a split of a data set: opens both and checks that they fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luminoth.checkpoints.folder import read_checkpoint_classes
from luminoth.checkpoints.loading import LoadedModel, load_model
from luminoth.data.record_files import CLASSES_FILE, count_records, find_records, read_classes
from luminoth.errors import CheckpointError, ConfigError, DataError
from luminoth.evaluation.coco_results import read_coco_results
from luminoth.evaluation.evaluate import EvaluationResult, evaluate, evaluate_detections, read_objects
from luminoth.resize import ResizeRule
from luminoth.types import UNUSED_CLASS


@dataclass(frozen=True)
class Split:
    """The records of one split.

    Attributes:
        dataset_dir: their folder, or its address.
        name: such as `val`.
        files: the record files.
        images: how many pictures they hold, at least 1.
        classes: the class names in the order of the records' ids.
    """

    dataset_dir: str
    name: str
    files: list[str]
    images: int
    classes: list[str]


def open_split(dataset_dir: str | None, name: str) -> Split:
    """Finds the records of a split.

    Raises:
        ConfigError: no folder is stated.
        DataError: the folder, the split or the class names are missing, or the split is empty.
    """
    if not dataset_dir:
        raise ConfigError("dataset.dir: empty; state the folder that `lumi dataset transform` wrote")
    files = find_records(dataset_dir, name)
    images = count_records(files)
    if images == 0:
        raise DataError(f"{', '.join(files)}: the split {name!r} holds no pictures, there is nothing to evaluate")
    return Split(dataset_dir, name, files, images, read_classes(dataset_dir))


def evaluate_checkpoint(
    checkpoint: Path,
    split: Split,
    *,
    resize: ResizeRule | None = None,
    batch_size: int = 1,
    max_detections: int = 100,
    on_progress: Callable[[int], None] = lambda images: None,
) -> tuple[LoadedModel, EvaluationResult]:
    """Loads a checkpoint and evaluates it.

    Args:
        checkpoint: its folder.
        split: what to evaluate on; its classes are the checkpoint's, in whatever order.
        resize: how pictures are brought to the network's size; None: as in the checkpoint's training.
        batch_size, max_detections, on_progress: as for `evaluate`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or its classes are not those of the data.
        DataError: a record is damaged, or no picture of the split has an object.
    """
    class_ids = match_classes(split, checkpoint)  # before the model is built, which takes long
    loaded = load_model(checkpoint)
    loaded.model.freeze()
    result = evaluate(
        loaded.model,
        split.files,
        resize=resize or ResizeRule(**loaded.config.dataset.image_preprocessing.model_dump()),
        class_names=loaded.classes,
        record_class_ids=class_ids,
        class_agnostic=not loaded.config.model.network.with_rcnn,
        batch_size=batch_size,
        max_detections=max_detections,
        on_progress=on_progress,
    )
    return loaded, result


def match_classes(split: Split, checkpoint: Path) -> Sequence[int] | None:
    """For each class id of the records the checkpoint's id of the same name; None when they are the same ids.

    Raises:
        CheckpointError: the two do not have the same names.
    """
    classes = read_checkpoint_classes(checkpoint)
    if classes == split.classes:
        return None
    if sorted(name for name in classes if name != UNUSED_CLASS) != sorted(split.classes):
        differing = sorted(set(classes) - {UNUSED_CLASS} ^ set(split.classes))
        raise CheckpointError(
            f"{checkpoint}: its classes are not those of the data. Differing: {', '.join(differing)}. The checkpoint "
            f"has {len(classes)}: {', '.join(classes)}. {os.path.join(split.dataset_dir, CLASSES_FILE)} has "
            f"{len(split.classes)}: {', '.join(split.classes)}. Choose the checkpoint or the data set that belongs to "
            "the other"
        )
    return [classes.index(name) for name in split.classes]


def evaluate_file(path: Path, split: Split, *, max_detections: int = 100) -> EvaluationResult:
    """Evaluates the detections of a file in COCO's result form, of whatever program.

    Args:
        path: the file, see `read_coco_results`.
        split: what they are of.
        max_detections: as for `evaluate`.

    Raises:
        DataError: the file or a record cannot be read, or the file is of other pictures or classes, or no picture of
            the split has an object.
    """
    ground_truths = read_objects(split.files)
    detections = read_coco_results(path, ground_truths, split.classes)
    return evaluate_detections(ground_truths, detections, split.classes, max_detections=max_detections)
