"""Pictures as a training sees them: through its own pipeline, decoded, augmented and resized.

Imports the pipeline, and with it TensorFlow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from luminoth.data.pipeline import evaluation_batches, iterate, training_batches
from luminoth.data.records import RecordWriter, encode_example
from luminoth.resize import ResizeRule
from luminoth.types import Batch, Example


@dataclass(frozen=True, eq=False)
class NetworkPicture:
    """What reaches the network.

    Attributes:
        pixels: uint8 RGB [H, W, 3].
        boxes: [N, 4] float32, pixels of it.
        class_ids: [N] int32.
        is_crowd: [N] bool.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    is_crowd: np.ndarray


def resized_pictures(
    examples: Sequence[Example], class_names: Sequence[str], resize: ResizeRule
) -> Iterator[NetworkPicture]:
    """Each example as an evaluation sees it."""
    with tempfile.TemporaryDirectory() as folder:
        files = _write_records(Path(folder), examples, class_names)
        batches = evaluation_batches(files, batch_size=1, resize=resize)
        yield from (_unpacked(batch) for batch, _ in iterate(batches))


def augmented_pictures(
    examples: Sequence[Example],
    class_names: Sequence[str],
    resize: ResizeRule,
    augmentations: Sequence[Mapping[str, Any]],
    *,
    variants: int,
    seed: int = 0,
) -> list[list[NetworkPicture]]:
    """For each example, what training makes of it in so many epochs.

    Args:
        examples: at least one.
        class_names: by id.
        resize: how pictures are brought to the network's size.
        augmentations: as in `luminoth.data.augment`.
        variants: epochs.
        seed: as `train.seed`.

    Raises:
        ConfigError: an augmentation is not acceptable.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = _write_records(Path(folder), examples, class_names)
        batches = training_batches(
            files, batch_size=1, resize=resize, augmentations=augmentations, seed=seed, shuffle=False
        )
        seen = [_unpacked(batch) for batch, _ in islice(iterate(batches), len(examples) * variants)]
    return [seen[number :: len(examples)] for number in range(len(examples))]  # epoch after epoch, in order


def _write_records(folder: Path, examples: Sequence[Example], class_names: Sequence[str]) -> list[str]:
    """Passing records: the pipeline reads nothing else."""
    with RecordWriter(folder / "sample.tfrecords") as writer:
        for example in examples:
            writer.write(encode_example(example, class_names))
    return [str(writer.path)]


def _unpacked(batch: Batch) -> NetworkPicture:
    """The one picture of a batch, without padding."""
    height, width = batch.image_sizes[0].numpy()
    pixels = batch.images[0, :height, :width].numpy()
    is_object = batch.is_object[0].numpy()
    return NetworkPicture(
        pixels=np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
        boxes=batch.gt_boxes[0].numpy()[is_object],
        class_ids=batch.gt_class_ids[0].numpy()[is_object],
        is_crowd=batch.is_crowd[0].numpy()[is_object],
    )
