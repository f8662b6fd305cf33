"""Times the libraries that compute COCO's metrics, and checks each against pycocotools.

    python -m benchmarks.coco_metrics --detections 100000

Measures whichever of the candidates are installed (`pip install pycocotools faster-coco-eval hotcoco vernier
ultrafast-pycocotools`). Each starts from NumPy arrays, through its own array interface where it has one, and ends
with the twelve figures; each is measured in a process of its own. "peak memory" is what the runs add to the process,
"largest difference" is from pycocotools over the twelve figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import resource
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np

CLASSES = 80
OBJECTS_PER_IMAGE = 7  # COCO's val2017 has 7.3
DETECTIONS_PER_IMAGE = 100


class Columns(NamedTuple):
    """A data set and its detections; boxes are (x_min, y_min, width, height)."""

    images: list[dict]
    categories: list[dict]
    truth_image_ids: np.ndarray
    truth_class_ids: np.ndarray
    truth_boxes: np.ndarray
    truth_is_crowd: np.ndarray
    detections: np.ndarray  # [N, 7]: image id, box, score, class id


def make_columns(detection_count: int, seed: int = 0) -> Columns:
    """Half of the detections lie near an object of their class (nearer where the score is higher), half anywhere."""
    random = np.random.default_rng(seed)
    images = max(1, detection_count // DETECTIONS_PER_IMAGE)
    objects = images * OBJECTS_PER_IMAGE
    truth_image_ids = np.sort(random.integers(0, images, objects))
    truth_boxes = _random_boxes(random, objects)
    truth_class_ids = random.integers(0, CLASSES, objects)

    near = random.integers(0, objects, detection_count)
    is_near = random.random(detection_count) < 0.5
    scores = random.random(detection_count).astype(np.float32).astype(np.float64)
    noise = random.normal(0, 0.25, (detection_count, 4)) * (1.1 - scores[:, None])
    moved = truth_boxes[near] + noise * truth_boxes[near][:, [2, 3, 2, 3]]
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    boxes = np.where(is_near[:, None], moved, _random_boxes(random, detection_count))
    image_ids = np.where(is_near, truth_image_ids[near], random.integers(0, images, detection_count))
    class_ids = np.where(is_near, truth_class_ids[near], random.integers(0, CLASSES, detection_count))
    return Columns(
        [{"id": index, "width": 640, "height": 480} for index in range(images)],
        [{"id": index, "name": f"class {index}"} for index in range(CLASSES)],
        truth_image_ids,
        truth_class_ids,
        truth_boxes,
        random.random(objects) < 0.01,
        np.column_stack([image_ids, boxes, scores, class_ids]),
    )


def _random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    size = np.exp(random.uniform(np.log(8), np.log(400), (count, 2)))
    corner = random.uniform(0, 1, (count, 2)) * np.maximum([640, 480] - size, 1)
    return np.concatenate([corner, size], axis=1)


def _coco_dict(columns: Columns) -> dict:
    annotations = [
        {"id": number, "image_id": image_id, "category_id": class_id, "bbox": box, "area": box[2] * box[3],
         "iscrowd": int(crowd)}
        for number, (image_id, class_id, box, crowd) in enumerate(
            zip(columns.truth_image_ids.tolist(), columns.truth_class_ids.tolist(), columns.truth_boxes.tolist(),
                columns.truth_is_crowd, strict=True), start=1)
    ]  # fmt: skip
    return {"images": columns.images, "categories": columns.categories, "annotations": annotations}


def _run_pycocotools(columns: Columns) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = _coco_dict(columns)
    truth.createIndex()
    return _run_coco_eval(COCOeval(truth, truth.loadRes(columns.detections), "bbox"))


def _run_faster_coco_eval(columns: Columns) -> np.ndarray:
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_coco_dict(columns))
    return _run_coco_eval(COCOeval_faster(truth, truth.loadRes(columns.detections), "bbox"))


def _run_ultrafast_pycocotools(columns: Columns) -> np.ndarray:
    from ultrafast_pycocotools import COCO, COCOeval

    truth = COCO(_coco_dict(columns), verbose=False)
    return _run_coco_eval(COCOeval(truth, truth.loadRes(columns.detections), "bbox"))


def _run_hotcoco(columns: Columns) -> np.ndarray:
    from hotcoco import COCO, COCOeval

    truth = COCO.from_arrays(
        columns.images, columns.categories, columns.truth_image_ids, columns.truth_class_ids, columns.truth_boxes,
        iscrowd=columns.truth_is_crowd,
    )  # fmt: skip
    return _run_coco_eval(COCOeval(truth, truth.load_res(columns.detections), "bbox"))


def _run_vernier(columns: Columns) -> np.ndarray:
    from vernier.instance import Bbox, CocoDataset, Evaluator

    sizes = {key: np.array([image[key] for image in columns.images], np.int64) for key in ("id", "width", "height")}
    annotations = {
        "id": np.arange(1, len(columns.truth_boxes) + 1, dtype=np.int64),
        "image_id": columns.truth_image_ids,
        "category_id": columns.truth_class_ids,
        "bbox": np.ascontiguousarray(columns.truth_boxes),
        "area": columns.truth_boxes[:, 2] * columns.truth_boxes[:, 3],
        "iscrowd": columns.truth_is_crowd,
    }
    truth = CocoDataset.from_arrays(sizes, annotations, columns.categories)
    summary = Evaluator(iou=Bbox(), parity_mode="strict").evaluate(
        truth, np.ascontiguousarray(columns.detections), num_threads=os.cpu_count()
    )
    return np.asarray(summary.stats)


def _run_coco_eval(evaluation) -> np.ndarray:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return np.asarray(evaluation.stats)[:12]


# package on PyPI -> (module, how to run it)
CANDIDATES = {
    "pycocotools": ("pycocotools", _run_pycocotools),
    "faster-coco-eval": ("faster_coco_eval", _run_faster_coco_eval),
    "vernier": ("vernier", _run_vernier),
    "ultrafast-pycocotools": ("ultrafast_pycocotools", _run_ultrafast_pycocotools),
    "hotcoco": ("hotcoco", _run_hotcoco),
}


def _measure_here(package: str, detection_count: int, repeats: int) -> dict:
    """Runs one candidate in this process. The seconds are the least of `repeats` runs after one small run."""
    run = CANDIDATES[package][1]
    columns = make_columns(detection_count)
    with contextlib.redirect_stdout(io.StringIO()):
        run(make_columns(1000))
        before = _peak_memory()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            figures = run(columns)
            seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "memory": _peak_memory() - before, "figures": figures.tolist()}


def _peak_memory() -> float:
    """MiB; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _measure(package: str, detection_count: int, repeats: int) -> dict:
    arguments = ["--one", package, "--detections", str(detection_count), "--repeats", str(repeats)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.coco_metrics", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=CANDIDATES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measure_here(arguments.one, arguments.detections, arguments.repeats)))
        return

    images = max(1, arguments.detections // DETECTIONS_PER_IMAGE)
    print(f"{arguments.detections:,} detections on {images:,} images, {CLASSES} classes")
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPU cores, least of {arguments.repeats} runs\n")
    print("| library | version | seconds | times faster | peak memory, MiB | largest difference |")
    print("|---|---|---|---|---|---|")
    reference = None
    for package, (module, _) in CANDIDATES.items():
        if importlib.util.find_spec(module) is None:
            print(f"| {package} | not installed | | | | |")
            continue
        result = _measure(package, arguments.detections, arguments.repeats)
        reference = reference or (result if package == "pycocotools" else None)
        version = importlib.metadata.version(package)
        faster = difference = "-"
        if reference is not None:
            faster = f"{reference['seconds'] / result['seconds']:.0f}"
            gaps = np.abs(np.subtract(result["figures"], reference["figures"]))
            difference = f"{gaps.max():.0e}" if gaps.max() else "0"
        seconds, memory = f"{result['seconds']:.3f}", f"{result['memory']:.0f}"
        print(f"| {package} | {version} | {seconds} | {faster} | {memory} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
