"""The detections behind an evaluation, kept beside its figures so that a later one can be compared picture by picture.

A compressed NumPy file, since COCO's JSON would take ten times the room and a hundred times the time; `lumi eval
--detections` writes that.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luminoth.errors import DataError, OutputError
from luminoth.evaluation.coco_results import read_coco_results
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.types import Detections

_EXAMPLES = 3


def kept_path(result_file: str | os.PathLike) -> Path:
    """Where the detections of `eval/val-2000.json` lie: `eval/val-2000.detections.npz`."""
    return Path(result_file).with_suffix(".detections.npz")


def write_kept(path: Path, ground_truths: Sequence[GroundTruth], detections: Sequence[Detections]) -> None:
    """Writes detections, whole or not at all.

    Args:
        path: the file, replaced when it is there; its folder exists.
        ground_truths: the pictures, whose ids are written.
        detections: one entry a picture, in the same order.

    Raises:
        OutputError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    names = list(detections[0].class_names) if detections else []
    try:
        try:
            with beside.open("wb") as file:
                np.savez_compressed(
                    file,
                    image_ids=np.array([each.image_id for each in ground_truths], str),
                    class_names=np.array(names, str),
                    counts=np.array([len(each) for each in detections], np.int64),
                    boxes=np.concatenate([np.empty((0, 4), np.float32), *(each.boxes for each in detections)]),
                    scores=np.concatenate([np.empty(0, np.float32), *(each.scores for each in detections)]),
                    class_ids=np.concatenate([np.empty(0, np.int32), *(each.class_ids for each in detections)]),
                )
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def read_kept(path: Path, ground_truths: Sequence[GroundTruth], class_names: Sequence[str]) -> list[Detections]:
    """Reads what `write_kept` wrote.

    Args:
        path: the file.
        ground_truths: the pictures that are wanted, all of which the file must know; found by their ids.
        class_names: the class names, in whatever order they were written.

    Returns:
        One entry for each of `ground_truths`, in their order.

    Raises:
        DataError: the file is damaged, or of other pictures or classes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        ids, names, counts = columns["image_ids"].tolist(), columns["class_names"].tolist(), columns["counts"]
        boxes, scores, class_ids = columns["boxes"], columns["scores"], columns["class_ids"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: cannot be read as detections of an evaluation ({error})") from error
    if sorted(names) != sorted(class_names):
        raise DataError(
            f"{path}: its classes are {', '.join(names)}; those of the data are {', '.join(class_names)}. Only "
            "detections of the same classes can be compared"
        )
    places = {image_id: number for number, image_id in enumerate(ids)}
    missing = [each.image_id for each in ground_truths if each.image_id not in places]
    if missing or len(ids) != len(ground_truths):
        unknown = f"{len(missing)} of the data's are not among them, such as {', '.join(missing[:_EXAMPLES])}. "
        raise DataError(
            f"{path}: has detections of {len(ids)} pictures, the data has {len(ground_truths)}. "
            f"{unknown if missing else ''}Only detections of the same pictures can be compared"
        )
    table = np.array([list(class_names).index(name) for name in names], np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    class_ids = table[class_ids]
    found = []
    for truth in ground_truths:
        place = places[truth.image_id]
        own = slice(starts[place], starts[place + 1])
        found.append(Detections(boxes[own], scores[own], class_ids[own], class_names, truth.image_size))
    return found


def read_earlier(
    path: str | os.PathLike, split: str, ground_truths: Sequence[GroundTruth], class_names: Sequence[str]
) -> list[Detections]:
    """The detections to compare with: those behind the JSON file of an evaluation, or a file of detections.

    Args:
        path: `eval/<split>-<step>.json`, beside which `write_kept` wrote; or see `read_coco_results`.
        split: what they must be of, where that is known.
        ground_truths, class_names: as for `read_kept`.

    Raises:
        DataError: a file is missing or damaged, or of something else.
    """
    path = Path(path)
    evaluation = _read_evaluation(path)
    if evaluation is None:
        return read_coco_results(path, ground_truths, class_names)
    if evaluation.get("split") != split:
        raise DataError(
            f"{path}: is of the split {evaluation.get('split')!r}, this evaluation is of {split!r}; only the same "
            "pictures can be compared"
        )
    kept = kept_path(path)
    if not kept.is_file():
        raise DataError(
            f"{kept}: no such file; it holds the detections behind {path.name}, which are what is compared. Write both "
            f"again with `lumi eval --checkpoint {evaluation.get('checkpoint')} --split {split} -o dataset.dir=...`"
        )
    return read_kept(kept, ground_truths, class_names)


def _read_evaluation(path: Path) -> dict | None:
    """What an evaluation wrote; None where the file is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; name the eval/<split>-<step>.json of an evaluation") from None
    except (OSError, ValueError):
        return None  # the other reader says what is wrong
    return content if isinstance(content, dict) and "metrics" in content else None
