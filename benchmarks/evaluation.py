"""How fast `lumi eval` is beside the bare model: the checkpoint `toytown` on 300 toytown pictures, batches of 8.

    python -m benchmarks.evaluation [--images 300] [--rounds 3]

Contestants, in turn:

* network: `model.detect` on batches that lie in memory at the network's size, its outputs brought to NumPy;
* Detector: batched inference as a program gets it, `Detector.detect` on decoded pictures in memory;
* evaluate: records from the disk, decoding, resizing, detections, losses, proposals' recall. Told twice: while it runs
  over the pictures, after the first batch, as `lumi eval` says its images/s; and as the whole call, with tracing, all
  figures, and 1,000 draws for their intervals.

All with the same frozen weights, sizes, lowest score (that of evaluation) and batch size. Shares are medians over
rounds. Processor seconds tell more than the clock where other programs run beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.machine import describe_machine
from luminoth import Detector
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.store import find_checkpoint
from luminoth.data.pipeline import evaluation_batches
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.data.toytown import CLASSES, draw_scene
from luminoth.evaluation.evaluate import MIN_SCORE, evaluate
from luminoth.image import encode_jpeg, read_image
from luminoth.resize import ResizeRule
from luminoth.types import Example

BATCH_SIZE = 8
SEED = 20_000


def write_pictures(folder: Path, images: int) -> tuple[list[str], list[np.ndarray]]:
    """Records of toytown pictures, and their pixels as every decoder gives them."""
    write_classes(folder, CLASSES)
    path, pictures = folder / "val.tfrecords", []
    with RecordWriter(path) as writer:
        for index in range(images):
            pixels, objects = draw_scene(SEED, index)
            none = np.zeros(len(objects), bool)
            encoded = encode_jpeg(pixels)
            writer.write(
                encode_example(
                    Example(
                        f"{index:05}",
                        encoded,
                        pixels.shape[:2],
                        np.array([item.box for item in objects], np.float32).reshape(-1, 4),
                        np.array([CLASSES.index(item.label) for item in objects], np.int32),
                        none,
                        none,
                        none,
                    ),
                    CLASSES,
                )
            )
            pictures.append(read_image(encoded))
    return [str(path)], pictures


class Cost(NamedTuple):
    """What a number of pictures took: seconds by the clock, and of all processors."""

    images: int
    seconds: float
    processors: float


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def cost_of(run: Callable[[], object], images: int) -> Cost:
    started = now()
    run()
    return Cost(images, *np.subtract(now(), started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    loaded = load_model(find_checkpoint("toytown"))
    loaded.model.freeze()
    resize = ResizeRule(**loaded.config.dataset.image_preprocessing.model_dump())
    with tempfile.TemporaryDirectory() as folder:
        files, pictures = write_pictures(Path(folder), arguments.images)
        batches = [
            (batch.images, batch.image_sizes)
            for batch, _ in evaluation_batches(files, batch_size=BATCH_SIZE, resize=resize)
        ]
        detector = Detector("toytown", prob=MIN_SCORE, batch_size=BATCH_SIZE)
        network = tf.function(
            lambda images, sizes: loaded.model.detect(images, sizes, min_score=MIN_SCORE),
            input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 2], tf.int32)],
            autograph=False,
        )
        record_class_ids = [loaded.classes.index(name) for name in CLASSES]

        def run_network() -> None:
            for images, sizes in batches:
                tf.nest.map_structure(lambda tensor: tensor.numpy(), network(images, sizes))

        def run_evaluate() -> Cost:
            """What the pictures after the first batch took."""
            moments, counts = [], []
            evaluate(
                loaded.model,
                files,
                resize=resize,
                class_names=loaded.classes,
                record_class_ids=record_class_ids,
                batch_size=BATCH_SIZE,
                on_progress=lambda images: (moments.append(now()), counts.append(images)),
            )
            return Cost(sum(counts[1:]), *np.subtract(moments[-1], moments[0]))

        contestants = {"network": run_network, "Detector": lambda: detector.detect(pictures)}
        for run in contestants.values():
            run()
        costs: dict[str, list[Cost]] = {}
        for _ in range(arguments.rounds):
            for name, run in contestants.items():
                costs.setdefault(name, []).append(cost_of(run, arguments.images))
            started = now()
            costs.setdefault("evaluate, over the pictures", []).append(run_evaluate())
            whole = Cost(arguments.images, *np.subtract(now(), started))
            costs.setdefault("evaluate, the whole call", []).append(whole)

    print(f"{arguments.images} pictures, batches of {BATCH_SIZE}, {arguments.rounds} rounds")
    print(f"{describe_machine()}\n")
    print(
        "| what | images/s | of the network's | of Detector's | processor ms a picture | network's / | Detector's / |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, own in costs.items():
        rate = statistics.median(each.images / each.seconds for each in own)
        milliseconds = statistics.median(1000 * each.processors / each.images for each in own)
        by_clock = [share(costs[base], own, "seconds") for base in contestants]
        by_processor = [share(costs[base], own, "processors") for base in contestants]
        cells = [f"{rate:.1f}", *by_clock, f"{milliseconds:.1f}", *by_processor]
        print(f"| {name} | {' | '.join(cells)} |")


def share(base: list[Cost], own: list[Cost], what: str) -> str:
    """The median of base / own in the same round, a picture."""
    ratios = [
        getattr(one, what) / one.images / (getattr(other, what) / other.images)
        for one, other in zip(base, own, strict=True)
    ]
    return f"{statistics.median(ratios):.2f}"


if __name__ == "__main__":
    main()
